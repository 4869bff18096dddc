"""The order in which a reward model put steps and answers, from the trees of searches on problems that it
never learnt of: they hold its values already.
"""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections.abc import Iterator, Sequence

import numpy as np

from rstar_jax.curate import CurateConfig, compared
from rstar_jax.evaluate.judge.discrimination import reliability
from rstar_jax.search import votes
from rstar_jax.search.contract import GRADE_VALUES
from rstar_jax.types import Tree

MARGINS = 8  # bins of the histogram, from -2 to 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """pairs: of steps of one node, chosen as for training (section 3.3) but for the round's rules, by the
    grades of the answers that they lead to (a held-out search's own Q is the reward model's); accuracy: share
    of them in the right order, a tie half; loss: their mean Bradley-Terry loss without the factor 1/4.
    by_depth: pairs and accuracy by the depth of the steps. margins: pairs by the difference of the values,
    MARGINS bins from -2 to 2.

    answers: that were valued and graded; answer_pairs: a right and a wrong one of one tree, answer_accuracy:
    share of these in the right order by what their trajectories are worth to the run's vote; calibration:
    mean distance of (value + 1) / 2 from the share of right answers, in bins, right and wrong ones weighing
    the same. None where there is nothing to say it of.
    """

    pairs: int
    accuracy: float | None = None
    loss: float | None = None
    by_depth: dict[str, list[float]]
    margins: list[int]
    answers: int
    answer_pairs: int
    answer_accuracy: float | None = None
    calibration: float | None = None


class RewardOrder:
    """Takes trees one by one; `order` tells what they show. scores: a row of `votes.SCORES`."""

    def __init__(self, scores: str = "last") -> None:
        self._scores = scores
        self._depths, self._margins = array("i"), array("d")
        self._values, self._right = array("d"), array("b")
        self._answer_pairs, self._in_order = 0, 0.0

    def add(self, tree: Tree) -> None:
        """Count what a tree shows; one without values shows nothing."""
        steps = _by_grades(tree)
        for node, positives, negatives in compared(steps, CurateConfig()):
            for right, wrong in _valued(steps, positives, negatives):
                self._depths.append(steps.nodes[node].depth + 1)
                self._margins.append(right - wrong)
        ends = [
            (node.ppm, votes.score(tree, i, self._scores), node.grade == "right")
            for i, node in enumerate(tree.nodes)
            if node.status == "answer" and node.ppm is not None and node.grade in ("right", "wrong")
        ]
        values, worth, right = np.array(ends, float).reshape(-1, 3).T
        self._values.extend(values)
        self._right.extend(right.astype(int))
        above, below = worth[right == 1], np.sort(worth[right == 0])
        less = np.searchsorted(below, above, "left")
        ties = np.searchsorted(below, above, "right") - less
        self._answer_pairs += len(above) * len(below)
        self._in_order += float((less + ties / 2).sum())

    def order(self) -> Order | None:
        """Tell what all trees showed; None where no value stood in any."""
        if not self._margins and not self._values:
            return None
        margins, depths = np.array(self._margins), np.array(self._depths)
        won = (margins > 0) + 0.5 * (margins == 0)
        of_depth = {int(d): won[depths == d] for d in np.unique(depths)}
        histogram = np.histogram(margins, MARGINS, (-2.0, 2.0))[0]
        values, right = np.array(self._values), np.array(self._right, bool)
        return Order(
            pairs=len(margins),
            accuracy=_mean(won),
            loss=_mean(np.logaddexp(0.0, -margins)),
            by_depth={str(d): [len(some), float(some.mean())] for d, some in of_depth.items()},
            margins=[int(count) for count in histogram],
            answers=len(values),
            answer_pairs=self._answer_pairs,
            answer_accuracy=self._in_order / self._answer_pairs if self._answer_pairs else None,
            calibration=reliability((values + 1) / 2, right)[1] if len(values) else None,
        )


def _by_grades(tree: Tree) -> Tree:
    """Return the tree with the Q that training gives: of each step the mean of +1 and -1 over the graded
    answers that it leads to. A held-out search backs up the reward model's own values.

    A step that was written several times in one place is one: independent trajectories begin alike.
    """
    nodes, place, met = [tree.nodes[0]], [0], dict[tuple[int, str], int]()
    for node in tree.nodes[1:]:
        parent = place[node.parent]
        place.append(met.setdefault((parent, node.text), len(nodes)))
        if place[-1] == len(nodes):
            nodes.append(node.with_stats(0, 0.0, parent))
    visits, sums = [0] * len(nodes), [0.0] * len(nodes)
    for i, node in zip(place, tree.nodes, strict=True):
        if node.grade in GRADE_VALUES:
            visits[i], sums[i] = visits[i] + 1, sums[i] + GRADE_VALUES[node.grade]
    for i in range(len(nodes) - 1, 0, -1):
        visits[nodes[i].parent] += visits[i]
        sums[nodes[i].parent] += sums[i]
    told = (node.with_stats(n, q, node.parent) for node, n, q in zip(nodes, visits, sums, strict=True))
    return dataclasses.replace(tree, nodes=tuple(told), finals=())


def _valued(tree: Tree, positives: Sequence[int], negatives: Sequence[int]) -> Iterator[tuple[float, float]]:
    """Values of the two sides of each pair that counts: of different steps, the better by Q first."""
    for p in positives:
        for n in negatives:
            better, worse = tree.nodes[p], tree.nodes[n]
            if better.q > worse.q and better.ppm is not None and worse.ppm is not None:
                yield better.ppm, worse.ppm


def _mean(values: np.ndarray) -> float | None:
    mean = float(values.mean()) if len(values) else math.nan
    return None if math.isnan(mean) else mean
