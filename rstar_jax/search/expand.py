"""The expansion of many leaves at once: propose, drop repeats, check, grade, score; one call of each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from rstar_jax.errors import UserError
from rstar_jax.search.contract import Functions, Leaf
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


def distinct_or_answer(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The released code's choice: the first that stopped as an answer alone, else the first of each text."""
    answers = [candidate for candidate in candidates if candidate.finish == "answer"]
    return answers[:1] or distinct(candidates)


def one_answer(nodes: list[Node]) -> list[Node]:
    """Drops all answers of an expansion but the first; other steps stay."""
    first = next((node for node in nodes if node.status == "answer"), None)
    return [node for node in nodes if node.status != "answer" or node is first]


def expand(
    functions: Functions,
    leaves: Sequence[Leaf],
    last_depth: int,
    keep: Keep,
    admit: Callable[[list[Node]], list[Node]] = list,
) -> list[list[Node]]:
    """The children of every leaf, failed ones included, in the order proposed; their `parent` is `leaf.node`.

    last_depth: a child there that is no answer is a dead end ("depth").
    keep: of the candidates, before they run. admit: of the nodes, before they are graded and scored.
    Raises UserError if a value of the PPM is not finite.
    """
    proposed = functions.propose(leaves)
    for leaf, candidates in zip(leaves, proposed, strict=True):
        if len(candidates) > leaf.n:
            raise ValueError(f"{leaf.n} candidates asked for, {len(candidates)} given")
    kept = [keep(candidates) for candidates in proposed]
    # One that met the token limit before a stop is dead as it is: the interpreter never sees it.
    to_check = [
        (leaf.problem, (*leaf.steps, candidate.text))
        for leaf, candidates in zip(leaves, kept, strict=True)
        for candidate in candidates
        if candidate.finish != "length"
    ]
    verdicts = iter(functions.check(to_check) if to_check else [])
    grown = []
    for leaf, candidates in zip(leaves, kept, strict=True):
        children = []
        for candidate in candidates:
            if candidate.finish == "length":
                verdict = StepVerdict(candidate.text, "malformed", detail="length")
            else:
                verdict = next(verdicts)
            children.append(_node(leaf, last_depth, candidate, verdict))
        grown.append(admit(children))
    return _scored(functions, leaves, _graded(functions, leaves, grown))


def _node(leaf: Leaf, last_depth: int, candidate: Candidate, verdict: StepVerdict) -> Node:
    depth = len(leaf.steps) + 1
    too_deep = verdict.status == "ok" and depth >= last_depth
    return Node(
        parent=leaf.node,
        text=verdict.text,
        status="depth" if too_deep else verdict.status,
        depth=depth,
        visits=0,
        value_sum=0.0,
        answer=verdict.answer,
        logprob=candidate.logprob,
        tokens=len(candidate.tokens),
        detail=verdict.detail,
    )


def _graded(functions: Functions, leaves: Sequence[Leaf], grown: list[list[Node]]) -> list[list[Node]]:
    answers = [
        (leaf.problem, node.answer or "")
        for leaf, children in zip(leaves, grown, strict=True)
        for node in children
        if node.status == "answer"
    ]
    grades = iter(functions.grade(answers) if answers else [])
    return [
        [dataclasses.replace(n, grade=next(grades)) if n.status == "answer" else n for n in children]
        for children in grown
    ]


def alive(node: Node) -> bool:
    """Whether a node is a step to go on from, or an answer."""
    return node.status in ("ok", "answer")


def failed(node: Node) -> bool:
    """Whether a node is a dead end; one of which nothing is known ("unknown") is neither that nor alive."""
    return not alive(node) and node.status != "unknown"


def _scored(functions: Functions, leaves: Sequence[Leaf], grown: list[list[Node]]) -> list[list[Node]]:
    if functions.score is None:
        return grown
    asked = [
        (leaf.problem, leaf.steps, [node.text for node in children if alive(node)])
        for leaf, children in zip(leaves, grown, strict=True)
        if any(alive(node) for node in children)
    ]
    answers = iter(functions.score(asked) if asked else [])
    scored = []
    for leaf, children in zip(leaves, grown, strict=True):
        values = iter(next(answers) if any(alive(node) for node in children) else ())
        scored.append([_with_ppm(leaf, node, next(values)) if alive(node) else node for node in children])
    return scored


def _with_ppm(leaf: Leaf, node: Node, value: np.floating) -> Node:
    if not math.isfinite(value):
        raise UserError(
            f"problem {leaf.problem.id}: the PPM gave {float(value)} for a step at depth {node.depth}, "
            "a number in [-1, 1] expected. Its weights are damaged or its training diverged: train it again "
            "with a lower learning rate, or search without it."
        )
    return dataclasses.replace(node, ppm=float(value))
