"""Pairs of every form are read as what they are."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_jax import columns, parquet
from rstar_jax.data.examples import Tally
from rstar_jax.data.pairs import FORMS, read_pairs
from rstar_jax.data.readers import files_of
from rstar_jax.data.step_labels import Labelled, pairs_of, step_of
from rstar_jax.errors import UserError
from rstar_jax.tasks import MathTask
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.types import PreferencePair

TASK = MathTask()
PAIR = ("pair", FORMS, "A pair needs two ways on.")  # what should be left
PROMPT = TASK.prompt("1 + 1?", "ppm")
STEP, NEXT, OTHER = "<code>\nx = 1\n<end_of_step>", "\nx += 1\n<end_of_step>", "\nx -= 1\n<end_of_step>"
STEPS = st.text("ab ", min_size=1, max_size=3).filter(str.strip)


def prose(*texts):
    return tuple(f"\n{text}\n<end_of_step>" for text in texts)


def read(tmp_path, *rows, tally=None):
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    return list(read_pairs([path], TASK, tally or Tally()))


def shepherd(question, *steps):
    """A row as Math-Shepherd has it, of (text, + or -)."""
    tagged = [
        question
        + " "
        + "\n".join(f"Step {i}: {text} {mark or tag}" for i, (text, tag) in enumerate(steps, 1))
        for mark in ("ки", "")
    ]
    return {"input": tagged[0], "label": tagged[1], "task": "GSM8K"}


def test_pairs_in_the_forms_of_the_authors_and_of_trl_are_the_same(tmp_path):
    sides = {"chosen": NEXT, "rejected": OTHER}
    chat = {name: [{"role": "assistant", "content": text}] for name, text in sides.items()}
    rows = [
        {"prompt": PROMPT + STEP, "pos": NEXT, "neg": OTHER, "pos_count": 1, "neg_count": 1},
        {"prompt": PROMPT + STEP, **sides},
        {"prompt": [{"role": "user", "content": PROMPT + STEP}], **chat},
    ]
    found = read(tmp_path, *rows)
    assert found == [found[0]] * 3
    assert (found[0].question, found[0].prefix) == ("1 + 1?", (STEP,))
    assert (found[0].positive, found[0].negative, found[0].final) == ((NEXT,), (OTHER,), False)
    assert found[0].problem_id.startswith("q-")


def test_pairs_of_a_round_are_read_as_they_are_and_other_forms_beside_them(tmp_path):
    pair = PreferencePair("p", "1?", (STEP,), (NEXT,), (OTHER,), 0.5, 0.25, False, 3)
    parquet.write_rows(tmp_path / "a2.parquet", PreferencePair, [pair])
    (tmp_path / "a10.jsonl").write_text(json.dumps({"prompt": "1?", "chosen": "Two", "rejected": "One"}))
    (tmp_path / "DONE.json").write_text("{}")  # an export's manifest
    (one, other) = read_pairs(files_of(tmp_path, "config.pairs"), TASK, Tally())
    assert one == pair
    assert (other.question, other.prefix, other.positive) == ("1?", (), prose("Two"))


def test_pairs_of_a_round_are_read_of_whatever_wrote_them(tmp_path):
    pair = PreferencePair("p", "1?", (), (NEXT,), (OTHER + "\f",), 0.5, 0.25, False, 3)
    parquet.write_rows(tmp_path / "pairs.parquet", PreferencePair, [pair])
    table = pq.read_table(tmp_path / "pairs.parquet")
    # As pandas writes it: large strings, and lists without an element have none of a type.
    kinds = {"problem_id": pa.large_string(), "question": pa.large_string(), "prefix": pa.list_(pa.null())}
    schema = pa.schema([(field.name, kinds.get(field.name, field.type)) for field in table.schema])
    pq.write_table(pa.Table.from_pylist(table.to_pylist(), schema), tmp_path / "pandas.parquet")
    assert read(tmp_path, columns.plain(pair)) == [pair]
    assert list(read_pairs([tmp_path / "pandas.parquet"], TASK, Tally())) == [pair]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"question": None}, "question is None, text expected"),
        ({"prefix": None}, "prefix is None, a list of step texts"),
        ({"positive": []}, r"positive is \[\], a list of step texts"),
        ({"negative": [None]}, r"negative is \[None\], a list of step texts"),
        ({"weight": float("nan")}, "weight is nan, float expected"),
        *(
            (
                {"weight": weight},
                rf"weight is {re.escape(str(weight))}, a number from 1e-06 to 1e\+06 expected",
            )
            for weight in (-1.0, 0.0, 1e300, 1e-300)
        ),
        ({"margin": None}, "margin is None, float expected"),
        ({"margin": 2.5}, r"margin is 2\.5, a difference of Q, from -2 to 2, expected"),
        ({"question": " "}, "question has an empty text, text expected"),
        ({"positive": [NEXT, ""]}, "positive has an empty text, a step expected"),
        ({"prefix": ["\n"]}, "prefix has an empty text, a step expected"),
        ({"round": None}, "round is None, int expected"),
    ],
)
def test_pairs_of_a_round_that_were_changed_are_named(tmp_path, change, why):
    row = columns.plain(PreferencePair("p", "1?", (), (NEXT,), (OTHER,), 0.5, 0.25, False, 3))
    table = pa.Table.from_pylist([row, {**row, **change}], schema=columns.schema(PreferencePair))
    pq.write_table(table, tmp_path / "pairs.parquet")
    with pytest.raises(UserError, match=rf"pairs\.parquet: row 2: {why}"):
        list(read_pairs([tmp_path / "pairs.parquet"], TASK, Tally()))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"margin": 10**400}, "margin is 1000"),
        ({"round": 10**400}, "round is 1000"),
        ({"final": 1}, "final is 1, bool expected"),
    ],
)
def test_numbers_of_json_that_no_column_holds_are_named_and_may_be_left_out(tmp_path, change, why):
    row = columns.plain(PreferencePair("p", "1?", (), (NEXT,), (OTHER,), 0.5, 0.25, False, 3))
    with pytest.raises(UserError, match=rf"pairs\.jsonl:1: {why}"):
        read(tmp_path, {**row, **change})
    assert len(read(tmp_path, {**row, **change}, {**row, "margin": 1}, tally=Tally(bad="drop"))) == 1


def test_prm800k_rates_alternatives_that_share_what_was_chosen_before(tmp_path):
    def step(*rated, chosen=None, human=None):
        completions = [{"text": text, "rating": rating, "flagged": None} for text, rating in rated]
        return {"completions": completions, "human_completion": human, "chosen_completion": chosen}

    steps = [
        step(("A", 1), ("B", -1), ("C", None), chosen=0),
        step(("D", -1), human={"text": "E", "rating": None, "source": "human", "flagged": False}),
        step(("F", 0), ("G", -1), ("H", -1), ("I", -1), chosen=0),
    ]
    label = {"steps": steps, "total_time": 9, "finish_reason": "solution"}
    row = {"labeler": "x", "question": {"problem": "1 + 1?", "ground_truth_answer": "2"}, "label": label}
    tally = Tally()
    found = {(p.prefix, p.positive, p.negative): p.margin for p in read(tmp_path, row, tally=tally)}
    assert found == {
        ((), prose("A"), prose("B")): 2.0,
        (prose("A"), prose("E"), prose("D")): 2.0,
        (prose("A", "E"), prose("F"), prose("I")): 1.0,
        (prose("A", "E"), prose("F"), prose("H")): 1.0,
    }
    assert tally.right and tally.wrong
    tally.require_labels(len(found), "f", *PAIR)
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "prm.parquet")  # as the hub has it
    assert len(list(read_pairs([tmp_path / "prm.parquet"], TASK, Tally()))) == 4


def test_what_was_flagged_is_no_label(tmp_path):
    rated = [
        {"text": "A", "rating": 1},
        {"text": "B", "rating": -1},
        {"text": "C", "rating": -1, "flagged": True},
    ]
    steps = [{"completions": rated, "chosen_completion": 0}]
    row = {"question": {"problem": "1 + 1?"}, "label": {"steps": steps, "finish_reason": "give_up"}}
    assert [(p.positive, p.negative) for p in read(tmp_path, row)] == [(prose("A"), prose("B"))]


def test_a_wrong_solution_is_one_that_ends_wrong(tmp_path):
    """One that slips and comes back is neither right nor wrong as a whole."""
    plain = {"prompt": "1 + 1?", "completions": ["good", "x"]}
    rows = [{**plain, "labels": [True, True]}]
    rows.append({**plain, "completions": ["slip", "y"], "labels": [False, True]})
    assert [p.final for p in read(tmp_path, *rows)] == [False]
    rows.append({**plain, "completions": ["slip", "z"], "labels": [False, False]})
    assert [p.negative for p in read(tmp_path, *rows) if p.final] == [prose("slip", "z")]


def test_whole_solutions_of_trls_preference_are_known_as_such(tmp_path):
    row = {"prompt": PROMPT, "chosen": STEP + NEXT, "rejected": STEP + OTHER}
    (pair,) = read(tmp_path, row)
    assert (pair.final, pair.prefix, pair.positive) == (True, (), (STEP, NEXT))


def test_math_shepherd_compares_solutions_of_one_question_wherever_they_are(tmp_path):
    rows = [
        shepherd("How many?", ("good", "+"), ("right", "+")),
        shepherd("Another?", ("alone", "+")),
        shepherd("How many?", ("good", "+"), ("slip", "-")),
        shepherd("How many?", ("bad", "-"), ("worse", "-")),
    ]
    tally = Tally()
    found = read(tmp_path, *rows, tally=tally)
    good, bad, right, slip, worse = (
        f"Step {i}: {text}" for i, text in ((1, "good"), (1, "bad"), (2, "right"), (2, "slip"), (2, "worse"))
    )
    assert {(p.prefix, p.positive, p.negative, p.final) for p in found} == {
        ((), prose(good), prose(bad), False),
        (prose(good), prose(right), prose(slip), False),
        ((), prose(good, right), prose(good, slip), True),
        ((), prose(good, right), prose(bad, worse), True),
    }
    assert {p.question for p in found} == {"How many?"} and len({p.problem_id for p in found}) == 1
    assert tally.lost == {"questions without a better and a worse way on from one place": 1}


def test_rows_that_say_nothing_are_counted_with_an_example(tmp_path):
    good = shepherd("1 + 1?", ("a", "+"))
    tally = Tally()
    rows = [
        good,
        shepherd("1 + 1?", ("b", "-")),
        {**good, "label": good["label"].replace("+", "?")},
        {"input": "No step here ки", "label": "No step here +"},
    ]
    assert len(read(tmp_path, *rows, tally=tally)) == 2
    assert tally.lost == {"labels where no tag is": 1, "no first step": 1}
    assert "pairs.jsonl:3" in tally.examples["labels where no tag is"]


def test_a_pair_of_two_equal_sides_is_named_or_left_out(tmp_path):
    own = columns.plain(PreferencePair("p", "1?", (), (NEXT,), (NEXT,), 0.5, 0.25, False, 3))
    good = {"prompt": PROMPT, "chosen": NEXT, "rejected": OTHER}
    for equal in (own, {**good, "rejected": NEXT}, {"prompt": PROMPT, "pos": NEXT, "neg": NEXT}):
        with pytest.raises(UserError, match=r"pairs\.jsonl:2: both sides are .*expected.*--config\.bad=drop"):
            read(tmp_path, good, equal)
        tally = Tally(bad="drop")
        assert len(read(tmp_path, good, equal, tally=tally)) == 1 and tally.lost == {"two equal sides": 1}


def test_weights_that_float32_holds_are_taken_and_others_may_be_left_out(tmp_path):
    own = columns.plain(PreferencePair("p", "1?", (), (NEXT,), (OTHER,), 0.5, 0.25, False, 3))
    counts = {"prompt": PROMPT, "pos": NEXT, "neg": OTHER, "pos_count": 1000}
    good = [{**own, "weight": 1e-6}, {**own, "weight": 10**6}, {**counts, "neg_count": 1000}]
    bad = [{**own, "weight": 1e300}, {**own, "weight": 0}, {**counts, "neg_count": 1001}]
    tally = Tally(bad="drop")
    found = read(tmp_path, *good, *bad, tally=tally)
    assert [pair.weight for pair in found] == [1e-6, 1e6, 1e-6] and tally.lost == {"malformed": 3}
    for counted in (1001, 10**400):
        with pytest.raises(UserError, match=r"jsonl:1: pos_count is 1000 and neg_count 100.*, a product"):
            read(tmp_path, {**counts, "neg_count": counted})


def test_a_file_without_rows_is_named(tmp_path):
    (tmp_path / "empty.parquet").write_bytes(b"")
    parquet.write_rows(tmp_path / "none.parquet", PreferencePair, [])
    for name in ("empty.parquet", "none.parquet"):
        tally = Tally()
        assert not list(read_pairs([tmp_path / name], TASK, tally))
        with pytest.raises(UserError, match=r"f: no rows in it; PreferencePairs .*expected"):
            tally.require_labels(0, "f", *PAIR)


def test_trls_stepwise_is_read_in_the_tasks_steps_and_in_prose(tmp_path):
    ours = {"prompt": PROMPT, "completions": [STEP, NEXT], "labels": [True, True]}
    found = read(tmp_path, ours, {**ours, "completions": [STEP, OTHER], "labels": [True, False]})
    assert {(p.question, p.prefix, p.positive, p.negative) for p in found} == {
        ("1 + 1?", (STEP,), (NEXT,), (OTHER,)),
        ("1 + 1?", (), (STEP, NEXT), (STEP, OTHER)),
    }
    plain = {"prompt": "1 + 1?", "completions": ["Two."], "labels": [True]}
    (pair, whole) = read(tmp_path, plain, {**plain, "completions": ["Three."], "labels": [False]})
    assert (pair.positive, pair.negative) == (prose("Two."), prose("Three.")) and whole.final


@given(st.lists(st.lists(st.tuples(STEPS, st.sampled_from([-1.0, 0.0, 1.0])), min_size=1, max_size=3)))
def test_every_pair_of_labels_prefers_the_better_of_two_ways_on_from_one_place(rows):
    solutions = [Labelled("q", *zip(*row, strict=True), True) for row in rows]
    found = pairs_of(solutions, CODE_STEPS) if solutions else []
    labels = {}
    for solution in solutions:
        steps = tuple(step_of(step, CODE_STEPS) for step in solution.steps)
        for i, label in enumerate(solution.labels):
            labels.setdefault(steps[: i + 1], []).append(label)
    for pair in found:
        assert 0 < pair.margin <= 2 and pair.positive != pair.negative
        for side in (pair.positive, pair.negative):
            assert (*pair.prefix, *side) in labels
        if not pair.final:
            better, worse = (labels[*pair.prefix, *side] for side in (pair.positive, pair.negative))
            assert sum(better) >= 0 > sum(worse)
