"""Estimate of the time until the last tree of a search has ended, from what is known of those under way.

A tree does rollouts one after the other, in `lanes` at a time. Told is the larger of two estimates:

- all rollouts to come, at the rate of those so far. It says nothing of the last trees: what others did is
  done, and they go at their own pace;
- the slowest tree: what is left of its rollout under way, then its further ones, each as long as its last
  few. A rollout that takes longer than those is expected to take half as long again as it has taken, so that
  the estimate of a tree that stands still grows instead of coming to nothing.

Many trees end before their rollouts are done, as nothing is left to expand: the rollouts that a tree has to
come are those until then, at the rate at which rollouts were the last of their trees so far.

Where trees share an engine that is full, each gets faster as others end, so that the second estimate is too
long at first. A stall that has not begun is in neither.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence

_LAST = 4  # rollouts of each lane whose pace counts
_PRIOR = 1.0  # rollouts at the mean pace of all trees that a tree's own pace begins with


class TreePace:
    """When the rollouts of a tree ended. Times are seconds of one clock.

    lanes: how many go on at a time. rollouts: that have ended. last: when one last did, or the tree began.
    """

    __slots__ = ("_marks", "_seconds", "_since", "lanes", "last", "rollouts")

    def __init__(self, now: float) -> None:
        self.lanes, self.rollouts, self.last = 0, 0, now
        self._seconds, self._since = 0.0, now
        self._marks = deque([(0.0, 0)])

    def goes_on(self, lanes: int, now: float) -> None:
        """Note that so many rollouts go on from now on."""
        self._seconds, self._since, self.lanes = self.seconds(now), now, lanes

    def ended(self, rollouts: int, now: float) -> None:
        """Note that so many have ended."""
        self.rollouts, self.last = self.rollouts + rollouts, now
        self._marks.append((self.seconds(now), self.rollouts))
        while len(self._marks) > 1 + _LAST * max(1, self.lanes):
            self._marks.popleft()

    def seconds(self, now: float) -> float:
        """Seconds of all lanes together."""
        return self._seconds + self.lanes * (now - self._since)

    def left(self, now: float, remaining: float, mean: float) -> float:
        """Seconds that the tree is expected to go on, with so many rollouts to come. mean: of a rollout of
        any tree."""
        lanes, (before, counted) = max(1, self.lanes), self._marks[0]
        # On average each lane has done half of its rollout.
        done = self.rollouts - counted + lanes / 2
        each = (_PRIOR * mean + self.seconds(now) - before) / (_PRIOR + done)
        return max(each, now - self.last) / 2 + max(0.0, remaining / lanes - 1) * each


@dataclasses.dataclass
class EndedTrees:
    """Trees that are done: how many, those of them that had rollouts to come, their rollouts, the seconds of
    all their lanes."""

    trees: int = 0
    early: int = 0
    rollouts: int = 0
    seconds: float = 0.0


def time_left(
    now: float, began: float, waiting: int, trees: Sequence[tuple[TreePace, int]], ended: EndedTrees
) -> float | None:
    """Estimate the seconds until all trees have ended; None before the first rollout has.

    began: when the first tree did. waiting: trees that have not begun. trees: those under way, each with the
    rollouts that it has to come as far as is known.
    """
    done = ended.rollouts + sum(pace.rollouts for pace, _ in trees)
    if not done or not trees:
        return None
    remaining = [_expected(max(1, count), ended.early / done) for _, count in trees]
    lanes = sum(max(1, pace.lanes) for pace, _ in trees)
    seconds = ended.seconds + sum(pace.seconds(now) for pace, _ in trees)
    mean, rate = seconds / (done + lanes / 2), (done + lanes / 2) / max(now - began, 1e-9)
    of_a_tree = (done + sum(remaining)) / (ended.trees + len(trees))
    to_come = max(0.0, sum(remaining) - lanes / 2)
    slowest = max(pace.left(now, count, mean) for (pace, _), count in zip(trees, remaining, strict=True))
    if waiting:  # the last of them has yet to begin, and is then as long as any
        slowest = max(slowest, waiting * of_a_tree / rate + of_a_tree * mean * len(trees) / lanes)
    return max(slowest, (to_come + waiting * of_a_tree) / rate)


def _expected(most: int, ends: float) -> float:
    """Expect so many of at most `most` rollouts, where each may be the last with a chance of `ends`."""
    chance = min(ends, 1.0)
    return (1 - (1 - chance) ** most) / chance if chance else float(most)
