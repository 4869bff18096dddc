"""Curation of handmade trees whose rows and pairs are known."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax.curate import CurateConfig, curate, edits_at_least
from rstar_jax.errors import UserError
from rstar_jax.types import Node, Problem, Tree

PROBLEM = Problem("p", "How many?", "3")
CONFIG = CurateConfig()


def step(parent: int, text: str, q: float, status="ok") -> Node:
    return Node(parent, text, status, 0, 1, q)


def answer(parent: int, text: str, grade: str, q: float | None = None) -> Node:
    value = {"right": 1.0, "wrong": -1.0}.get(grade, 0.0) if q is None else q
    return Node(parent, text, "answer", 0, 1, value, answer=text, grade=grade)


def tree(*nodes: Node, problem: Problem = PROBLEM, index: int = 0) -> Tree:
    return Tree(problem, 2, index, 8, (step(-1, "", 0.0), *nodes))


#      a 0.8 -> A right       b 0.1 -> B right, C wrong      c -0.4 -> D wrong      d dead
KNOWN = tree(
    step(0, "a", 0.8),
    step(0, "b", 0.1),
    step(0, "c", -0.4),
    step(0, "d", -1.0, "exception"),
    answer(1, "A", "right"),
    answer(2, "B", "right"),
    answer(2, "C", "wrong"),
    answer(3, "D", "wrong"),
)


def node_pairs(found):
    return {(p.prefix, p.positive, p.negative): p.margin for p in found.pairs if not p.final}


def test_the_two_best_right_trajectories_are_taught():
    found = curate([KNOWN], dataclasses.replace(CONFIG, trajectories_per_problem=1), 2)
    assert [(row.steps, row.round, row.question) for row in found.sft] == [(("a", "A"), 2, "How many?")]
    assert (found.sft[0].mean_q, found.sft[0].min_q) == (pytest.approx(0.9), 0.8)
    assert [row.steps for row in curate([KNOWN], CONFIG, 2).sft] == [("a", "A"), ("b", "B")]


def test_pairs_of_a_node_stand_between_its_best_and_worst_children():
    assert node_pairs(curate([KNOWN], CONFIG, 2)) == {
        ((), ("a",), ("c",)): pytest.approx(1.2),
        ((), ("a",), ("b",)): pytest.approx(0.7),
        ((), ("b",), ("c",)): pytest.approx(0.5),  # b leads to both: on both sides, not against itself
        (("b",), ("B",), ("C",)): 2.0,
    }


def test_whole_trajectories_are_the_final_steps_pairs():
    final = [p for p in curate([KNOWN], CONFIG, 2).pairs if p.final]
    assert {(p.positive, p.negative): p.margin for p in final} == {
        (("a", "A"), ("c", "D")): pytest.approx(0.9 + 0.7),
        (("a", "A"), ("b", "C")): pytest.approx(0.9 + 0.45),
        (("b", "B"), ("c", "D")): pytest.approx(0.55 + 0.7),
        (("b", "B"), ("b", "C")): pytest.approx(0.55 + 0.45),
    }
    assert all(p.prefix == () for p in final)


def test_failed_steps_are_negatives_only_if_asked():
    assert not any(p.negative == ("d",) for p in curate([KNOWN], CONFIG, 2).pairs)
    found = node_pairs(curate([KNOWN], dataclasses.replace(CONFIG, dead_as_wrong=True), 2))
    assert found[(), ("a",), ("d",)] == pytest.approx(1.8)


@pytest.mark.parametrize("pairs", ["paper", "reference_code"])
def test_what_was_not_found_out_stands_on_no_side(pairs):
    """Neither a lost step, nor one that leads to ungraded answers alone, nor such an answer, even where the
    PPM, which stands in for its Q, condemned it wholly."""
    unsure = tree(
        step(0, "a", 1.0),
        Node(0, "lost", "unknown", 1, 0, 0.0),
        Node(0, "b", "ok", 1, 0, 0.0, ppm=-1.0),
        answer(1, "A", "right"),
        Node(3, "U", "answer", 2, 0, 0.0, ppm=-1.0, answer="U", grade="ungraded"),
        Node(1, "V", "answer", 2, 0, 0.0, ppm=-1.0, answer="V", grade="ungraded"),
    )
    config = dataclasses.replace(CONFIG, dead_as_wrong=True, pairs=pairs)
    found = curate([unsure], config, 2)
    assert found.pairs == [] and [row.steps for row in found.sft] == [("a", "A")]
    assert found.difficulty == {"p": "easy"}


def test_at_most_two_children_of_each_side():
    many = [step(0, f"r{i}", 0.9 - i / 10) for i in range(4)] + [step(0, f"w{i}", -i / 10) for i in range(4)]
    ends = [answer(1 + i, "A", "right") for i in range(4)] + [answer(5 + i, "B", "wrong") for i in range(4)]
    pairs = node_pairs(curate([tree(*many, *ends)], CONFIG, 1))
    assert {key[1:] for key in pairs} == {((f"r{i}",), (f"w{j}",)) for i in (0, 1) for j in (2, 3)}


def test_a_positive_of_lower_q_makes_no_pair():
    upside_down = tree(
        step(0, "a", -0.2), step(0, "b", 0.3), answer(1, "A", "right", 0.1), answer(2, "B", "wrong", 0.2)
    )
    found = curate([upside_down], CONFIG, 1)
    assert found.pairs == [] and found.dropped == {"margin": 2}


def test_margin_and_edits_filter():
    strict = curate([KNOWN], dataclasses.replace(CONFIG, min_margin=0.6), 2)
    assert min(p.margin for p in strict.pairs) >= 0.6 and strict.dropped == {"margin": 1}
    assert curate([KNOWN], dataclasses.replace(CONFIG, min_edits=2), 2).dropped == {"edits": 5}


def test_weight_by_node_is_shared_by_its_sides():
    found = curate([KNOWN], dataclasses.replace(CONFIG, weight="node"), 2)
    assert {p.weight for p in found.pairs if p.prefix == ("b",)} == {1.0}
    assert {p.weight for p in found.pairs if not p.final and p.prefix == ()} == {0.25}
    assert {p.weight for p in curate([KNOWN], CONFIG, 2).pairs} == {1.0}


def test_ties_of_mean_q_go_to_the_higher_minimum_then_to_the_earlier():
    tied = tree(
        step(0, "uneven", 0.2),
        step(0, "even", 0.6),
        step(0, "later", 0.6),
        answer(1, "A", "right", 1.0),
        answer(2, "B", "right", 0.6),
        answer(3, "C", "right", 0.6),
    )
    assert [row.steps[0] for row in curate([tied], CONFIG, 1).sft] == ["even", "later"]


def test_errors_and_repeats_are_not_taught():
    again = dataclasses.replace(KNOWN, tree_index=1)
    shows = tree(step(0, "<output>NameError: y<end_of_output>", 1.0), answer(1, "A", "right"), index=2)
    found = curate([KNOWN, again, shows], CONFIG, 1)
    assert [row.steps for row in found.sft] == [("a", "A"), ("b", "B")]
    assert (found.dropped["error"], found.dropped["duplicate"]) == (1, 2)


@pytest.mark.parametrize(
    ("grades", "expected"),
    [
        (["right", "right"], "easy"),
        (["right", "wrong"], "medium"),
        (["wrong"], "hard"),
        ([], "hard"),
        (["right", "ungraded"], "easy"),
    ],
)
def test_difficulty(grades, expected):
    nodes = [answer(0, str(i), grade) for i, grade in enumerate(grades)]
    assert curate([tree(*nodes)], CONFIG, 1).difficulty == {"p": expected}


@pytest.mark.parametrize(
    ("right", "wrong", "kept"), [(1, 1, True), (1, 2, False), (0, 1, False), (2, 1, True)]
)
def test_a_doubtful_label_drops_a_synthetic_problem(right, wrong, kept):
    nodes = [answer(0, f"R{i}", "right") for i in range(right)] + [
        answer(0, f"W{i}", "wrong") for i in range(wrong)
    ]
    made_up = tree(*nodes, problem=dataclasses.replace(PROBLEM, synthetic=True))
    found = curate([made_up], CONFIG, 1)
    assert bool(found.sft) == bool(found.pairs) == kept
    assert found.dropped.get("synthetic", 0) == (not kept)
    assert curate([tree(*nodes)], CONFIG, 1).dropped == {}


def test_an_answer_that_was_not_visited_does_not_count():
    waiting = tree(dataclasses.replace(answer(0, "A", "right"), visits=0, value_sum=0.0))
    found = curate([waiting], CONFIG, 1)
    assert (found.sft, found.difficulty) == ([], {"p": "hard"})


def test_no_trees_nothing():
    found = curate([], CONFIG, 1)
    assert (found.sft, found.pairs, found.difficulty, found.dropped) == ([], [], {}, {})


@pytest.mark.parametrize("wrong", [{"trajectories_per_problem": 0}, {"min_margin": 2.5}, {"min_edits": -1}])
def test_settings_are_checked(wrong):
    with pytest.raises(UserError, match=f"curate.{next(iter(wrong))}: .* given"):
        CurateConfig(**wrong)


def levenshtein(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


@settings(max_examples=300, deadline=None)
@given(st.text("ab", max_size=12), st.text("ab", max_size=12), st.integers(0, 14))
def test_the_banded_distance_agrees_with_the_full_one(a, b, least):
    assert edits_at_least(a, b, least) == (levenshtein(a, b) >= least)


def test_values_of_steps_that_lead_to_graded_answers_are_learnt_once() -> None:
    rows = curate([KNOWN], CONFIG, 1, "pqm").values
    q = {node.text: node.q for node in KNOWN.nodes[1:] if node.text != "d"}
    for row in rows:
        row.check()
        assert row.values == tuple(q[text] for text in row.steps)
    learnt = [text for row in rows for text, weight in zip(row.steps, row.weights, strict=True) if weight]
    assert sorted(learnt) == sorted(q)
    assert curate([KNOWN], CONFIG, 1).values == []


def test_a_dead_step_is_worth_least_where_it_counts_as_wrong() -> None:
    assert not any("d" in row.steps for row in curate([KNOWN], CONFIG, 1, "pqm").values)
    wrong = dataclasses.replace(CONFIG, dead_as_wrong=True)
    (row,) = (row for row in curate([KNOWN], wrong, 1, "pqm").values if "d" in row.steps)
    assert (row.values, row.weights) == ((-1.0,), (1.0,))


def test_values_that_nobody_found_out_are_not_learnt() -> None:
    """A PPM's guess that counts as a visit, a step whose ways on all failed, an answer without a grade."""
    unsure = tree(
        Node(0, "guess", "ok", 1, 1, 0.4, ppm=0.4),
        Node(0, "end", "ok", 1, 0, 0.0),
        step(2, "dead", -1.0, "exception"),
        answer(0, "U", "ungraded"),
        answer(0, "A", "right"),
    )
    rows = curate([unsure], dataclasses.replace(CONFIG, dead_as_wrong=True), 1, "pqm").values
    assert {row.steps: row.weights for row in rows} == {("end", "dead"): (0.0, 1.0), ("A",): (1.0,)}


def test_an_orm_learns_whole_solutions_alone() -> None:
    found = curate([KNOWN], CONFIG, 1, "orm").pairs
    assert found == [pair for pair in curate([KNOWN], CONFIG, 1).pairs if pair.final] and found
    released = dataclasses.replace(CONFIG, pairs="reference_code")
    assert not any(pair.final for pair in curate([KNOWN], released, 1).pairs)
    assert curate([KNOWN], released, 1, "orm").pairs == found


def test_values_that_are_none_are_refused() -> None:
    row = curate([KNOWN], CONFIG, 1, "pqm").values[0]
    for change in ({"values": row.values[:-1]}, {"values": (1.5, *row.values[1:])}, {"weights": (-1.0,) * 2}):
        with pytest.raises(ValueError, match="problem p: "):
            dataclasses.replace(row, **change).check()
