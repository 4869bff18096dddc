"""One expansion on its way from a leaf to its children: propose, drop repeats, check, grade and score."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from rstar_jax.errors import UserError
from rstar_jax.search.contract import Leaf
from rstar_jax.types import MOST_OBSERVED, Candidate, Grade, Node, Origin, Status, StepVerdict


class CheckedStep(NamedTuple):
    """A candidate that was checked; k: which of its leaf's it is."""

    k: int
    candidate: Candidate
    verdict: StepVerdict


# Which of a leaf's candidates are looked at at all, and which of these become nodes.
Keep = Callable[[Sequence[Candidate]], list[Candidate]]
Admit = Callable[[list[CheckedStep]], list[CheckedStep]]


def everything(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Independent samples: a repeat counts again."""
    return list(candidates)


def distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The first of each text; and all that were given up on their way: they might have become different."""
    by_text: dict[object, Candidate] = {}
    for i, candidate in enumerate(candidates):
        by_text.setdefault((i, candidate.fault) if candidate.fault else candidate.text, candidate)
    return list(by_text.values())


def answer_alone(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The released code's choice: the first that stopped as an answer alone, if there is one, else all."""
    answers = [candidate for candidate in candidates if candidate.finish == "answer"]
    return answers[:1] or list(candidates)


def one_answer(steps: list[CheckedStep]) -> list[CheckedStep]:
    """Drops all answers of an expansion but the first; other steps stay."""
    first = next((step for step in steps if step.verdict.status == "answer"), None)
    return [step for step in steps if step.verdict.status != "answer" or step is first]


def alive(node: Node) -> bool:
    """Return whether a node is a step to go on from, or an answer."""
    return node.status in ("ok", "answer")


def failed(node: Node) -> bool:
    """Return whether a node is a dead end; one of which nothing is known ("unknown") is neither that nor
    alive."""
    return not alive(node) and node.status != "unknown"


@dataclasses.dataclass(frozen=True)
class ExpandConfig:
    """Expansion of a strategy's leaves.

    last_depth: a child there that is no answer is a dead end ("depth").
    keep: before they run. admit: before they are graded and scored.
    score: which steps the PPM reads: every step that lives, or answers alone (an outcome reward model).
    """

    last_depth: int
    keep: Keep = everything
    admit: Admit = list
    score: Literal["steps", "answers", "nothing"] = "steps"


Kind = Literal["check", "grade", "score"]
# What an expansion wants to be told: the queue, what to name the result when it comes, the request.
Ask = tuple[Kind, Any, Any]


class Expansion:
    """Told of results one by one, in any order; each telling returns what to ask for next.

        "propose" came            every verdict came                       the last of these came
    ---- asks "check" of  ------> asks "grade" of answers and   --------------------------------> children
         each new text            "score" of the steps that live

    children: the leaf's children once all is known, failed ones included, in the order proposed. Until then
        None. tokens: sampled for it. What no child can be gone on from, engines need not keep: its handle is
        released.
    Raises UserError if a value of the PPM is no number in [-1, 1].
    """

    def __init__(self, leaf: Leaf, manner: ExpandConfig):
        self.leaf, self.tokens = leaf, 0
        self.children: list[Node] | None = None
        self._manner = manner
        self._proposals: Sequence[Candidate] = ()
        self._kept: list[tuple[int, Candidate]] = []  # with which of the leaf's candidates it is
        self._verdicts: dict[str, StepVerdict] = {}  # by text: equal steps run once
        self._unchecked = 0
        self._steps: list[CheckedStep] = []
        self._statuses: list[Status] = []
        self._scored: list[int] = []  # which of the steps the PPM was asked about
        self._grades: dict[int, Grade] = {}
        self._values: dict[int, float] = {}
        self._missing = 0  # grades and values

    def take(self, kind: str, key: Any, result: Any) -> list[Ask]:
        """A result of "propose", "check", "grade" or "score"; key: as it was asked for."""
        if kind == "propose":
            return self._proposed(result)
        if kind == "check":
            self._verdicts[key] = result
            self._unchecked -= 1
            return [] if self._unchecked else self._checked()
        if kind == "grade":
            self._grades[key] = result
        else:
            self._score(result)
        self._missing -= 1
        self._finish()
        return []

    def _proposed(self, candidates: Sequence[Candidate]) -> list[Ask]:
        if len(candidates) > self.leaf.n:
            raise ValueError(f"{self.leaf.n} candidates asked for, {len(candidates)} given")
        self.tokens = sum(candidate.written for candidate in candidates)
        order = {id(candidate): i for i, candidate in reversed(list(enumerate(candidates)))}
        kept = self._manner.keep(candidates)
        self._proposals, self._kept = candidates, [(order[id(candidate)], candidate) for candidate in kept]
        # One that met the token limit before a stop is dead as it is: the interpreter never sees it.
        texts = dict.fromkeys(candidate.text for candidate in kept if candidate.finish != "length")
        self._unchecked = len(texts)
        asks: list[Ask] = [("check", text, (self.leaf.problem, (*self.leaf.steps, text))) for text in texts]
        return asks or self._checked()

    def _checked(self) -> list[Ask]:
        """Asks for grades and values, once every verdict is there."""
        steps = [
            CheckedStep(
                k, candidate, StepVerdict(candidate.text, "malformed", detail=candidate.fault or "length")
            )
            if candidate.finish == "length"
            else CheckedStep(k, candidate, self._verdicts[candidate.text])
            for k, candidate in self._kept
        ]
        self._steps = steps = self._manner.admit(steps)
        problem, before = self.leaf.problem, self.leaf.steps
        asks: list[Ask] = [
            ("grade", i, (problem, step.verdict.answer or ""))
            for i, step in enumerate(steps)
            if step.verdict.status == "answer"
        ]
        too_deep = len(before) + 1 >= self._manner.last_depth
        self._statuses = [
            "depth" if too_deep and step.verdict.status == "ok" else step.verdict.status for step in steps
        ]
        counted = {"steps": ("ok", "answer"), "answers": ("answer",), "nothing": ()}[self._manner.score]
        self._scored = [i for i, status in enumerate(self._statuses) if status in counted]
        if self._scored:
            asks.append(("score", None, (problem, before, [steps[i].verdict.text for i in self._scored])))
        self._missing = len(asks)
        self._finish()
        return asks

    def _score(self, values: np.ndarray) -> None:
        if len(values) != len(self._scored):
            raise ValueError(f"{len(self._scored)} values asked for, {len(values)} given")
        for i, value in zip(self._scored, values, strict=True):
            if not -1 <= value <= 1:
                why = (
                    "What scores steps must map its values there, as tanh does"
                    if math.isfinite(value)
                    else "Its weights are damaged or its training diverged: train it again with a lower "
                    "learning rate, or search without it"
                )
                raise UserError(
                    f"problem {self.leaf.problem.id}: the PPM gave {float(value)} for a step at depth "
                    f"{len(self.leaf.steps) + 1}, a number in [-1, 1] expected. {why}."
                )
            self._values[i] = float(value)

    def _finish(self) -> None:
        if self._missing:
            return
        leaf, depth = self.leaf, len(self.leaf.steps) + 1
        origin = Origin(leaf.tree_index, leaf.node, leaf.n, leaf.temperature)
        self.children = [
            Node(
                parent=leaf.node,
                text=step.verdict.text,
                status=status,
                depth=depth,
                visits=0,
                value_sum=0.0,
                ppm=self._values.get(i),
                answer=step.verdict.answer,
                grade=self._grades.get(i),
                logprob=step.candidate.logprob,
                tokens=step.candidate.written,
                detail=step.verdict.detail,
                cpu_s=step.verdict.cpu_s,
                origin=origin,
                candidate=step.k,
                observation=step.verdict.observation[:MOST_OBSERVED],
                token_ids=step.candidate.tokens,
                handle=step.candidate.handle if status == "ok" else None,
            )
            for i, (step, status) in enumerate(zip(self._steps, self._statuses, strict=True))
        ]
        # Equal candidates share one.
        kept = {child.handle for child in self.children}
        for candidate in self._proposals:
            if candidate.handle is not None and candidate.handle not in kept:
                kept.add(candidate.handle)
                candidate.handle.release()
