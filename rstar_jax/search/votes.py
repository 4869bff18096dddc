"""The answer of a finished search, and pass@k; grades are not looked at.

Answers are counted in classes of equals, as a grader sees them ("0.5" and "1/2"), not as strings.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rstar_jax.errors import UserError
from rstar_jax.settings import nearest
from rstar_jax.types import Tree

Equal = Callable[[str, str], bool]


def _product(values: Sequence[float]) -> float:
    return 2 * math.prod((1 + value) / 2 for value in values) - 1


_STEPS = 4  # of a trajectory of usual length, so that long ones do not count more


def _strength(values: Sequence[float]) -> float:
    return 2 * math.exp(_STEPS * (sum(values) / len(values) - 1)) - 1


# What the PPM's values of its steps, in [-1, 1], make a trajectory worth, in [-1, 1]. The product is of what
# they say as chances, in [0, 1]. "strength" is what they are in the loss that they were learnt by
# (Bradley-Terry): the logarithm of odds, which add up over steps; a vote by weights then weighs by the odds.
# "orm": the one value that an outcome reward model gives, of the answer.
SCORES: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda values: values[-1],
    "mean": lambda values: sum(values) / len(values),
    "min": min,
    "product": _product,
    "strength": _strength,
    "orm": lambda values: values[-1],
}


@dataclasses.dataclass(frozen=True)
class Ballot:
    """An answer that may be the final one. score: of its trajectory, None without a PPM. node: its index."""

    answer: str
    score: float | None
    node: int = -1


def finals(tree: Tree) -> list[int]:
    """The answers that may be the final one: those that the search chose, or all that were visited."""
    visited = (i for i, node in enumerate(tree.nodes) if node.status == "answer" and node.visits)
    return list(tree.finals or visited)


def score(tree: Tree, answer: int, scores: str) -> float | None:
    """Score the trajectory to a node by a row of SCORES; None where nothing on it has a PPM value."""
    values = [tree.nodes[i].ppm for i in tree.path(answer)]
    known = [value for value in values if value is not None]
    return SCORES[scores](known) if known else None


def ballots(tree: Tree, scores: str = "last") -> list[Ballot]:
    """The answers that may be the final one with their trajectories' scores, in the order of the nodes."""
    return [Ballot(tree.nodes[i].answer or "", score(tree, i, scores), i) for i in finals(tree)]


def weight(score: float | None) -> float:
    """A weight in [0, 1] of a score in [-1, 1]: a trajectory that the PPM condemns adds nothing, and never
    takes a vote away."""
    return 0.0 if score is None else (1.0 + score) / 2


@dataclasses.dataclass
class Class:
    """Answers that are equal to the grader: the first one's text, how many, summed weight, best score.

    node: that of the best score, the first of equals.
    """

    answer: str
    count: int = 0
    weight: float = 0.0
    best: float = -math.inf
    node: int = -1


def classes(ballots: Sequence[Ballot], equal: Equal) -> list[Class]:
    """The classes of equal answers, in the order in which they first came."""
    found: list[Class] = []
    for ballot in ballots:
        same = next((c for c in found if c.answer == ballot.answer or equal(c.answer, ballot.answer)), None)
        if same is None:
            found.append(same := Class(ballot.answer))
        same.count += 1
        same.weight += weight(ballot.score)
        if _known(ballot.score) > same.best:
            same.best, same.node = _known(ballot.score), ballot.node
    return found


def _known(score: float | None) -> float:
    return -1.0 if score is None else score


# What makes a class of answers the final one: it has the most of it; of equals the one that came first.
VOTES: dict[str, Callable[[Class], float]] = {
    "best": lambda of: of.best,
    "majority": lambda of: of.count,
    "weighted": lambda of: of.weight,
}


def election(tree: Tree, vote: str, *, top_k: int = 0, equal: Equal, scores: str = "last") -> list[Class]:
    """Hold a named vote over a tree's trajectories: classes of equal answers, the final one first.

    vote: "best" (the PPM's), "majority", "weighted" (by the PPM): a row of VOTES.
    top_k: only the k trajectories of highest score vote (4 to 8 in the released code); 0, or without PPM
        values: all of them.
    equal: whether two answers are the same.
    scores: what a trajectory is worth, a row of SCORES.
    Without PPM values "best" is the first trajectory and "weighted" falls back to the majority. Empty if no
    trajectory ended in an answer. Raises UserError for an unknown vote or score.
    """
    _require("scores", scores, SCORES)
    return elect(ballots(tree, scores), vote, top_k=top_k, equal=equal)


def elect(given: Sequence[Ballot], vote: str, *, top_k: int = 0, equal: Equal) -> list[Class]:
    """The `election` over ballots that are there already."""
    vote, ranked = _ranked(given, vote, top_k)
    return sorted(classes(ranked, equal), key=VOTES[vote], reverse=True)


def final_answer(tree: Tree, vote: str, *, top_k: int = 0, equal: Equal, scores: str = "last") -> str | None:
    """The answer that wins the `election`, whose parameters and errors these are; None if there is none."""
    _require("scores", scores, SCORES)
    name, ranked = _ranked(ballots(tree, scores), vote, top_k)
    if name == "best":  # by the text that was liked best itself: nobody need compare
        return ranked[0].answer if ranked else None
    counted = classes(ranked, equal)
    return max(counted, key=VOTES[name]).answer if counted else None


def _require(name: str, value: str, known: Mapping[str, object]) -> None:
    if value not in known:
        raise UserError(
            f"{name}: '{value}' given, one of {', '.join(known)} expected. {nearest(value, known)}"
        )


def _ranked(given: Sequence[Ballot], vote: str, top_k: int) -> tuple[str, Sequence[Ballot]]:
    """The vote that can be held, and who takes part, the highest score first."""
    _require("vote", vote, VOTES)
    if vote == "weighted" and all(ballot.score is None for ballot in given):
        vote = "majority"
    if all(ballot.score is None for ballot in given):  # none is better than another: no cut
        return vote, given
    return vote, sorted(given, key=lambda ballot: _known(ballot.score), reverse=True)[: top_k or None]


def pass_at_k(right: Sequence[int] | np.ndarray, samples: Sequence[int] | np.ndarray, k: int) -> np.ndarray:
    """Unbiased chance that one of k samples is right, for each problem (arXiv 2107.03374, equation 1).

    right, samples: [B] int, right ones among all samples. Returns [B] float in [0, 1].
    Raises UserError if some problem has fewer than k samples.
    """
    if k < 1 or min(samples, default=k) < k:
        raise UserError(
            f"pass@{k}: {min(samples, default=0)} samples of some problem, at least {max(k, 1)} expected. "
            "Sample more, or lower k."
        )
    return np.array(
        [1.0 - math.comb(n - c, k) / math.comb(n, k) for c, n in zip(right, samples, strict=True)], float
    )
