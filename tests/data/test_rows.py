"""Given rows of every form are read as what they are; bad ones are named by file and line."""

import dataclasses
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rstar_jax import parquet
from rstar_jax.data.executed import executed
from rstar_jax.data.rows import read_given
from rstar_jax.errors import UserError
from rstar_jax.sandbox import Limits, Sandbox
from rstar_jax.tasks import Checker, MathTask
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.types import SftRow
from tests.tasks.sums import SO, SUMS, Sums

STEPS = CODE_STEPS.render(["# Step 1: add\nx = 1 + 1", "print(x)"], output="2", answer="It is \\boxed{2}")
PLAIN = f"\n{CODE_STEPS.answer}It is 2{CODE_STEPS.end_answer}"
WORKING = "It is 1+1 = <<1+1=2>>2 pens."


def write(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_every_form_is_read(tmp_path):
    path = write(
        tmp_path / "rows.jsonl",
        {"question": "1 + 1?", "steps": STEPS},
        "",
        {"id": "mine", "problem": "1 + 1?", "solution": "".join(STEPS), "answer": 2},
        {"question": "1 + 1?", "answer": f"{WORKING}\n#### 2"},
        {"id": 7, "problem": "1 + 1?", "answer": "2", "solution": WORKING},
        {"problem": "1 + 1?", "answer": "3", "solution": WORKING},
    )
    rows = read_given(path, MathTask())
    assert [row.row.problem_id for row in rows] == ["rows/1", "mine", "rows/4", "7", "rows/6"]
    assert rows[0].row.steps == rows[1].row.steps == tuple(STEPS)
    assert [row.converted for row in rows] == [False, False, True, True, True]
    assert rows[2].row.steps == rows[3].row.steps and not rows[3].lost
    assert rows[4].lost == "no result is the answer" and not rows[4].row.steps
    assert [row.problem.answer for row in rows] == ["", "2", "2", "2", "3"]
    assert read_given(path, MathTask(), limit=2) == rows[:2]


def test_a_trajectory_is_taken_by_its_grade(tmp_path):
    """As an export writes them; what else a "grade" may be is nobody's business."""
    rows = [
        {"question": "1 + 1?", "steps": STEPS, "grade": grade} for grade in ("right", "wrong", "ungraded", 3)
    ]
    read = read_given(write(tmp_path / "rows.jsonl", *rows), MathTask())
    assert [row.lost for row in read] == [
        "",
        "a trajectory that is wrong",
        "a trajectory that is ungraded",
        "",
    ]


def test_how_far_reading_is_can_be_watched(tmp_path):
    path = write(tmp_path / "rows.jsonl", *({"question": "1 + 1?", "steps": STEPS} for _ in range(150)))
    for limit, told in ((0, [64, 128, 150]), (100, [64, 100])):
        seen = []
        assert len(read_given(path, MathTask(), limit=limit, on_read=seen.append)) == told[-1]
        assert seen == told


def test_one_backslash_too_few_is_told_from_lines_of_a_program(tmp_path):
    code = CODE_STEPS.render(
        ["# Step 1: solve\nfrom sympy import Eq, symbols\nx = symbols('x')\neq = Eq(x, 3)", "print(3)"]
    )
    (row,) = read_given(write(tmp_path / "code.jsonl", {"question": "?", "steps": code}), MathTask())
    assert row.row.steps == tuple(code)
    for line in ("mid //= 2", "mid, rest = divmod(7, 2)", "mid[0] = 1", "exists.append(3)", "eq: int = 3"):
        code = CODE_STEPS.render([f"x = 1\n{line}", "print(3)"])
        assert read_given(write(tmp_path / "code.jsonl", {"question": "?", "steps": code}), MathTask())
    for text in ("x \neq 3", "a \nmid b.", "x \neq 3, so x = 4"):
        bad = {"question": "?", "steps": CODE_STEPS.render([f"# {text}", "print(3)"])}
        with pytest.raises(UserError, match=r"bad\.jsonl:1: steps holds '\\n"):
            read_given(write(tmp_path / "bad.jsonl", bad), MathTask())
    bad = CODE_STEPS.render(["x = 1", "print(x)"], output="1", answer="\boxed{1}")
    with pytest.raises(UserError, match=r"bad\.jsonl:1: steps holds '\\x08oxed'"):
        read_given(write(tmp_path / "bad.jsonl", {"question": "?", "steps": bad}), MathTask())


def test_a_parquet_of_questions_and_answers_is_read(tmp_path):
    pq.write_table(
        pa.Table.from_pylist([{"question": "1 + 1?", "answer": f"{WORKING}\n#### 2"}]),
        tmp_path / "theirs.parquet",
    )
    (row,) = read_given(tmp_path / "theirs.parquet", MathTask())
    assert row.converted and row.problem.answer == "2"


def test_prose_is_lost_whatever_its_numbers_give(tmp_path):
    prose = "There are $2 \\cdot 3 = 6$ orders of two, and 4 - 2 = 2 faces, hence $\\boxed{2}$."
    path = write(tmp_path / "rows.jsonl", {"problem": "?", "answer": "2", "solution": prose})
    (row,) = read_given(path, MathTask())
    assert (row.lost, row.row.steps) == ("no marked calculation", ())


def test_a_thought_may_stand_between_the_code_and_the_answer(tmp_path):
    steps = [*STEPS[:2], "\nSo it is even.\n<end_of_step>", STEPS[2]]
    (row,) = read_given(write(tmp_path / "rows.jsonl", {"question": "?", "steps": steps}), MathTask())
    assert row.row.steps == tuple(steps)


def test_a_rounds_own_rows_are_read_as_they_are(tmp_path):
    rows = [
        SftRow("a", "1 + 1?", tuple(STEPS), 0.5, 0.25, 2),
        SftRow("b", "?", tuple(STEPS[:1]), 1.0, 1.0, 1),
    ]
    parquet.write_rows(tmp_path / "sft.parquet", SftRow, rows)
    assert [given.row for given in read_given(tmp_path / "sft.parquet", MathTask())] == rows


def test_a_copy_of_a_rounds_rows_by_another_tool_is_read(tmp_path):
    """Filtered with pandas or polars they have an index more, or strings of another type."""
    parquet.write_rows(tmp_path / "sft.parquet", SftRow, [SftRow("a", "1 + 1?", tuple(STEPS), 0.5, 0.25, 2)])
    table = pq.read_table(tmp_path / "sft.parquet")
    large = pa.array(table["question"].to_pylist(), pa.large_string())
    copies = table.append_column("__index_level_0__", pa.array([7])), table.set_column(1, "question", large)
    for copy in copies:
        pq.write_table(copy, tmp_path / "copy.parquet")
        (given,) = read_given(tmp_path / "copy.parquet", MathTask())
        assert (given.row.problem_id, given.row.question, given.row.steps) == ("a", "1 + 1?", tuple(STEPS))


def test_what_a_row_of_a_table_has_not_is_null(tmp_path):
    steps = {"question": None, "problem": "1 + 1?", "steps": STEPS, "solution": None, "answer": None}
    text = {"question": "1 + 1?", "problem": None, "steps": None, "solution": "".join(STEPS), "answer": "2"}
    pq.write_table(pa.Table.from_pylist([steps, text]), tmp_path / "rows.parquet")
    rows = read_given(tmp_path / "rows.parquet", MathTask())
    assert [row.row.steps for row in rows] == [tuple(STEPS)] * 2
    assert [row.problem.answer for row in rows] == ["", "2"]


@pytest.mark.parametrize(
    ("question", "steps", "why"),
    [(None, STEPS, "no 'question'"), (" ", STEPS, "question is ' '"), ("?", [None], r"steps is \[None\]")],
)
def test_a_rounds_row_that_lacks_something_is_named(tmp_path, question, steps, why):
    rows = [SftRow("a", "?", tuple(STEPS), 0.5, 0.25, 2), SftRow("a", question, tuple(steps), 0.5, 0.25, 2)]
    parquet.write_rows(tmp_path / "sft.parquet", SftRow, rows)
    with pytest.raises(UserError, match=rf"sft\.parquet: row 2: {why}"):
        read_given(tmp_path / "sft.parquet", MathTask())


@pytest.mark.parametrize("value", [None, float("nan"), 1e300])
@pytest.mark.parametrize("name", ["mean_q", "min_q"])
def test_a_rounds_row_with_a_q_of_no_search_is_named(tmp_path, name, value):
    good = SftRow("a", "?", tuple(STEPS), 0.5, 0.25, 2)
    parquet.write_rows(tmp_path / "sft.parquet", SftRow, [good, dataclasses.replace(good, **{name: value})])
    why = rf"{name} is {re.escape(str(value))}, a number from -1 to 1 expected"
    with pytest.raises(UserError, match=rf"sft\.parquet: row 2: {why}"):
        read_given(tmp_path / "sft.parquet", MathTask())


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "not JSON"),
        ("[1]", "list given, an object"),
        ({"steps": STEPS}, "no 'problem'"),
        ({"question": " ", "steps": STEPS}, "question is ' '"),
        ({"question": "?", "steps": "x"}, "steps is 'x', a list"),
        ({"question": "?", "steps": [1]}, r"steps is \[1\], a list"),
        ({"question": "?", "steps": []}, "no steps"),
        ({"question": "?", "steps": STEPS[1:]}, "step 1 of 2 is malformed .no <code>"),
        ({"question": "?", "steps": ["<code>\nx = 1"]}, "step 1 of 1 is malformed .no stop"),
        ({"question": "?", "steps": [*STEPS[:2], "x"]}, "step 3 of 3 is malformed .no stop"),
        ({"question": "?", "steps": [*STEPS[:2], STEPS[0]]}, "step 3 of 3 is malformed .code after"),
        ({"question": "?", "steps": [*STEPS, STEPS[2]]}, "step 4 of 4 is malformed .a step after the answer"),
        ({"question": "?", "solution": "".join(STEPS) + "and more"}, "step 4 of 4 is malformed .a step"),
        ({"question": "?", "steps": [*STEPS[:2], PLAIN]}, "step 3 of 3 is malformed .no boxed answer"),
        ({"question": "?", "solution": WORKING}, "no step of our grammar"),
        ({"question": "?", "solution": 3}, "solution is 3"),
        ({"question": "?", "answer": "2"}, "answer is '2': a working that ends in '#### ANSWER'"),
        ({"question": "?"}, "no 'answer'"),
        ('{"question": "\\ud800?", "answer": "#### 2"}', "half a character"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, row, why):
    path = write(tmp_path / "rows.jsonl", {"question": "1 + 1?", "steps": STEPS}, row)
    with pytest.raises(UserError, match=rf"rows\.jsonl:2: .*{why}"):
        read_given(path, MathTask())


def test_rows_of_another_task_are_read_by_its_grammar_and_rules(tmp_path):
    steps = SUMS.render(["x = 1 + 1", "print(x)"], output="2", answer=f"{SO}\\boxed{{2}}")
    good = {"question": "?", "steps": steps}, {"question": "?", "solution": "".join(steps)}
    path = write(tmp_path / "rows.jsonl", *good, {"question": "1 + 1?", "answer": f"{WORKING}\n#### 2"})
    rows = read_given(path, Sums())
    assert rows[0].row.steps == rows[1].row.steps == tuple(steps)
    with Sandbox(workers=1, limits=Limits()) as sandbox:
        (found,) = executed(rows[2:], Checker(Sums(), sandbox))
    assert found.row is not None and found.row.steps[-1].endswith(SUMS.end_answer)
    assert f"{SUMS.output}2{SUMS.end_output}" in found.row.steps[-2]
    for bad in (STEPS, steps[::-1]):
        with pytest.raises(UserError, match=r"malformed \(out of turn\).*\(next\), \[run\] or \[done\]"):
            read_given(write(tmp_path / "bad.jsonl", {"question": "?", "steps": bad}), Sums())


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (((1,), (2,)), "of 2 steps given, but it has 3"),
        (((1, None), (2,), (3,)), "hold a null"),
    ],
)
def test_token_ids_that_are_none_are_named(tmp_path, ids, message):
    row = SftRow("a", "1 + 1?", tuple(STEPS), 0.5, 0.25, 2, ids)
    parquet.write_rows(tmp_path / "sft.parquet", SftRow, [row])
    with pytest.raises(UserError, match=rf"sft\.parquet: row 1: token_ids {message}"):
        read_given(tmp_path / "sft.parquet", MathTask())


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(UserError, match=r"empty\.jsonl: no rows"):
        read_given(write(tmp_path / "empty.jsonl"), MathTask())
    with pytest.raises(UserError, match=r"other\.parquet: damaged"):
        read_given(write(tmp_path / "other.parquet", "PAR1"), MathTask())
    parquet.write_rows(tmp_path / "bad.parquet", SftRow, [SftRow("a", "?", ("x",), 1.0, 1.0, 1)])
    with pytest.raises(UserError, match=r"bad\.parquet: row 1: step 1 of 1 is malformed"):
        read_given(tmp_path / "bad.parquet", MathTask())


def test_solutions_in_our_grammar_stay_as_they_are_but_for_an_output_that_is_missing(tmp_path):
    crash = "<code>\nx = y\n<end_of_step>"
    path = write(
        tmp_path / "rows.jsonl",
        {"question": "1 + 1?", "steps": STEPS},
        {"question": "1 + 1?", "steps": [STEPS[0], CODE_STEPS.split_tool(STEPS[1])[0], STEPS[2]]},
        {"question": "1 + 1?", "steps": [crash]},  # flawed, as wanted
        {"question": "1 + 1?", "steps": ["<code>\nprint(y)\n<end_of_code>"]},
    )
    with Sandbox(workers=1, limits=Limits()) as sandbox:
        found = executed(read_given(path, MathTask()), Checker(MathTask(), sandbox))
    kept = [one.row.steps if one.row else one.lost for one in found]
    assert kept == [tuple(STEPS), tuple(STEPS), (crash,), "a step fails: NameError"]


def test_the_authors_solutions_and_chats_are_read_as_ours(tmp_path):
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "1 + 1?"}]
    chat.append({"role": "assistant", "content": "".join(STEPS)})
    path = write(
        tmp_path / "rows.jsonl",
        {"query": "1 + 1?", "response": "".join(STEPS)},
        {"messages": chat},
        {"question": "1 + 1?", "steps": STEPS, "query": "another", "messages": []},
    )
    rows = read_given(path, MathTask())
    assert {(row.row.question, row.row.steps) for row in rows} == {("1 + 1?", tuple(STEPS))}
    for bad in ([], [chat[1]], "x", [chat[1], chat[1]]):
        write(path, {"messages": bad})
        with pytest.raises(
            UserError, match=r"rows\.jsonl:1: messages is .* one of a user and one of an assistant"
        ):
            read_given(path, MathTask())
