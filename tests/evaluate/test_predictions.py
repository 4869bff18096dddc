"""Rows of predictions from trees: which trajectories are samples, whose answer is chosen, who judged them."""

import dataclasses
from typing import Any

import pytest

from rstar_jax.evaluate.benchmarks import asked
from rstar_jax.evaluate.predictions import TREES_TOGETHER, Samples, judged
from rstar_jax.evaluate.protocol import Protocol, protocol_of
from rstar_jax.types import Node, Problem, Tree

PROBLEM = Problem("p", "What?", "1/2", level=2)


def protocol(strategy="best_of_n", k=2, **more) -> Protocol:
    (one,) = asked("math500")
    made = protocol_of(one, "benchmark", {"strategy": "best_of_n"}, ppm=True, task="math", prompt=None)
    return dataclasses.replace(made, strategy=strategy, k=k, **more)


def tree(*answers, ended: Any = "rollouts", problem=PROBLEM, ppm=(), visits=1):
    """A step, then an answer each ("!STATUS DETAIL": a step that failed so), with a PPM's values."""
    nodes = [Node(-1, "", "ok", 0, 1, 0.0), Node(0, "a", "ok", 1, 1, 0.0, tokens=3, cpu_s=0.1)]
    for i, answer in enumerate(answers):
        dead = answer.startswith("!")
        status, _, detail = answer[1:].partition(" ") if dead else ("answer", "", "")
        value = ppm[i] if ppm else None
        known = None if dead else answer
        nodes.append(Node(1, "b", status, 2, visits, 0.0, value, known, tokens=2, detail=detail))
    return Tree(problem, 0, 0, 1, tuple(nodes), ended=ended, tokens=9)


def rows(trees, p, problems=(PROBLEM,), strict=None, released=None):
    def right(requests) -> Any:
        return ["right" if answer in ("1/2", "0.5") else "wrong" for _, answer in requests]

    same = lambda _, a, b: {a, b} <= {"1/2", "0.5"}  # noqa: E731
    return list(judged("b", problems, trees, p, strict=strict or right, released=released, same=same))


def test_a_chain_is_a_row_whatever_became_of_it():
    trees = [tree("1/2", ppm=(0.5,)), tree("!malformed length"), tree("3", ppm=(0.7,)), tree(ended="tokens")]
    (one,) = rows(trees, protocol(k=4))
    assert [row.sample for row in one.rows] == [0, 1, 2, 3]
    assert [row.answer for row in one.rows] == ["1/2", None, "3", None]
    assert [row.ended for row in one.rows] == ["answer", "malformed", "answer", "tokens"]
    assert one.cut == (False, True, False, True) and one.trees == tuple(trees)
    assert [row.grade for row in one.rows] == ["right", None, "wrong", None]
    assert [row.same for row in one.rows] == [0, -1, 1, -1]
    assert [row.score for row in one.rows] == [0.5, None, 0.7, None]
    first = one.rows[0]
    assert (first.text, first.steps, first.tokens, first.tool) == ("ab", 2, 5, True)
    assert (first.problem_id, first.level, first.reference, first.benchmark) == ("p", 2, "1/2", "b")
    assert all(row.released is None for row in one.rows)


def chosen(trees, **more):
    (one,) = rows(trees, protocol(k=len(trees), **more))
    return [row.sample for row in one.rows if row.chosen]


def test_the_vote_takes_the_first_row_of_its_answer():
    trees = [tree("3", ppm=(0.9,)), tree("1/2", ppm=(0.1,)), tree("0.5", ppm=(0.4,)), tree("7", ppm=(-0.9,))]
    assert chosen(trees, vote="best", top_k=0) == [0]
    assert chosen(trees, vote="majority", top_k=0) == [1]  # equal answers count together
    assert chosen(trees, vote="weighted", top_k=0) == [1]
    assert chosen(trees, vote="weighted", top_k=1) == [0]
    assert chosen([tree("!exception"), tree("!depth")]) == []


def test_of_a_search_of_several_its_best_trajectory_is_the_sample():
    trees = [tree("3", "1/2", ppm=(-0.5, 0.8)), tree("!timeout")]
    (one,) = rows(trees, protocol("mcts_repeated"))
    assert [(row.answer, row.ended) for row in one.rows] == [("1/2", "answer"), (None, "timeout")]
    (one,) = rows([tree("3", "1/2", ppm=(None, -0.5))], protocol("mcts_repeated", k=1))  # one was not read
    assert [row.answer for row in one.rows] == ["1/2"]
    (one,) = rows(trees[:1], protocol("mcts", k=1))
    assert [row.answer for row in one.rows] == ["3", "1/2"]
    (one,) = rows([tree("3", "1/2", visits=0)], protocol("mcts", k=1))  # never reached by a rollout
    assert [row.answer for row in one.rows] == [None]


def test_both_gradings_judge_every_answer_in_few_calls():
    problems = [dataclasses.replace(PROBLEM, id=str(i)) for i in range(TREES_TOGETHER + 3)]
    trees = [tree("1/2", problem=p) if i % 2 else tree("!exception") for i, p in enumerate(problems)]
    calls = []

    def released(requests):
        calls.append(len(requests))
        return ["wrong" if problem.id == "5" else "right" for problem, _ in requests]

    found = rows(trees, protocol(k=1), problems, released=released)
    assert calls == [TREES_TOGETHER // 2, 1]
    assert [one.rows[0].problem_id for one in found] == [p.id for p in problems]
    judged_otherwise = [one.rows[0].problem_id for one in found if one.rows[0].released != one.rows[0].grade]
    assert judged_otherwise == ["5"]


def test_few_trees_are_in_memory_however_many_samples_a_problem_has():
    problems = [dataclasses.replace(PROBLEM, id=str(i)) for i in range(4)]
    read = (tree("1/2", problem=p) for p in problems for _ in range(TREES_TOGETHER))
    wrong = lambda asked: ["wrong"] * len(asked)  # noqa: E731
    p = protocol(k=TREES_TOGETHER)
    found = judged("b", problems, read, p, strict=wrong, released=None, same=lambda *_: True)
    assert len(next(found).rows) == TREES_TOGETHER
    assert len(list(read)) == 3 * TREES_TOGETHER  # of the other problems none was read yet


@pytest.mark.parametrize("k", [1, 3])
def test_samples_of_a_problem_lie_together_and_have_names_of_their_own(k):
    problems = [dataclasses.replace(PROBLEM, id=name) for name in "ab"]
    found = Samples(problems, k)
    assert len(found) == 2 * k == len({p.id for p in found})
    assert [p.id.partition("#")[0] for p in found] == ["a"] * k + ["b"] * k
    assert found[-1] == found[len(found) - 1] and found[1:] == [*found][1:]
    with pytest.raises(IndexError):
        found[len(found)]
