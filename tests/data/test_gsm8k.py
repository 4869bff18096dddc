"""Workings in GSM8K's manner become steps that run, say the answer, and go on from each other by name."""

import ast
import json
import os
from itertools import islice
from pathlib import Path

import pytest

from rstar_jax.data.executed import executed
from rstar_jax.data.gsm8k import NotConverted, convert, reference
from rstar_jax.data.rows import Given, read_given
from rstar_jax.sandbox import Limits, Sandbox
from rstar_jax.tasks import Checker, MathTask
from rstar_jax.text.boxed import boxed
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.types import Problem, SftRow

# (question, working, answer, what the program prints)
WORKINGS = {
    "two steps": (
        "Ann sold 48 clips in April, and half as many in May. How many did she sell?",
        "Ann sold 48/2 = <<48/2=24>>24 clips in May.\nShe sold 48+24 = <<48+24=72>>72 clips altogether.",
        "72",
        "72.0",
    ),
    "money, x for times, a decimal point without its zero": (
        "Ben earns $12 an hour. He worked 50 minutes. How much did he earn?",
        "Ben earns 12/60 = $<<12/60=.2>>.20 a minute.\nSo he earned .2 x 50 = $<<.2*50=10.00>>10.00.",
        "10",
        "10.0",
    ),
    "thousands": (
        "A house of 2,400 feet costs $98 a foot.",
        "It costs 98 x 2,400 = $<<98*2,400=235,200>>235,200.",
        "235,200",
        "235200",
    ),
    "percentages": (
        "A coat of $200 is 20% off.",
        "The discount is 20% x 200 = $<<20%*200=40>>40.\nIt costs 200-40=$<<200-40=160>>160.",
        "160",
        "160.0",
    ),
    "a share in percent": (
        "5 of 20 balls are red. Which share?",
        "The share is 5/20 = <<5/20=25>>25% of the balls.",
        "25",
        "25.0",
    ),
    "rounded": (
        "10 litres for 3 people.",
        "Each has 10/3 = <<10/3=3.33>>3.33 litres.\nTwo have 2*3.33 = <<2*3.33=6.66>>6.66 litres.",
        "6.66",
        "6.66",
    ),
    "rounded up": (
        "22 pens in boxes of 5.",
        "She needs 22/5 = <<22/5=5>>5 boxes.",
        "5",
        "5",
    ),
    "a calculation without marks before one with them": (
        "Cards cost $14 a pack, 60 packs, a tenth is sold.",
        "They cost 14 dollars/pack * 60 packs = $840 altogether.\nThen 840 - 84 = $<<840-84=756>>756.",
        "756",
        "756",
    ),
    "two calculations in a sentence, brackets, several sentences in a line": (
        "Days of 50, then double that, then 3 more.",
        "Day 2: 50(2) = <<50*2=100>>100 eggs. Day 3 and all: 100+3=<<100+3=103>>103 and "
        "50+(100+103)=<<50+(100+103)=253>>253 eggs.",
        "253",
        "253",
    ),
    "a sentence without a calculation": (
        "3 boxes of 5 pens.",
        "There are three boxes.\nEach has 5, so 3 x 5 = <<3*5=15>>15 pens.\nThat is all.",
        "15",
        "15",
    ),
    "what would break a comment or a name": (
        "2 Crème brûlées for class import.",
        "So there are # 2*3 = <<2*3=6>>6 import\r\nprint is 6*2=<<6*2=12>>12 print\t\x0bcrème's brûlée",
        "12",
        "12",
    ),
}


@pytest.fixture(scope="module")
def task():
    with Sandbox(workers=1, limits=Limits()) as sandbox:
        yield Checker(MathTask(), sandbox)


def given(question: str, working: str, answer: str) -> Given:
    steps = tuple(CODE_STEPS.render(convert(question, working, answer, CODE_STEPS)))
    return Given(SftRow("a", question, steps, 1.0, 1.0, 0), Problem("a", question, answer), converted=True)


@pytest.mark.parametrize("name", WORKINGS)
def test_a_working_becomes_steps_that_run_and_say_the_answer(name, task):
    question, working, answer, printed = WORKINGS[name]
    (found,) = executed([given(question, working, answer)], task)
    assert found.row is not None, found.lost
    steps = found.row.steps
    assert CODE_STEPS.parse("".join(steps)) == list(steps)
    assert f"{CODE_STEPS.output}{printed}{CODE_STEPS.end_output}" in steps[-2]
    assert task.grade([(Problem("a", question, answer), boxed(steps[-1]) or "")])[0] == "right"
    for end in range(1, len(steps) + 1):  # as a search would judge them
        *before, last = steps[:end]
        verdict = task.check([(Problem("a", question, answer), (*before, CODE_STEPS.split_tool(last)[0]))])[0]
        assert (verdict.outcome, verdict.text) == ("ok", last)


def code(name: str) -> list[str]:
    return convert(*WORKINGS[name][:3], CODE_STEPS)


def test_a_step_is_a_sentence_and_its_calculation():
    assert code("two steps") == [
        "# Step 1: Ann sold 48/2 = 24 clips in May.\nclips = 48 / 2",
        "# Step 2: She sold 48+24 = 72 clips altogether.\nsold_clips = 48 + clips",
        "# Now print the final answer\nprint(sold_clips)",
    ]
    told = code("a sentence without a calculation")[0]
    assert told.startswith("# Step 1: There are three boxes. Each has 5, so")


def test_earlier_results_are_used_by_name_and_given_numbers_are_not():
    working = (
        "Boxes: 3*5 = <<3*5=15>>15 pens.\nMore: 15+15 = <<15+15=30>>30 books.\n"
        "All: 30*15=<<30*15=450>>450 mugs."
    )
    bodies = convert("3 boxes of 5", working, "450", CODE_STEPS)
    assert [body.splitlines()[-1] for body in bodies] == [
        "pens = 3 * 5",
        "books = pens + pens",
        "mugs = books * pens",
        "print(mugs)",
    ]
    # 15 is given, too, and stands once more further on: there it is the result
    working = "A: 3*5=<<3*5=15>>15 pens.\nB: 4*15=<<4*15=60>>60 pence.\nC: 60-15=<<60-15=45>>45 left."
    bodies = convert("3 boxes of 5 pens, 4 cards for 15 pence each", working, "45", CODE_STEPS)
    assert [body.splitlines()[-1] for body in bodies[1:3]] == ["pence = 4 * 15", "left = pence - pens"]


def test_a_sum_of_equal_results_names_each():
    working = (
        "A: 3*2=<<3*2=6>>6 pens.\nB: 1*6=<<1*6=6>>6 caps.\nC: 6+6=<<6+6=12>>12.\n"
        "D: 12*6=<<12*6=72>>72 in 6 days."
    )
    bodies = convert("3 bags of 2, 1 box of 6, all for 6 days", working, "72", CODE_STEPS)
    lines = [body.splitlines()[-1] for body in bodies[2:4]]
    assert lines == ["result = pens + caps", "result_2 = result * 6"]


def test_a_fraction_in_words_is_no_rounded_result():
    bodies = convert(
        "?", "Each for 4 / 3 = 1 and 1/3 hours.\nAll for 2 + 2 = <<2+2=4>>4 hours.", "4", CODE_STEPS
    )
    assert [body.splitlines()[-1] for body in bodies] == ["hours = 2 + 2", "print(hours)"]


def test_the_hundred_of_a_percentage_is_no_earlier_result():
    working = (
        "He has 50*2=<<50*2=100>>100 apples.\nThen 20%*500=<<20%*500=100>>100 are pears.\n"
        "He picks 700/100=<<700/100=7>>7 baskets."
    )
    lines = [body.splitlines()[-1] for body in convert("50 apples", working, "7", CODE_STEPS)]
    assert lines[0] == "apples = 50 * 2" and lines[1].endswith(" = (20 / 100) * 500")
    assert lines[2] == f"baskets = 700 / {lines[1].partition(' = ')[0]}"  # written out, it may be one
    (line,) = convert("?", "That is 20% = <<20%=.2>>.2 of it.", ".2", CODE_STEPS)[0].splitlines()[1:]
    assert line.endswith(" = (20 / 100)")


def test_names_are_python_names_that_differ():
    line = "He prints {0}+1 = <<{0}+1={1}>>{1} lambda import print"
    working = "\n".join(line.format(i, i + 1) for i in range(5, 25))
    assigned = [
        node.id
        for node in ast.walk(ast.parse("\n".join(convert("?", working, "25", CODE_STEPS))))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    assert len(assigned) == len(set(assigned)) == 20
    assert not {"print", "lambda", "import"} & set(assigned)


@pytest.mark.parametrize(
    ("working", "answer", "why"),
    [
        ("She has many pens.", "5", "no marked calculation"),
        ("Let x be it, so 3x = 15 and x = 5", "5", "no marked calculation"),
        ("Each of 2 + 2 = 4 faces, and 1 << 2 is 4, as 2 * 2 = 4.", "4", "no marked calculation"),
        ("She has <<5=5>>5 pens.", "5", "no calculation"),
        ("She has 2+2=<<2+2=4>>4 pens.", "5", "no result is the answer"),
        ("She has 2+2=<<2+2=5>>5 pens.", "5", "a calculation that does not give its result"),
        ("She has <<2 pens+2=4>>4 pens.", "4", "an unreadable calculation"),
        ("She has <<2+2>>4 pens.", "4", "an unreadable calculation"),
        ("She has <<9**9**9=1>>1 pens.", "1", "an unreadable calculation"),
        (f"She has <<{'9' * 1000}+1=2>>2 pens.", "2", "an unreadable calculation"),
        (f"She has <<{'(' * 1000}1=2>>2 pens.", "2", "an unreadable calculation"),
        ("She has <<1/0=2>>2 pens.", "2", "an unreadable calculation"),
        ("She has <<1+1=1e99999999>>2 pens.", "2", "an unreadable calculation"),
        (f"She has <<1+1={'0' * 41}>>2 pens.", "2", "an unreadable calculation"),
        (f"She has <<{'(' * 6}.1{'^20)' * 6}=1>>1 pens.", "1", "an unreadable calculation"),
        ("She has <<2+2=4>>4 pens.", "1e99999999", "an answer that is no number"),
        (f"{'1+' * 4000}1 = <<2+2=4>>4 pens.", "4", "a sentence too long"),
        ("She has <<2+2=4>>4 pens.\n" * 500, "4", "a working too long"),
        ("She has <<2+2=4>>4 pens.", "four", "an answer that is no number"),
        (f"She has <<2+2=4>>4 {CODE_STEPS.end_step} pens.", "4", "a delimiter in its text"),
    ],
)
def test_what_cannot_be_converted_says_why(working, answer, why):
    with pytest.raises(NotConverted, match=why):
        convert("How many?", working, answer, CODE_STEPS)


def test_white_space_is_one_space():
    wide = "She has {0}2+2 = {0}<<2+2=4>>4 pens."
    assert convert("?", wide.format(" " * 4000), "4", CODE_STEPS) == convert(
        "?", wide.format(""), "4", CODE_STEPS
    )


def test_what_runs_to_another_answer_is_not_kept(task):
    wrong = given("?", "She has 2+2 = <<2+2=4>>4 pens.", "4")
    (found,) = executed([Given(wrong.row, Problem("a", "?", "5"), converted=True)], task)
    assert found.row is None and found.lost == "its answer is wrong"
    steps = ("<code>\nx = y\n<end_of_code>",)
    broken = Given(SftRow("a", "?", steps, 1.0, 1.0, 0), wrong.problem, converted=True)
    (found,) = executed([broken], task)
    assert found.row is None and "NameError" in found.lost


def test_the_reference_stands_behind_four_crosses():
    assert reference("48/2 = <<48/2=24>>24\n#### 1,024") == ("48/2 = <<48/2=24>>24", "1024")
    assert reference("48/2 = 24") == ("48/2 = 24", "")


FOLDER = os.environ.get("RSTAR_DATA_DIR", "")


@pytest.mark.external
@pytest.mark.skipif(not FOLDER, reason="RSTAR_DATA_DIR is unset")
def test_nearly_all_of_gsm8k_is_converted_and_right(task, tmp_path):
    """Both of its forms: ours with the answer apart, and its own."""
    path, raw = Path(FOLDER) / "gsm8k_train.jsonl", tmp_path / "raw.jsonl"
    rows = read_given(path, MathTask(), limit=431)
    found = executed(rows, task)
    assert sum(one.row is not None for one in found) >= 0.93 * len(rows)
    with open(path, encoding="utf-8") as file, open(raw, "w", encoding="utf-8") as out:
        for line in islice(file, 431):
            row = json.loads(line)
            answer = f"{row['solution']}\n#### {row['answer']}"
            out.write(json.dumps({"question": row["problem"], "answer": answer}) + "\n")
    assert [row.row.steps for row in read_given(raw, MathTask())] == [row.row.steps for row in rows]
