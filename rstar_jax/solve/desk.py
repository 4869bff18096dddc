"""Answers of a command: made of trees, kept, told."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Protocol

from rstar_jax.report.answer import Answer, answer_of
from rstar_jax.report.events import Begin, End
from rstar_jax.search import Leaf, SearchConfig, votes
from rstar_jax.text.grammar import Grammar
from rstar_jax.types import Grade, Node, Problem, Tree


class Teller(Protocol):
    """Who is told of a search: `transcript.Transcript`, `answer_list.AnswerList`, `events.Events`."""

    def begins(self, begin: Begin) -> None: ...

    def expanded(self, leaf: Leaf, children: Sequence[Node]) -> None: ...

    def leads(self, problem: Problem, classes: Sequence[votes.Class]) -> None: ...

    def concludes(self, found: Answer) -> None: ...

    def ends(self, end: End) -> None: ...


@dataclasses.dataclass
class AnswerDesk:
    """The answers of a command, and all that they have in common.

    equal: whether two answers to a problem are the same. grade: of an answer to a problem that came with its
    own. keep: has an answer on disk before it is told. total: questions. earlier: those told before.
    had_none: of these, those that came to no answer.
    """

    search: SearchConfig
    grammar: Grammar
    teller: Teller
    seconds: Callable[[], float]
    equal: Callable[[Problem, str, str], bool]
    grade: Callable[[Problem, str], Grade]
    keep: Callable[[Answer], None] = lambda _: None
    total: int = 1
    earlier: int = 0
    had_none: int = 0
    answered: int = 0
    unanswered: int = 0
    weak: int = 0

    def election(self, tree: Tree) -> list[votes.Class]:
        """The answers of a tree, the final one first."""
        search, equal = self.search, functools.partial(self.equal, tree.problem)
        return votes.election(tree, search.vote, top_k=search.top_k, equal=equal, scores=search.scores)

    def conclude(self, tree: Tree, ended: str = "") -> None:
        """Keep and tell the answer of a tree. ended: by what, other than the tree says."""
        classes = self.election(tree)
        found = answer_of(tree, classes, self.search.vote, self.grammar, self.seconds(), ended)
        if found.answer is not None and tree.problem.answer:
            found = dataclasses.replace(found, grade=self.grade(tree.problem, found.answer))
        self.told(found)

    def told(self, found: Answer) -> None:
        """Keep and tell an answer."""
        self.answered += found.answer is not None
        self.unanswered += found.answer is None
        self.weak += bool(found.weak)
        self.keep(found)
        self.teller.concludes(found)

    def end(self, stopped: bool) -> int:
        """Tell the end; returns the exit status."""
        done = self.earlier + self.answered + self.unanswered
        self.teller.ends(
            End(
                questions=self.total,
                answered=self.answered,
                unanswered=self.unanswered,
                weak=self.weak,
                left=self.total - done,
                stopped=stopped,
                seconds=round(self.seconds(), 3),
            )
        )
        return 1 if self.unanswered or self.had_none else 0
