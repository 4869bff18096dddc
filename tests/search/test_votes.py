"""Answers by vote, and pass@k against its definition."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_jax.errors import UserError
from rstar_jax.search import votes
from rstar_jax.search.budget import vote_is_decided
from rstar_jax.types import Node, Problem, Tree


def tree(*answers: tuple[str, float | None]) -> Tree:
    nodes = [Node(-1, "", "ok", 0, 1, 0.0)]
    nodes += [Node(0, a, "answer", 1, 1, 0.0, ppm=ppm, answer=a, grade="wrong") for a, ppm in answers]
    return Tree(Problem("p", "q", ""), 1, 0, len(answers), tuple(nodes))


def equal(a: str, b: str) -> bool:
    return float(a) == float(b)


MIXED = tree(("1", 0.2), ("2", 0.9), ("1.0", 0.1), ("3", -0.9), ("01", -0.5), ("2.0", 0.8))


@pytest.mark.parametrize(
    ("vote", "top_k", "expected"),
    [
        ("best", 0, "2"),
        ("majority", 0, "1"),
        ("majority", 2, "2"),
        ("weighted", 0, "2"),
        ("weighted", 1, "2"),
    ],
)
def test_each_vote(vote, top_k, expected):
    assert equal(votes.final_answer(MIXED, vote, top_k=top_k, equal=equal), expected)


def test_equal_answers_are_one_class_though_written_differently():
    found = tree(("0.5", None), ("7", None), ("0.50", None))
    assert votes.final_answer(found, "majority", equal=equal) == "0.5"
    assert votes.final_answer(found, "majority", equal=str.__eq__) == "0.5"  # a tie: the first
    assert (
        votes.final_answer(tree(("7", None), ("0.5", None), ("0.50", None)), "majority", equal=equal) == "0.5"
    )


def test_without_a_ppm_weights_fall_back_to_the_majority():
    found = tree(("7", None), ("1", None), ("1", None))
    assert votes.final_answer(found, "weighted", equal=equal) == "1"


@pytest.mark.parametrize("vote", ["majority", "weighted"])
def test_without_a_ppm_all_vote_whatever_top_k(vote):
    found = tree(*[("7", None)] * 3, *[("42", None)] * 5)
    assert votes.final_answer(found, vote, top_k=3, equal=equal) == "42"
    assert [c.count for c in votes.election(found, vote, top_k=3, equal=equal)] == [5, 3]


def test_no_trajectory_no_answer():
    for vote in votes.VOTES:
        assert votes.final_answer(tree(), vote, equal=equal) is None


def test_an_unknown_vote_is_named():
    with pytest.raises(UserError, match=r"'majorty' given.*Did you mean 'majority'"):
        votes.final_answer(MIXED, "majorty", equal=equal)


def test_pass_at_k_is_the_share_of_draws_with_a_right_one():
    for n, c, k in [(5, 2, 1), (5, 2, 3), (6, 0, 2), (6, 6, 2), (4, 3, 2)]:
        draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
        assert votes.pass_at_k([c], [n], k)[0] == pytest.approx(np.mean([any(d) for d in draws]))


def test_pass_at_k_needs_k_samples():
    with pytest.raises(UserError, match="pass@8: 4 samples"):
        votes.pass_at_k([1, 1], [8, 4], 8)


def path(*ppms: float, answer: str = "1") -> list[Node]:
    """The nodes of a chain below the root."""
    last = len(ppms)
    return [
        Node(0, f"{answer} {d}", "ok", d, 1, 0.0, ppm=ppm)
        if d < last
        else Node(0, answer, "answer", d, 1, 0.0, ppm=ppm, answer=answer, grade="wrong")
        for d, ppm in enumerate(ppms, 1)
    ]


def chains(*of: list[Node], finals: tuple[int, ...] = ()) -> Tree:
    nodes = [Node(-1, "", "ok", 0, 1, 0.0)]
    for chain in of:
        parent = 0
        for node in chain:
            nodes.append(dataclasses.replace(node, parent=parent))
            parent = len(nodes) - 1
    return Tree(Problem("p", "q", ""), 1, 0, len(of), tuple(nodes), finals=finals)


SCORED = chains(
    path(-0.9, 0.95, answer="1"), path(0.5, 0.5, answer="2"), path(0.0, 0.9, 0.9, 0.9, answer="3")
)


@pytest.mark.parametrize(
    ("scores", "expected", "best"),
    [
        ("last", (0.95, 0.5, 0.9), "1"),
        ("mean", (0.025, 0.5, 0.675), "3"),
        ("min", (-0.9, 0.5, 0.0), "2"),
        ("product", (2 * 0.05 * 0.975 - 1, 2 * 0.75**2 - 1, 2 * 0.5 * 0.95**3 - 1), "2"),
        ("strength", tuple(2 * math.exp(4 * (mean - 1)) - 1 for mean in (0.025, 0.5, 0.675)), "3"),
    ],
)
def test_what_a_trajectory_is_worth(scores, expected, best):
    given = votes.ballots(SCORED, scores)
    assert [ballot.score for ballot in given] == pytest.approx(expected)
    assert votes.final_answer(SCORED, "best", equal=equal, scores=scores) == best
    assert votes.final_answer(SCORED, "majority", top_k=1, equal=equal, scores=scores) == best


def test_the_level_of_all_values_does_not_move_a_vote_by_strength():
    """The preference loss leaves it free."""
    values = (((0.5, 0.3), "1"), ((0.1, 0.2), "2"), ((0.2, 0.0), "2"))
    shares = []
    for moved in (0.0, -0.4):
        found = chains(*(path(*(value + moved for value in of), answer=answer) for of, answer in values))
        first, second = votes.election(found, "weighted", equal=equal, scores="strength")
        shares.append((first.answer, first.weight / second.weight))
    assert shares[0][0] == shares[1][0] and shares[0][1] == pytest.approx(shares[1][1])


def test_only_the_chosen_answers_vote_where_a_search_chose():
    two = path(0.1, answer="7"), path(0.9, answer="8"), path(0.5, answer="7")
    assert votes.final_answer(chains(*two), "majority", equal=equal) == "7"
    assert votes.final_answer(chains(*two, finals=(2,)), "majority", equal=equal) == "8"


def test_classes_are_the_graders():
    found = votes.classes(votes.ballots(MIXED), equal)
    assert [(c.answer, c.count) for c in found] == [("1", 3), ("2", 2), ("3", 1)]
    assert [c.best for c in found] == [0.2, 0.9, -0.9]
    assert [c.weight for c in found] == pytest.approx([0.6 + 0.55 + 0.25, 0.95 + 0.9, 0.05])


def test_an_unknown_score_is_named():
    with pytest.raises(UserError, match=r"scores: 'meen' given.*Did you mean 'mean'"):
        votes.final_answer(MIXED, "best", equal=equal, scores="meen")


@given(
    st.lists(st.tuples(st.sampled_from("123"), st.floats(-1, 1)), max_size=7),
    st.lists(st.tuples(st.sampled_from("123"), st.floats(-1, 1)), max_size=7),
    st.sampled_from(["majority", "weighted"]),
)
def test_a_settled_vote_is_not_changed_by_what_comes(so_far, more, vote):
    """Whatever answers come, and also where the grader finds answers equal that are written differently."""
    if vote_is_decided(tree(*so_far).nodes[1:], len(more), vote):
        for same in (equal, lambda a, b: {a, b} <= {"2", "3"} or a == b):
            before = votes.final_answer(tree(*so_far), vote, equal=same)
            after = votes.final_answer(tree(*so_far, *more), vote, equal=same)
            assert before == after or same(before, after)


@pytest.mark.parametrize("vote", votes.VOTES)
@pytest.mark.parametrize("top_k", [0, 1, 3])
@pytest.mark.parametrize("given", [MIXED, tree(("1", None), ("2", None), ("2.0", None)), tree()])
def test_an_election_is_led_by_the_final_answer(vote, top_k, given):
    found = votes.election(given, vote, top_k=top_k, equal=equal)
    assert (found[0].answer if found else None) == votes.final_answer(given, vote, top_k=top_k, equal=equal)
    scored = any(ballot.score is not None for ballot in votes.ballots(given))
    assert sum(c.count for c in found) == len(votes.ballots(given)[: (scored and top_k) or None])
    for c in found:  # its node is the one that the PPM likes best
        alike = [n.ppm for n in given.nodes[1:] if n.ppm is not None and equal(n.answer, c.answer)]
        assert equal(given.nodes[c.node].answer, c.answer)
        assert not alike or given.nodes[c.node].ppm == max(alike) == c.best
