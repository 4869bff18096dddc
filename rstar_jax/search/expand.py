"""One expansion on its way from a leaf to its children: propose, drop repeats, check, grade and score."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from rstar_jax.errors import UserError
from rstar_jax.search.contract import Leaf
from rstar_jax.types import Candidate, Node, StepVerdict

# Which of a leaf's candidates are looked at all.
Keep = Callable[[Sequence[Candidate]], list[Candidate]]


def everything(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Independent samples: a repeat counts again."""
    return list(candidates)


def distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The first of each text."""
    by_text: dict[str, Candidate] = {}
    for candidate in candidates:
        by_text.setdefault(candidate.text, candidate)
    return list(by_text.values())


def answer_alone(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The released code's choice: the first that stopped as an answer alone, if there is one, else all."""
    answers = [candidate for candidate in candidates if candidate.finish == "answer"]
    return answers[:1] or list(candidates)


def one_answer(nodes: list[Node]) -> list[Node]:
    """Drops all answers of an expansion but the first; other steps stay."""
    first = next((node for node in nodes if node.status == "answer"), None)
    return [node for node in nodes if node.status != "answer" or node is first]


def alive(node: Node) -> bool:
    """Whether a node is a step to go on from, or an answer."""
    return node.status in ("ok", "answer")


def failed(node: Node) -> bool:
    """Whether a node is a dead end; one of which nothing is known ("unknown") is neither that nor alive."""
    return not alive(node) and node.status != "unknown"


@dataclasses.dataclass(frozen=True)
class Manner:
    """How the leaves of a strategy are expanded.

    last_depth: a child there that is no answer is a dead end ("depth").
    keep: of the candidates, before they run. admit: of the nodes, before they are graded and scored.
    score: which steps the PPM reads: every step that lives, or answers alone (an outcome reward model).
    """

    last_depth: int
    keep: Keep = everything
    admit: Callable[[list[Node]], list[Node]] = list
    score: Literal["steps", "answers", "nothing"] = "steps"


Kind = Literal["check", "grade", "score"]
# What an expansion wants to be told: the service, what to name the result when it comes, the request.
Ask = tuple[Kind, Any, Any]


class Expansion:
    """Told of results one by one, in any order; each telling returns what to ask for next.

    children: the leaf's children once all is known, failed ones included, in the order proposed. Until then
        None. tokens: sampled for it.
    Raises UserError if a value of the PPM is not finite.
    """

    def __init__(self, leaf: Leaf, manner: Manner):
        self.leaf, self.children, self.tokens = leaf, None, 0
        self.children: list[Node] | None
        self._manner = manner
        self._kept: list[Candidate] | None = None
        self._at: list[int] = []  # of what is kept: which of the leaf's candidates
        self._verdicts: dict[str, StepVerdict | None] = {}  # by text: equal steps run once; None: on its way
        self._nodes: list[Node] = []
        self._scored: list[int] = []
        self._missing = 0  # grades and values

    def take(self, kind: str, key: Any, result: Any) -> list[Ask]:
        """A result: a "sample" (one candidate before the list of all) or all that were asked of a service,
        "propose", "check", "grade" or "score"; key: as it was asked for."""
        if kind == "sample":
            return self._check([result])
        if kind == "propose":
            return self._proposed(result)
        if kind == "check":
            self._verdicts[key] = result
            return self._all_checked()
        if kind == "grade":
            self._nodes[key] = dataclasses.replace(self._nodes[key], grade=result)
        else:
            self._scores(result)
        self._missing -= 1
        return self._finish()

    def _proposed(self, candidates: Sequence[Candidate]) -> list[Ask]:
        leaf = self.leaf
        if len(candidates) > leaf.n:
            raise ValueError(f"{leaf.n} candidates asked for, {len(candidates)} given")
        self.tokens = sum(len(candidate.tokens) for candidate in candidates)
        order = {id(candidate): i for i, candidate in reversed(list(enumerate(candidates)))}
        self._kept = self._manner.keep(candidates)
        self._at = [order[id(candidate)] for candidate in self._kept]
        return self._check(self._kept) or self._all_checked()

    def _check(self, candidates: Sequence[Candidate]) -> list[Ask]:
        asks: list[Ask] = []
        for candidate in candidates:
            # One that met the token limit before a stop is dead as it is: the interpreter never sees it.
            if candidate.finish != "length" and candidate.text not in self._verdicts:
                self._verdicts[candidate.text] = None
                asks.append(
                    ("check", candidate.text, (self.leaf.problem, (*self.leaf.steps, candidate.text)))
                )
        return asks

    def _all_checked(self) -> list[Ask]:
        """Goes on to grades and values once every verdict that counts is there."""
        if self._kept is None or self._nodes or self.children is not None:
            return []
        verdicts = []
        for candidate in self._kept:
            if candidate.finish == "length":
                verdict = StepVerdict(candidate.text, "malformed", detail="length")
            elif (verdict := self._verdicts[candidate.text]) is None:
                return []
            verdicts.append(verdict)
        made = zip(self._at, self._kept, verdicts, strict=True)
        self._nodes = nodes = self._manner.admit([self._node(*of) for of in made])
        problem, steps = self.leaf.problem, self.leaf.steps
        asks: list[Ask] = [
            ("grade", k, (problem, node.answer or ""))
            for k, node in enumerate(nodes)
            if node.status == "answer"
        ]
        counted = {"steps": ("ok", "answer"), "answers": ("answer",), "nothing": ()}[self._manner.score]
        self._scored = [k for k, node in enumerate(nodes) if node.status in counted]
        if self._scored:
            asks.append(("score", None, (problem, steps, [nodes[k].text for k in self._scored])))
        self._missing = len(asks)
        self._finish()
        return asks

    def _node(self, k: int, candidate: Candidate, verdict: StepVerdict) -> Node:
        depth = len(self.leaf.steps) + 1
        too_deep = verdict.status == "ok" and depth >= self._manner.last_depth
        return Node(
            parent=self.leaf.node,
            text=verdict.text,
            status="depth" if too_deep else verdict.status,
            depth=depth,
            visits=0,
            value_sum=0.0,
            answer=verdict.answer,
            logprob=candidate.logprob,
            tokens=len(candidate.tokens),
            detail=verdict.detail,
            leaf=self.leaf.node,
            candidate=k,
        )

    def _scores(self, values: np.ndarray) -> None:
        if len(values) != len(self._scored):
            raise ValueError(f"{len(self._scored)} values asked for, {len(values)} given")
        for k, value in zip(self._scored, values, strict=True):
            if not math.isfinite(value):
                raise UserError(
                    f"problem {self.leaf.problem.id}: the PPM gave {float(value)} for a step at depth "
                    f"{self._nodes[k].depth}, a number in [-1, 1] expected. Its weights are damaged or its "
                    "training diverged: train it again with a lower learning rate, or search without it."
                )
            self._nodes[k] = dataclasses.replace(self._nodes[k], ppm=float(value))

    def _finish(self) -> list[Ask]:
        if not self._missing:
            self.children = self._nodes
        return []
