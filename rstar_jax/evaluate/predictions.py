"""Trees of a benchmark's samples -> rows of predictions: its trajectories, judged by both gradings, and the
one whose answer the protocol's vote takes."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

from rstar_jax.evaluate.prediction import Prediction
from rstar_jax.evaluate.protocol import Protocol
from rstar_jax.search import votes
from rstar_jax.types import Grade, Problem, Tree

TREES_TOGETHER = 64  # in memory, whose answers are judged in one call

GradeAll = Callable[[Sequence[tuple[Problem, str]]], list[Grade]]
Same = Callable[[Problem, str, str], bool]


class Samples(Sequence[Problem]):
    """Every problem `k` times, the times of one together: each is searched, stored and gone on with by
    itself. Their ids differ, and with them their randomness."""

    def __init__(self, problems: Sequence[Problem], k: int) -> None:
        self.problems, self.k = problems, k

    def __len__(self) -> int:
        return len(self.problems) * self.k

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> list[Problem]: ...
    def __getitem__(self, index: int | slice) -> Problem | list[Problem]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        place, sample = divmod(range(len(self))[index], self.k)
        problem = self.problems[place]
        return dataclasses.replace(problem, id=f"{problem.id}#{sample}") if self.k > 1 else problem


@dataclasses.dataclass(frozen=True)
class Ending:
    """Where a trajectory of a tree ends. node: its last step, 0 if there is none. ended: as
    `Prediction.ended`. cut: whether it was longer than a step or a solution may be."""

    tree: Tree
    node: int
    ended: str
    score: float | None = None
    cut: bool = False

    @property
    def answer(self) -> str | None:
        """None where it came to none."""
        return self.tree.nodes[self.node].answer if self.ended == "answer" else None


def endings(tree: Tree, protocol: Protocol) -> list[Ending]:
    """The trajectories of a sample's tree: those that may vote or, where there is none, its deepest dead end.

    Of a search of "mcts_repeated" the best one by the PPM, of a chain the one that it is.
    """
    found = [
        Ending(tree, node, "answer", votes.score(tree, node, protocol.scores)) for node in votes.finals(tree)
    ]
    if protocol.strategy == "mcts_repeated":
        found = sorted(found, key=lambda end: 1.0 if end.score is None else -end.score)[:1]
    if found:
        return found
    dead = (i for i, node in enumerate(tree.nodes) if node.status != "answer")
    node = max(dead, key=lambda i: (tree.nodes[i].depth, -i))
    last = tree.nodes[node]
    spent = tree.ended if tree.ended in ("tokens", "seconds") else ""
    cut = bool(spent) or last.status == "depth" or last.detail == "length"
    return [Ending(tree, node, spent or last.status, votes.score(tree, node, protocol.scores), cut)]


@dataclasses.dataclass(frozen=True)
class Judged:
    """A problem's rows with what they do not say. rows, cut: of each trajectory; trees: of each sample."""

    rows: tuple[Prediction, ...]
    cut: tuple[bool, ...]
    trees: tuple[Tree, ...]


def judged(
    benchmark: str,
    problems: Iterable[Problem],
    trees: Iterable[Tree],
    protocol: Protocol,
    *,
    strict: GradeAll,
    released: GradeAll | None,
    same: Same,
) -> Iterator[Judged]:
    """Judge all samples, problem by problem; in memory are TREES_TOGETHER trees at a time, or one problem's.

    trees: of `Samples(problems, protocol.k)`, in order. strict, released: the gradings; None: the task has no
    other. same: whether two answers to a problem are one.
    """
    samples = iter(trees)
    each = ((problem, tuple(itertools.islice(samples, protocol.k))) for problem in problems)
    together = max(1, TREES_TOGETHER // protocol.k)
    while some := list(itertools.islice(each, together)):
        ends = [[end for tree in of for end in endings(tree, protocol)] for _, of in some]
        asked = [
            (problem, end.answer)
            for (problem, _), found in zip(some, ends, strict=True)
            for end in found
            if end.answer is not None
        ]
        grades = iter(strict(asked))
        others = iter(released(asked) if released else itertools.repeat(None, len(asked)))
        for (problem, of), found in zip(some, ends, strict=True):
            yield Judged(
                tuple(_rows(benchmark, problem, found, protocol, grades, others, same)),
                tuple(end.cut for end in found),
                of,
            )


def _rows(
    benchmark: str,
    problem: Problem,
    ends: Sequence[Ending],
    protocol: Protocol,
    grades: Iterator[Grade],
    others: Iterator[Grade | None],
    same: Same,
) -> Iterator[Prediction]:
    numbers = _classes([end.answer for end in ends], functools.partial(same, problem))
    chosen = _chosen(ends, numbers, protocol)
    for i, (end, number) in enumerate(zip(ends, numbers, strict=True)):
        path = [end.tree.nodes[node] for node in end.tree.path(end.node)]
        yield Prediction(
            benchmark=benchmark,
            problem_id=problem.id,
            level=problem.level,
            sample=i,
            chosen=i == chosen,
            question=problem.question,
            reference=problem.answer,
            text="".join(step.text for step in path),
            answer=end.answer,
            same=number,
            grade=None if end.answer is None else next(grades),
            released=None if end.answer is None else next(others),
            score=end.score,
            steps=len(path),
            tokens=sum(step.tokens for step in path),
            tool=any(step.cpu_s > 0 or step.observation for step in path),
            ended=end.ended,
        )


def _classes(answers: Sequence[str | None], equal: Callable[[str, str], bool]) -> list[int]:
    """Number equal answers alike, from 0 in the order in which they first come; -1: no answer."""
    firsts, numbers, known = list[str](), list[int](), dict[str, int]()
    for answer in answers:
        if answer is None:
            numbers.append(-1)
            continue
        if answer not in known:
            known[answer] = next((n for n, first in enumerate(firsts) if equal(first, answer)), len(firsts))
            if known[answer] == len(firsts):
                firsts.append(answer)
        numbers.append(known[answer])
    return numbers


def _chosen(ends: Sequence[Ending], numbers: Sequence[int], protocol: Protocol) -> int:
    """Index of the first trajectory with the answer that the vote takes; -1: none has one."""
    cast = [
        votes.Ballot(str(number), end.score, i)
        for i, (end, number) in enumerate(zip(ends, numbers, strict=True))
        if number >= 0
    ]
    held = votes.elect(cast, protocol.vote, top_k=protocol.top_k, equal=lambda one, other: one == other)
    return numbers.index(int(held[0].answer)) if held else -1
