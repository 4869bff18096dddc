"""A small deterministic world that stands in for the policy, the interpreter, the grader and the PPM.

A problem's solution is `DEPTH` moves and an answer. Each candidate's kind (a good move, a bad move, code that
fails, an answer) is drawn from the names of its node alone, so that it never depends on a batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from rstar_jax import search
from rstar_jax.queues import Batched
from rstar_jax.search import Leaf, Queues, SearchEvent
from rstar_jax.types import Candidate, Grade, Node, Problem, StepVerdict, Tree

DEPTH = 3


@dataclasses.dataclass(frozen=True)
class Functions:
    """What a search asks as plain functions of batches."""

    propose: Callable[[Sequence[Leaf]], list[list[Candidate]]]
    check: Callable[[Sequence[tuple[Problem, tuple[str, ...]]]], list[StepVerdict]]
    grade: Callable[[Sequence[tuple[Problem, str]]], list[Grade]]
    score: Callable[[Sequence[Any]], list[np.ndarray]] | None = None

    def queues(self) -> Queues:
        return Queues(
            Batched(self.propose),
            Batched(self.check),
            Batched(self.grade),
            self.score and Batched(self.score),
        )


def _queues(given: Functions | Queues) -> Queues:
    return given.queues() if isinstance(given, Functions) else given


def grow_trees(
    problems: Sequence[Problem], asked: Functions | Queues, *options: Any, **more: Any
) -> list[Tree]:
    """`search.grow_trees`, of plain functions as well."""
    return search.grow_trees(problems, _queues(asked), *options, **more)


@dataclasses.dataclass(frozen=True)
class News:
    """An expansion, or the end of a tree. leaf, children: empty at an end."""

    problem_index: int
    done: bool
    tree: Callable[[], Tree]
    leaf: Leaf | None = None
    children: Sequence[Node] = ()


def watch_trees(
    problems: Sequence[Problem], asked: Functions | Queues, *options: Any, **more: Any
) -> Generator[News, None, None]:
    """`search.watch_trees`, of plain functions as well."""

    def told(watched: Generator[tuple[int, SearchEvent | Tree], None, None]) -> Generator[News, None, None]:
        with contextlib.closing(watched):
            for index, news in watched:
                if isinstance(news, Tree):
                    yield News(index, True, lambda tree=news: tree)
                else:
                    yield News(index, False, news.tree, news.leaf, news.children)

    return told(search.watch_trees(problems, _queues(asked), *options, **more))


def problems(n: int, start: int = 0) -> list[Problem]:
    """Problems whose right answer is the number of moves."""
    return [Problem(f"p{i}", f"question {i}", str(DEPTH)) for i in range(start, start + n)]


def drawn(*name: object) -> random.Random:
    """A generator named by its arguments."""
    return random.Random(repr(name))


@dataclasses.dataclass
class World:
    """rates: of good moves, bad moves, failing code and code of which nothing is known. calls: what each
    propose was asked."""

    rates: tuple[float, ...] = (0.5, 0.3, 0.2)
    ppm: bool = False
    calls: list[list[Leaf]] = dataclasses.field(default_factory=list)

    def functions(self) -> Functions:
        return Functions(self.propose, self.check, self.grade, self.score if self.ppm else None)

    def propose(self, leaves: Sequence[Leaf]) -> list[list[Candidate]]:
        self.calls.append(list(leaves))
        return [[self.candidate(leaf, k) for k in range(leaf.n)] for leaf in leaves]

    def candidate(self, leaf: Leaf, k: int) -> Candidate:
        draw = drawn(leaf.problem.id, leaf.tree_index, leaf.node, k)
        if len(leaf.steps) == DEPTH:
            good = sum(" good " in step for step in leaf.steps)
            return Candidate(f"\\boxed{{{good}}} {draw.randrange(3)}", (1, 2), -1.0, "answer")
        kind = draw.choices((" good ", " bad ", " fails ", " lost ")[: len(self.rates)], self.rates)[0]
        return Candidate(f"#{kind}{draw.randrange(100)}", (1,), -0.5, "step")

    def check(self, requests: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepVerdict]:
        return [self.verdict(steps[-1]) for _, steps in requests]

    @staticmethod
    def verdict(text: str) -> StepVerdict:
        if " lost " in text:
            return StepVerdict(text, "unknown", detail="lost")
        if " fails " in text:
            return StepVerdict(text, "exception", detail="NameError")
        if text.startswith("\\boxed{"):
            return StepVerdict(text, "answer", answer=text[7 : text.index("}")])
        return StepVerdict(text, "ok")

    @staticmethod
    def grade(requests: Sequence[tuple[Problem, str]]) -> list[Grade]:
        return [
            "ungraded" if not problem.answer else "right" if answer == problem.answer else "wrong"
            for problem, answer in requests
        ]

    def score(self, requests: Sequence[tuple[Problem, tuple[str, ...], list[str]]]) -> list[np.ndarray]:
        return [
            np.array([drawn(problem.id, prefix, text).uniform(-1, 1) for text in texts], np.float32)
            for problem, prefix, texts in requests
        ]


class Early(World):
    """Now and then an answer comes before its time."""

    def candidate(self, leaf, k):
        usual = super().candidate(leaf, k)
        early = len(leaf.steps) == 1 and (k == 1 or (leaf.n == 1 and leaf.node % 4))
        return Candidate("\\boxed{7} early", (1,), -1.0, "answer") if early else usual
