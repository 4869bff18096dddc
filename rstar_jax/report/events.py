"""A search told as JSON lines: one object an event or an answer, on one line, with its kind under "event".

    {"event": "begin", ...}      first: what answers, and how it is searched
    {"event": "steps", ...}      an expansion: the new steps, and what became of the other candidates
    {"event": "leads", ...}      of one question: the answer so far, where it or its support has changed
    {"event": "answer", ...}     a question's answer, with what supports it: the fields of `answer.Answer`
    {"event": "end", ...}        last: how many have been answered

The fields are those of the dataclasses here. Text is escaped to ASCII, so that no reader's encoding and no
terminal matters.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from rstar_jax.report.answer import Answer
from rstar_jax.search.contract import Leaf
from rstar_jax.search.expand import alive
from rstar_jax.search.votes import Class
from rstar_jax.types import Node, Problem


@dataclasses.dataclass(frozen=True, kw_only=True)
class Begin:
    """questions: how many there are. answered: of these before, by a command that was stopped; they are not
    told again. question: the one that is asked; None of many. answers: the file of the answers to many.
    policy, ppm: folders. search: the options (`search.SearchConfig`). seed: of the samples."""

    questions: int
    answered: int
    question: str | None
    answers: str | None
    policy: str
    ppm: str | None
    search: dict[str, Any]
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewStep:
    """A valid step. text: as the policy and the interpreter wrote it. answer: of a last step. output: what
    the interpreter showed. ppm: its value in [-1, 1]. tokens: written."""

    text: str
    answer: str | None
    output: str
    ppm: float | None
    tokens: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expansion:
    """id: of the question. tree: of its trees, from 0. after: texts of the steps that are extended. asked:
    candidates. steps: those that stand. failed: the others by cause; "dropped" are repeats and further
    answers. seconds: since the command began."""

    id: str
    tree: int
    after: list[str]
    asked: int
    steps: list[NewStep]
    failed: dict[str, int]
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leader:
    """id: of the question. answer: that leads now. votes: of how many trajectories that came to one."""

    id: str
    answer: str
    votes: int
    trajectories: int
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class End:
    """questions: how many there are. answered, unanswered: by this command, with an answer and without. weak:
    of its answers. left: not searched to their end. stopped: whether by a signal."""

    questions: int
    answered: int
    unanswered: int
    weak: int
    left: int
    stopped: bool
    seconds: float


EVENTS: dict[str, type] = {
    "begin": Begin,
    "steps": Expansion,
    "leads": Leader,
    "answer": Answer,
    "end": End,
}
_NAMES = {kind: name for name, kind in EVENTS.items()}


def line(event: Any) -> str:
    """An event as one line of JSON; a number that is not finite is null."""
    return json.dumps({"event": _NAMES[type(event)], **_finite(dataclasses.asdict(event))}, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Events:
    """Writes to `out`, each line flushed at once. show: with "answer" no expansions and leaders. seconds:
    since the start. ahead: called before anything is written."""

    def __init__(
        self,
        out: TextIO,
        show: str,
        seconds: Callable[[], float],
        ahead: Callable[[], None] = lambda: None,
    ) -> None:
        self._out, self._show, self._seconds, self._ahead = out, show, seconds, ahead
        self._leaders: dict[str, tuple[str, int]] = {}

    def tell(self, event: Any) -> None:
        """Write an event of EVENTS."""
        self._ahead()
        print(line(event), file=self._out, flush=True)

    def begins(self, begin: Begin) -> None:
        """Tell what is asked, of whom."""
        self.tell(begin)

    def ends(self, end: End) -> None:
        """How many were answered."""
        self.tell(end)

    def expanded(self, leaf: Leaf, children: Sequence[Node]) -> None:
        """A leaf and its children, failed ones included."""
        if self._show == "answer":
            return
        failed = Counter(node.detail or node.status for node in children if not alive(node))
        failed["dropped"] = leaf.n - len(children)
        self.tell(
            Expansion(
                id=leaf.problem.id,
                tree=leaf.tree_index,
                after=list(leaf.steps),
                asked=leaf.n,
                steps=[_step(node) for node in children if alive(node)],
                failed={cause: count for cause, count in failed.items() if count},
                seconds=round(self._seconds(), 3),
            )
        )

    def leads(self, problem: Problem, classes: Sequence[Class]) -> None:
        """The answer so far, where it or its support has changed."""
        now = (classes[0].answer, classes[0].count) if classes else None
        if now is None or now == self._leaders.get(problem.id) or self._show == "answer":
            return
        self._leaders[problem.id] = now
        total = sum(each.count for each in classes)
        seconds = round(self._seconds(), 3)
        self.tell(Leader(id=problem.id, answer=now[0], votes=now[1], trajectories=total, seconds=seconds))

    def concludes(self, found: Answer) -> None:
        """An answer, with what supports it."""
        self.tell(found)


def _step(node: Node) -> NewStep:
    return NewStep(
        text=node.text,
        answer=node.answer,
        output=node.observation,
        ppm=node.ppm,
        tokens=node.tokens,
    )
