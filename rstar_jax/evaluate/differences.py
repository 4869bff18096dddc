"""Differences between two runs: their 95 percent interval, a test, and words for them.

Over the same problems they are paired: what makes a problem hard is hard for both, and only how each problem
changed counts. Intervals are those of `intervals.py`, of changes in [-1, 1] and with pseudo-problems that
change as much as others, up and down (where all change by 1 or not at all, much as Bonett and Price's, 2012).

The test asks how often chance alone makes a difference as large: each change as likely to have been the other
way about (a sign test; of rights and wrongs McNemar's, exact), or, of different problems, the values of both
dealt out anew. Where too many outcomes are possible, OUTCOMES are drawn, the same ones each time.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from rstar_jax.evaluate import intervals

OUTCOMES = 20_000
_TOGETHER = 500  # of them in memory
_ENUMERATED = 1 << 18
_LEVEL = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference of a second run's figure from a first one's.

    low, high: the 95 percent interval. p: the test's, two-sided. paired: over the same problems. problems:
    how many; the fewer of both runs' where not paired. better, worse: paired problems whose value rose and
    fell.
    """

    value: float
    low: float
    high: float
    p: float
    paired: bool
    problems: int
    better: int = 0
    worse: int = 0

    @property
    def verdict(self) -> str:
        """ "noise", "better" or "worse"; "unsure" where only one of interval and test excludes chance."""
        excluded = not self.low <= 0 <= self.high
        if excluded != (self.p < _LEVEL):
            return "unsure"
        return "noise" if not excluded else "better" if self.value > 0 else "worse"

    def words(self) -> str:
        """One line, in points of a hundred."""
        value, low, high = (f"{100 * number:.1f}" for number in (self.value, self.low, self.high))
        value = value.replace("-0.0", "0.0")
        chance = (
            "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}" if self.p < 0.1 else f"p = {self.p:.2f}"
        )
        return f"a difference of {value} points, interval {low} to {high}, {chance}: {self.verdict}"


def paired(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, *, seed: int = 0
) -> Difference:
    """Compare two runs over the same problems.

    first, second: [B] in [0, 1], the values of each problem, in the same order.
    """
    changes = np.asarray(second, float) - np.asarray(first, float)
    sizes = np.abs(changes)
    usual = float((changes**2).sum() / sizes.sum()) if sizes.any() else 1.0
    draws = intervals.weighted_means(changes, np.array([-usual, usual]), 0.5, seed=seed)
    low, high = np.quantile(draws, intervals.tails(len(changes), 1 - usual))
    mean = float(changes.mean())
    return Difference(
        value=mean,
        low=min(float(low), mean),
        high=max(float(high), mean),
        p=_signs(changes, seed),
        paired=True,
        problems=len(changes),
        better=int((changes > 0).sum()),
        worse=int((changes < 0).sum()),
    )


def unpaired(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, *, seed: int = 0
) -> Difference:
    """Compare two runs over different problems. first, second: [B], [C] in [0, 1], the problems' values."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    draws = intervals.means(second, seed=seed + 1) - intervals.means(first, seed=seed)
    fewest = min(first, second, key=len)
    low, high = np.quantile(draws, intervals.tails_of(fewest))
    difference = float(second.mean() - first.mean())
    return Difference(
        value=difference,
        low=min(float(low), difference),
        high=max(float(high), difference),
        p=_dealt(first, second, seed),
        paired=False,
        problems=len(fewest),
    )


def _signs(changes: np.ndarray, seed: int) -> float:
    """The chance of a sum of changes as far from 0, were every sign as likely as the other."""
    sizes = np.round(np.abs(intervals.on_grid(changes[changes != 0])), 9)
    sizes, counts = np.unique(sizes, return_counts=True)
    if not len(sizes):
        return 1.0
    observed = abs(float(changes.sum())) - 1e-7
    if math.prod(int(count) + 1 for count in counts) > _ENUMERATED:
        rng, total = np.random.default_rng(seed), float(counts @ sizes)
        up = (rng.binomial(counts, 0.5, size=(_TOGETHER, len(counts))) @ sizes for _ in _parts())
        return _share(np.abs(2 * np.concatenate(list(up)) - total) >= observed)
    sums, chances = np.zeros(1), np.ones(1)
    for size, count in zip(sizes, counts.tolist(), strict=True):
        up = np.arange(count + 1)
        sums = (sums[:, None] + size * (2 * up - count)).ravel()
        chances = (chances[:, None] * _binomial(count)).ravel()
    return min(1.0, float(chances[np.abs(sums) >= observed].sum()))


def _binomial(n: int) -> np.ndarray:
    """[n + 1] float, the chance of each number of heads among n throws."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    return np.exp(logs[n] - logs - logs[::-1] - n * math.log(2))


def _dealt(first: np.ndarray, second: np.ndarray, seed: int) -> float:
    """The chance of a difference of means as far from 0, were all values dealt to both runs anew."""
    both = intervals.on_grid(np.concatenate([first, second]))
    values, counts = np.unique(both, return_counts=True)
    observed = abs(float(second.mean() - first.mean())) - 1e-9
    rng = np.random.default_rng(seed)
    deal = functools.partial(rng.multivariate_hypergeometric, counts, len(second), method="marginals")
    dealt = np.concatenate([deal(size=_TOGETHER) @ values for _ in _parts()])
    rest = (float(counts @ values) - dealt) / len(first)
    return _share(np.abs(dealt / len(second) - rest) >= observed)


def _parts() -> range:
    return range(OUTCOMES // _TOGETHER)


def _share(reached: np.ndarray) -> float:
    """Drawn outcomes that reached, the observed one among them, so that none has a chance of 0."""
    return (float(reached.sum()) + 1) / (len(reached) + 1)
