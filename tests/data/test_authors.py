"""The authors' formats: their trees give the data that their own code makes of them."""

import json
import math
import os
from pathlib import Path

import pytest

from rstar_jax import curate
from rstar_jax.data.authors import Frame, pair_of, pairs, solution, tree, tree_of
from rstar_jax.data.tables import Place
from rstar_jax.data.tree_files import holds_trees, of_problems
from rstar_jax.errors import UserError
from rstar_jax.tasks import MathTask
from rstar_jax.types import PreferencePair
from tests.data.sum_trees import sum_tree

GOLDENS = os.environ.get("RSTAR_GOLDEN_DIR", "")
PLACE, FRAME = Place("ppm.json", "line", 3), Frame.of(MathTask())
PROMPT = MathTask().prompt("1 + 1?", "ppm")
STEP, NEXT, OTHER = "<code>\nx = 1\n<end_of_step>", "\nx += 1\n<end_of_step>", "\nx -= 1\n<end_of_step>"


@pytest.mark.external
@pytest.mark.skipif(not GOLDENS, reason="RSTAR_GOLDEN_DIR is unset")
@pytest.mark.parametrize("name", ["bootstrap_terminal_guided", "terminal_guided", "ppm_augmented"])
def test_trees_of_the_released_code_teach_what_it_makes_of_them(name):
    for stored in json.loads((Path(GOLDENS) / f"{name}.json").read_text()):
        read = tree_of(released(stored), PLACE)
        learnt = curate.curate([read], curate.CurateConfig(), 0).sft
        assert [("".join(row.steps), row.mean_q) for row in learnt] == [
            (row["response"], pytest.approx(row["mean_q"])) for row in stored["sft"]
        ]
        config = curate.CurateConfig(pairs="reference_code", weight="node")
        made = curate.reference_code_pairs(read, config, 0)
        kept = [pair for pair in made if pair.margin > 0]
        given = [(row["prefix"], row["pos"], row["neg"], row["margin"]) for row in stored["pairs"]]
        found = [
            (FRAME.asked(pair.question) + "".join(pair.prefix), *map("".join, (pair.positive, pair.negative)))
            for pair in kept
        ]
        assert [(*one, pytest.approx(pair.margin)) for one, pair in zip(found, kept, strict=True)] == given
        for pair, row in zip(kept, stored["pairs"], strict=True):
            assert pair.weight == 1 / (row["pos_count"] * row["neg_count"])


def released(stored):
    """A stored search as main.py writes it."""
    nodes = {
        tag: {
            "text": node["text"],
            "extra_info": "",
            "action": "",
            "action_input": "",
            "final_answer": node["final_answer"] or "",
            "value": 0,
            "q_value": node["q"],
            "visit_count": node["visits"],
        }
        for tag, node in stored["nodes"].items()
    }
    return {**stored["problem"], "rstar": nodes}


def test_a_tree_comes_back_with_its_ppm_values_and_teaches_the_same():
    made = sum_tree(2, 3, ppm=0.25)
    read = tree_of(json.loads(json.dumps(tree(made))), PLACE)
    assert {node.ppm for node in read.nodes if node.text and node.status != "exception"} == {0.25}
    for config in (curate.CurateConfig(), curate.CurateConfig(pairs="reference_code")):
        one, other = (curate.curate([t], config, 1) for t in (made, read))
        assert [row.steps for row in one.sft] == [row.steps for row in other.sft] and one.sft
        assert [(p.prefix, p.positive, p.negative, p.margin) for p in one.pairs] == [
            (p.prefix, p.positive, p.negative, p.margin) for p in other.pairs
        ]
        assert one.pairs


@pytest.mark.parametrize("value", [-100, -100.0, math.nan, 10**400, None, 1, -1.0])
def test_a_value_that_no_ppm_gives_is_none(value):
    row = tree(sum_tree(2, 3, ppm=0.25))
    row["rstar"]["0.1"]["value"] = value
    read = tree_of(row, PLACE)
    assert read.nodes[1].ppm is None and read.nodes[2].ppm == 0.25


def test_an_answer_without_an_outcome_is_no_label():
    row = tree(sum_tree(2, 3))
    for state in row["rstar"].values():
        state["q_value"] = 0.3
    assert {node.grade for node in tree_of(row, PLACE).nodes if node.status == "answer"} == {"ungraded"}


def test_a_pair_of_steps_and_a_pair_of_solutions_are_read_as_such():
    step = {"prompt": PROMPT + STEP, "pos": NEXT, "neg": OTHER, "pos_count": 1, "neg_count": 4}
    pair = pair_of(step, PLACE, FRAME)
    assert (pair.question, pair.prefix, pair.positive, pair.negative) == (
        *("1 + 1?", (STEP,), (NEXT,), (OTHER,)),
    )
    assert (pair.weight, pair.final) == (0.25, False)
    whole = {"prompt": FRAME.head + "1 + 1?"}
    whole |= {"pos": FRAME.tail + STEP + NEXT, "neg": FRAME.tail + STEP + OTHER}
    pair = pair_of(whole, PLACE, FRAME)
    assert (pair.question, pair.prefix, pair.positive) == ("1 + 1?", (), (STEP, NEXT))
    assert (pair.weight, pair.final) == (1.0, True)


@pytest.mark.parametrize("weight", [1.0, 0.5, 0.25, 1 / 3])
def test_the_counts_of_a_node_give_each_pair_its_weight(weight):
    sides = [(p, n) for p in (NEXT, NEXT + " ") for n in (OTHER, OTHER + " ")]
    given = [PreferencePair("p", "1 + 1?", (STEP,), (p,), (n,), 1.0, weight, False, 1) for p, n in sides]
    rows = list(pairs(given, FRAME))
    assert all(1 / (row["pos_count"] * row["neg_count"]) == weight for row in rows)
    assert weight != 0.25 or {(row["pos_count"], row["neg_count"]) for row in rows} == {(2, 2)}


def test_a_question_with_delimiters_is_asked_as_the_task_asks_it():
    """As everywhere, a space breaks them; that is the question that is read back."""
    pair = PreferencePair("p", "What is <code>?", (), (STEP,), (NEXT,), 1.0, 1.0, False, 1)
    (row,) = pairs([pair], FRAME)
    assert row["prompt"] == MathTask().prompt(pair.question, "ppm")
    assert pair_of(row, PLACE, FRAME).question == "What is < code>?"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"prompt": "1 + 1?"}, r"ppm\.json:3: prompt is '1 \+ 1\?', which does not begin with"),
        ({"prompt": FRAME.head + "1 + 1?"}, r"ppm\.json:3: neither the prompt nor pos has"),
        ({"pos_count": 0}, r"ppm\.json:3: pos_count is 0, a whole number from 1"),
        ({"neg_count": "2"}, r"ppm\.json:3: neg_count is '2'"),
    ],
)
def test_bad_pairs_are_named(change, why):
    with pytest.raises(UserError, match=why):
        pair_of({"prompt": PROMPT, "pos": NEXT, "neg": OTHER, **change}, PLACE, FRAME)


def spoilt(change):
    row = tree(sum_tree(2, 3))
    change(row)
    return row


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda row: row.update(rstar=[]), r"rstar is \[\], nodes by tag"),
        (lambda row: row["rstar"].pop("0.1"), r"node '0\.1\.1' has no node above it"),
        (lambda row: row["rstar"].update(x={}), r"a node is called 'x'"),
        (lambda row: row["rstar"]["0.2"].pop("q_value"), r"node '0\.2': q_value is None, int or float"),
        (lambda row: row["rstar"].update({"0.1": 3}), r"node '0\.1': text is None"),
        (lambda row: row.update(question=""), r"question is ''"),
        (lambda row: row.update(question="\ud800"), r"question holds half a character"),
        (lambda row: row["rstar"]["0.2"].update(q_value=math.nan), r"node '0\.2': q_value is nan"),
        (lambda row: row["rstar"]["0.2"].update(q_value=10**400), r"node '0\.2': q_value is 1000"),
        (lambda row: row["rstar"]["0.2"].update(visit_count=-1), r"node '0\.2': visit_count is -1, 0 or"),
        (lambda row: row["rstar"]["0.2"].update(text="\ud800"), r"the text of node '0\.2' holds half"),
        (lambda row: row["rstar"].update({"0." + "1" * 5000: {}}), r"a node is called '0\.111"),
    ],
)
def test_bad_trees_are_named_by_line_and_tag(tmp_path, change, why):
    path = tmp_path / "trees.jsonl"
    path.write_text("\n".join(map(json.dumps, [tree(sum_tree(2, 3)), spoilt(change)])))
    assert holds_trees(path)
    with pytest.raises(UserError, match=rf"trees\.jsonl:2: {why}"):
        list(of_problems([path]))


def test_solutions_are_question_and_text():
    (row, *_) = curate.curate([sum_tree(2, 3)], curate.CurateConfig(), 1).sft
    assert solution(row) == {"query": row.question, "response": "".join(row.steps)}


def test_a_task_whose_prompt_is_the_question_alone_has_no_such_format():
    class Bare(MathTask):
        def frame(self, question, role):
            return question

    with pytest.raises(UserError, match="the prompt of Bare"):
        Frame.of(Bare())
