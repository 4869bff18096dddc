"""ProcessBench (arXiv 2412.06559): the first wrong step of a solution, or that there is none.

    accuracy on erroneous solutions    share whose first wrong step is named exactly
    accuracy on correct solutions      share of which all steps are taken for right
    F1                                 harmonic mean of the two, of each subset; "average": their mean

as github.com/QwenLM/ProcessBench (code/run_eval.py, commit e802463) computes them. A PPM names the first step
whose value is below a threshold, one for all subsets: the one with the best F1 on GSM8K, as in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rstar_jax.evaluate.judge.readers import SUBSETS
from rstar_jax.evaluate.judge.resampling import Resampled

CHOSEN_ON = "gsm8k"
# Solutions that nobody asked, a right and a wrong prediction of each kind: (named rightly, of erroneous ones;
# named rightly, of correct ones).
_FURTHER = np.array([[1.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]])


def first_below(values: Sequence[float], threshold: float) -> int:
    """The first step whose value is below a threshold, counted from 0; -1 if none is."""
    return next((i for i, value in enumerate(values) if value < threshold), -1)


def best_threshold(values: Sequence[Sequence[float]], labels: Sequence[int]) -> float:
    """The threshold with the best F1 on these solutions; of several the one next to 0.

    values: of each solution's steps, [-1, 1]. labels: first wrong steps, -1: none. All thresholds that differ
    in what they name are looked at; the one returned lies in the midst of those that name the same. 0 where
    erroneous or correct solutions are lacking, as no F1 is defined.
    """
    # A solution is named rightly by the thresholds in one interval (low, high]: above its wrong step's value,
    # and not above any value before it.
    wrong: list[tuple[float, float]] = []
    right: list[tuple[float, float]] = []
    for steps, label in zip(values, labels, strict=True):
        if label < 0:
            right.append((-math.inf, min(steps)))
        else:
            wrong.append((steps[label], min(steps[:label], default=math.inf)))
    if not wrong or not right:
        return 0.0
    finite = {bound for pair in (*wrong, *right) for bound in pair if math.isfinite(bound)}
    bounds = np.array([*sorted({-1.0, 1.0} | finite)])
    # Between two neighbours nothing changes; a threshold is tried in the midst of them, and at the ends.
    tried = np.unique([bounds[0], bounds[-1], *((bounds[:-1] + bounds[1:]) / 2)])
    f1 = harmonic(_share(wrong, tried), _share(right, tried))
    best = tried[f1 >= f1.max() - 1e-12]
    return float(best[np.argmin(np.abs(best))])


def _share(intervals: Sequence[tuple[float, float]], thresholds: np.ndarray) -> np.ndarray:
    """The share of intervals (low, high] that hold each threshold."""
    lows, highs = np.array([pair for pair in intervals if pair[0] < pair[1]] or [(math.inf, math.inf)]).T
    inside = np.searchsorted(np.sort(lows), thresholds, side="left")
    return (inside - np.searchsorted(np.sort(highs), thresholds, side="left")) / len(intervals)


def harmonic(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Harmonic means; 0 where both are 0, NaN where one is not defined."""
    total = one + other
    return 2 * one * other / np.where(total == 0, 1.0, total)


def processbench_figures(
    parts: Sequence[str], problems: Sequence[str], predictions: Sequence[int | None], labels: Sequence[int]
) -> Resampled:
    """Figures by name: "SUBSET/error", "SUBSET/correct", "SUBSET/F1", "average/F1". One entry a solution.

    predictions: None: none could be read, which is never right.
    """
    found = Resampled(problems)
    match = np.array([p == label for p, label in zip(predictions, labels, strict=True)], float)
    erroneous = np.array([label >= 0 for label in labels])
    counts = []
    for subset in SUBSETS:
        mine = np.array([part == subset for part in parts])
        if not mine.any():
            continue
        wrong, right = (mine & erroneous).astype(float), (mine & ~erroneous).astype(float)
        of_subset = np.stack([match * wrong, wrong, match * right, right], axis=1)
        counts.append(of_subset)
        for name, at in (("error", 0), ("correct", 2)):
            found.add(f"{subset}/{name}", of_subset[:, at : at + 2], _ratio, _FURTHER[:2, :2])
        found.add(f"{subset}/F1", of_subset, _f1, _FURTHER)
    if counts:
        further = np.kron(np.eye(len(counts)), _FURTHER)
        found.add("average/F1", np.concatenate(counts, axis=1), _mean_f1, further)
    return found


def _ratio(sums: np.ndarray) -> np.ndarray:
    return np.where(sums[..., 1] > 0, sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], 1), np.nan)


def _f1(sums: np.ndarray) -> np.ndarray:
    return harmonic(_ratio(sums[..., :2]), _ratio(sums[..., 2:]))


def _mean_f1(sums: np.ndarray) -> np.ndarray:
    each = [_f1(sums[..., at : at + 4]) for at in range(0, sums.shape[-1], 4)]
    return np.mean(each, axis=0)
