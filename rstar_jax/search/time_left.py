"""Estimate of the time until the last tree of a search has ended, from what is known of those under way.

A tree does rollouts one after the other, in `lanes` at a time. Told is the larger of two estimates:

- all rollouts to come, at the rate of those so far. It says nothing of the last trees: what others did is
  done, and they go at their own pace;
- the slowest tree: what is left of its rollout under way, then its further ones, each as long as its last
  few. A rollout that takes longer than those is expected to take half as long again as it has taken, so that
  the estimate of a tree that stands still grows instead of coming to nothing.

Many trees end before their rollouts are done, as nothing is left to expand: the rollouts that a tree has to
come are those until then, at the rate at which rollouts were the last of their trees so far.

Where trees share an engine that is full, each gets faster as others end. How much so is learnt from the pace
at different numbers of lanes (`Load`); until there are such, the second estimate is too long. A stall that
has not begun is in neither.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence

import numpy as np

_LAST = 4  # rollouts of each lane whose pace counts
_PRIOR = 1.0  # rollouts at the mean pace of all trees that a tree's own pace begins with
_POWERS, _ENOUGH = 40, 8  # of lanes; rollouts by which a pace is known


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


class Load:
    """The pace of rollouts by how many lanes of all trees went on at a time, in powers of two."""

    def __init__(self, now: float) -> None:
        self._lanes, self._since = 0, now
        self._seconds, self._lane_seconds, self._rollouts = (np.zeros(_POWERS) for _ in range(3))

    def change(self, lanes: int, now: float) -> None:
        """Note that so many more lanes go on from now on, or fewer."""
        power, seconds = self._lanes.bit_length(), now - self._since
        self._seconds[power] += seconds
        self._lane_seconds[power] += seconds * self._lanes
        self._lanes, self._since = self._lanes + lanes, now

    def ended(self, rollouts: int) -> None:
        """Note that so many have ended."""
        self._rollouts[self._lanes.bit_length()] += rollouts

    def sharing(self) -> float:
        """Return by which power of the lanes a rollout takes longer: 0 where each lane is alone, 1 where all
        share one engine that is full."""
        known = (self._rollouts >= _ENOUGH) & (self._lane_seconds > 0)
        if known.sum() < 2:
            return 0.0
        lanes = np.log(self._lane_seconds[known] / self._seconds[known])
        paces = np.log(self._lane_seconds[known] / self._rollouts[known])
        weights = self._rollouts[known]
        lanes -= np.average(lanes, weights=weights)
        slope = np.average(lanes * paces, weights=weights) / np.average(lanes**2, weights=weights)
        return float(np.clip(slope, 0.0, 1.0))


@dataclasses.dataclass
class EndedTrees:
    """Trees that are done: how many, those of them that had rollouts to come, their rollouts, the seconds of
    all their lanes."""

    trees: int = 0
    early: int = 0
    rollouts: int = 0
    seconds: float = 0.0


class SearchTimes:
    """The times of a search: told of its trees, it says when the last will have ended. began: the first."""

    def __init__(self, began: float) -> None:
        self._began, self._ended, self._load = began, EndedTrees(), Load(began)

    def goes_on(self, pace: TreePace, lanes: int, now: float) -> None:
        """Note that a tree goes on with so many rollouts at a time; 0 where it is left."""
        if lanes != pace.lanes:
            self._load.change(lanes - pace.lanes, now)
            pace.goes_on(lanes, now)

    def rollouts(self, pace: TreePace, count: int, now: float) -> None:
        """Note that so many of a tree's rollouts have ended."""
        pace.ended(count, now)
        self._load.ended(count)

    def ended(self, pace: TreePace, remaining: int) -> None:
        """Note that a tree that was left is done, with so many rollouts that did not come."""
        done = self._ended
        done.trees += 1
        done.early += remaining > 0
        done.rollouts += pace.rollouts
        done.seconds += pace.seconds(pace.last)  # of no lanes any more

    def left(self, now: float, waiting: int, trees: Sequence[tuple[TreePace, int]]) -> float | None:
        """As `time_left`."""
        return time_left(now, self._began, waiting, trees, self._ended, self._load.sharing())


def time_left(
    now: float,
    began: float,
    waiting: int,
    trees: Sequence[tuple[TreePace, int]],
    ended: EndedTrees,
    sharing: float = 0.0,
) -> float | None:
    """Estimate the seconds until all trees have ended; None before the first rollout has.

    began: when the first tree did. waiting: trees that have not begun. trees: those under way, each with the
    rollouts that it has to come as far as is known. sharing: `Load.sharing`.
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
    left = [pace.left(now, count, mean) for (pace, _), count in zip(trees, remaining, strict=True)]
    # Alone each would go on at its pace of now; sharing one engine, for all that is left of all of them.
    slowest = max(left) ** (1 - sharing) * (sum(left) / len(left)) ** sharing
    if waiting:  # the last of them has yet to begin, and is then as long as any
        slowest = max(slowest, waiting * of_a_tree / rate + of_a_tree * mean * len(trees) / lanes)
    return max(slowest, (to_come + waiting * of_a_tree) / rate)


def _expected(most: int, ends: float) -> float:
    """Expect so many of at most `most` rollouts, where each may be the last with a chance of `ends`."""
    chance = min(ends, 1.0)
    return (1 - (1 - chance) ** most) / chance if chance else float(most)
