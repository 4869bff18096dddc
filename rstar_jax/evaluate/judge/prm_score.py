"""PRMBench (arXiv 2501.03124): whether each step is right, by class of error.

    F1, negative F1     of right steps, and of wrong ones, over all steps of a class
    PRMScore            half of one and half of the other; of "multi_solutions", whose steps are all right, F1
    "simplicity" ...    means of their classes' PRMScores; "overall": PRMScore over the steps of all classes

as github.com/ssmisya/PRMBench computes them (mr_eval/tasks/prmtest_classified/task.py and draw_radar.ipynb,
commit a1ae4ea). Where nothing can be divided by, precision, recall and F1 are -1 there, and so they are here:
figures of predictions must agree. A PPM takes a step for right whose value is above a threshold; 0 is the
probability of 1/2 that the paper's own PRMs are held to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rstar_jax.evaluate.judge.readers import CLASSES, GROUPS
from rstar_jax.evaluate.judge.resampling import Resampled

_SAME = "multi_solutions"


def confusion(errors: Sequence[int], right: Sequence[bool]) -> tuple[int, int, int, int]:
    """Count steps rightly and wrongly taken for right, rightly and wrongly taken for wrong (TP, FP, TN, FN).

    errors: wrong steps, from 0. right: what each step is taken for.
    """
    wrong = set(errors)
    counts = [0, 0, 0, 0]
    for i, taken in enumerate(right):
        counts[(1 if taken else 2) if i in wrong else (0 if taken else 3)] += 1
    tp, fp, tn, fn = counts
    return tp, fp, tn, fn


def prmbench_figures(
    classes: Sequence[str], problems: Sequence[str], counts: Sequence[tuple[int, int, int, int]]
) -> Resampled:
    """Figures by name: "CLASS/PRMScore", "CLASS/F1", "CLASS/negative F1", likewise "overall", and
    "GROUP/PRMScore". One entry a solution; counts: as `confusion` gives them."""
    found, table = Resampled(problems), np.array(counts, float).reshape(-1, 4)
    there = [name for name in CLASSES if name in set(classes)]
    of_class = {name: table * np.array([c == name for c in classes])[:, None] for name in there}
    for name, sums in of_class.items():
        found.add(f"{name}/PRMScore", sums, _score_of(name))
        found.add(f"{name}/F1", sums, _f1)
        if name != _SAME:
            found.add(f"{name}/negative F1", sums, _negative_f1)
    for group, names in GROUPS.items():
        mine = [name for name in names if name in of_class]
        if mine:
            sums = np.concatenate([of_class[name] for name in mine], axis=1)
            found.add(f"{group}/PRMScore", sums, _mean_score(mine))
    found.add("overall/PRMScore", table, _score)
    found.add("overall/F1", table, _f1)
    found.add("overall/negative F1", table, _negative_f1)
    return found


def _f1(sums: np.ndarray) -> np.ndarray:
    tp, fp, _, fn = np.moveaxis(sums, -1, 0)
    precision, recall = _divided(tp, tp + fp), _divided(tp, tp + fn)
    return _divided(2 * precision * recall, precision + recall)


def _negative_f1(sums: np.ndarray) -> np.ndarray:
    tp, fp, tn, fn = np.moveaxis(sums, -1, 0)
    return _f1(np.stack([tn, fn, tp, fp], axis=-1))


def _score(sums: np.ndarray) -> np.ndarray:
    return 0.5 * _f1(sums) + 0.5 * _negative_f1(sums)


def _score_of(name: str) -> Callable[[np.ndarray], np.ndarray]:
    return _f1 if name == _SAME else _score


def _mean_score(names: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    def mean(sums: np.ndarray) -> np.ndarray:
        scores = [_score_of(name)(sums[..., 4 * i : 4 * i + 4]) for i, name in enumerate(names)]
        return np.mean(scores, axis=0)

    return mean


def _divided(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.where(other != 0, one / np.where(other != 0, other, 1), -1.0)
