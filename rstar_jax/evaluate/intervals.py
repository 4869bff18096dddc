"""95 percent intervals of means over problems, by resampling problems.

A problem's samples stand or fall together, so that problems are drawn, never samples. Each draw gives every
problem a random weight (the Bayesian bootstrap of Rubin, 1981): means of few problems are then smooth, where
whole copies of problems jump. Two things keep the intervals honest where problems are few or agree:

- beside the problems stand two that nobody asked, one of value 0 and one of value 1, of half a problem's
  weight each (for shares of right and wrong that is Jeffreys' interval: 0 of 30 is 0 to 8 percent, where a
  plain bootstrap says 0 to 0). They weigh less as the values are less spread than rights and wrongs of the
  same mean are (their design effect, Kish, 1965);
- the tails are wider by what Student's t is wider than a normal, as far as values are less spread than that.

`benchmarks/intervals.py` shows how often such intervals cover the truth, beside other ways.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from rstar_jax.evaluate.outcome import Figure

DRAWS = 4000
_TAIL = 0.025
_GRID = 1024


def figure(values: Sequence[float] | np.ndarray, *, seed: int = 0) -> Figure:
    """The mean of the problems' values and its 95 percent interval.

    values: [B] in [0, 1], one a problem, at least one. seed: of the draws; the same values give the same
        interval, in whatever order they come.
    """
    values = np.asarray(values, float)
    mean = float(values.mean())
    low, high = np.quantile(means(values, seed=seed), tails_of(values))
    # Where all are right, or all wrong, the draws are all on one side.
    return Figure(value=mean, low=min(float(low), mean), high=max(float(high), mean), problems=len(values))


def of_share(share: float | None, problems: int | None) -> Figure | None:
    """A share of rights among so many problems, 0 to 1, with its interval; None where either is not known."""
    if share is None or not problems:
        return None
    right = round(share * problems)
    return figure(np.repeat([1.0, 0.0], [right, problems - right]))


def means(values: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Draws of the mean that a benchmark of infinitely many such problems would have.

    values: [B] in [0, 1]. Returns [DRAWS] float.
    """
    half = _design_effect(values) / 2
    return weighted_means(values, np.array([0.0, 1.0]), half, seed=seed)


def weighted_means(values: np.ndarray, further: np.ndarray, weight: float, *, seed: int = 0) -> np.ndarray:
    """Means of the values under random weights, `further` values of a given weight among them.

    values: [B]. weight: of each further value, where a problem weighs 1. Returns [DRAWS] float.
    """
    grid = on_grid(values)
    moved = float(values.mean() - grid.mean())
    unique, count = np.unique(grid, return_counts=True)
    # The sum of c weights of 1 is one of c: what is drawn does not grow with the problems.
    shape = np.concatenate([count, np.full(len(further), max(weight, 1e-9))])
    weights = np.random.default_rng(seed).standard_gamma(shape, size=(DRAWS, len(shape)))
    return weights @ np.concatenate([unique, further]) / weights.sum(axis=1) + moved


def on_grid(values: np.ndarray) -> np.ndarray:
    """The values, as multiples of 1 / 1024 where more than so many of them differ: whoever counts equal ones
    needs memory for the different ones."""
    few = len(values) <= _GRID or len(np.unique(values)) <= _GRID
    return values if few else np.round(values * _GRID) / _GRID


def _design_effect(values: np.ndarray) -> float:
    """Variance of the values by that of rights and wrongs of the same mean, at most 1; 1 where all agree."""
    mean = float(values.mean())
    spread = float(values.var(ddof=1)) if len(values) > 1 else 0.0
    return min(1.0, spread / (mean * (1 - mean))) if spread > 0 else 1.0


def tails_of(values: np.ndarray) -> tuple[float, float]:
    """The quantiles of the draws of such values that bound their interval."""
    return tails(len(values), 1 - _design_effect(values))


def tails(problems: int, share: float) -> tuple[float, float]:
    """The quantiles of draws that bound a 95 percent interval.

    share: how much of the way from a normal's tails to those of Student's t to go, 0 to 1.
    """
    if problems < 2:
        return _TAIL, 1 - _TAIL
    z = NormalDist().inv_cdf(1 - _TAIL)
    # Bayesian draws of n values have n - 1 in n + 1 of their mean's variance (Hesterberg, 2015).
    wider = _student(problems - 1) / z * math.sqrt((problems + 1) / (problems - 1))
    tail = NormalDist().cdf(-z * (1 + share * (wider - 1)))
    return tail, 1 - tail


def _student(freedom: int) -> float:
    """The 97.5 percent quantile of Student's t (Cornish and Fisher's series; 3 percent low at 3 degrees)."""
    z = NormalDist().inv_cdf(1 - _TAIL)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
