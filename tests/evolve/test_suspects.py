"""Problems that nobody solves while many agree: their labels are looked at."""

from __future__ import annotations

import dataclasses
import random

import pytest

from rstar_jax.evolve.suspects import most_agreed, row, suspects, unsolved
from rstar_jax.types import Node, Problem, Tree

PROBLEM = Problem("p", "How many?", "3", source="own")


def same(_: Problem, one: str, other: str) -> bool:
    return float(one) == float(other)


def tree(answers: str, problem: Problem = PROBLEM, index: int = 0, grade: str = "wrong") -> Tree:
    """A tree of one-step trajectories with these answers, each of a text of its own."""
    nodes = [
        Node(0, f"{answer} {index} {i}", "answer", 1, 1, -1.0, answer=answer, grade=grade)
        for i, answer in enumerate(answers.split())
    ]
    return Tree(problem, 1, index, 8, (Node(-1, "", "ok", 0, len(nodes), 0.0), *nodes))


@pytest.mark.parametrize(
    ("answers", "votes"),
    [
        ("4 4.0 4 4 5", (4, 5)),  # equals by the grader
        ("4 4 4 5", None),  # too few
        ("4 4 4 4 5 5 5 6 7", None),  # less than half
        ("4 4 4 4 5 5 6 7", (4, 8)),
        ("", None),
    ],
)
def test_many_must_agree(answers, votes):
    found = suspects(unsolved([tree(answers)]), same)
    assert [(one.votes, one.trajectories) for one in found] == ([votes] if votes else [])
    if votes:
        assert row(found[0]) == {
            "id": "p", "question": "How many?", "answer": "4", "label": "3",
            "votes": votes[0], "trajectories": votes[1],
        }  # fmt: skip


def test_a_problem_that_some_tree_solves_is_none():
    assert not suspects(unsolved([tree("4 4 4 4"), tree("3", index=1, grade="right")]), same)


def test_the_trees_of_a_problem_count_together_and_a_repeat_once():
    one, again, other = tree("4 4"), tree("4 4"), tree("4 4", index=1)
    assert not suspects(unsolved([one, again]), same)
    assert [s.votes for s in suspects(unsolved([one, again, other]), same)] == [4]


def test_what_was_not_graded_or_is_calculated_is_left_aside():
    assert not suspects(unsolved([tree("4 4 4 4", grade="ungraded")]), same)
    assert not suspects(unsolved([tree("4 4 4 4", dataclasses.replace(PROBLEM, source="suite"))]), same)


def test_the_most_agreed_on_come_first():
    few, many = tree("4 4 4 4"), tree("5 5 5 5 5", dataclasses.replace(PROBLEM, id="q"))
    found = suspects(unsolved([few, many]), same)
    assert [one.problem.id for one in found] == ["p", "q"]
    assert [one.problem.id for one in most_agreed(found)] == ["q", "p"]


def test_graders_are_asked_little_where_nothing_agrees():
    """Up to 64 trajectories of each of many problems: each question takes a millisecond."""
    asked = []

    def counting(problem: Problem, one: str, other: str) -> bool:
        asked.append((one, other))
        return same(problem, one, other)

    assert not suspects(unsolved([tree(" ".join(map(str, range(5, 69))))]), counting)
    assert len(asked) < 2 * 64


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_order_half_of_all_are_found(seed):
    shuffle = random.Random(seed).shuffle
    answers = ["4", "4.0", "4.00", "4", *"5678"]
    shuffle(answers)
    (found,) = suspects(unsolved([tree(" ".join(answers))]), same)
    assert (float(found.found), found.votes, found.trajectories) == (4, 4, 8)
