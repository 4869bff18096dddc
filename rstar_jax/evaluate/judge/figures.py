"""Scores of a benchmark's samples -> its figures. Another threshold needs no model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rstar_jax.evaluate.judge.discrimination import Discrimination, q_agreement
from rstar_jax.evaluate.judge.first_error import (
    CHOSEN_ON,
    best_threshold,
    first_below,
    processbench_figures,
)
from rstar_jax.evaluate.judge.judgement import JudgedBenchmark
from rstar_jax.evaluate.judge.prm_score import confusion, prmbench_figures
from rstar_jax.evaluate.judge.samples import StepScores

BENCHMARKS = ("processbench", "prmbench", "suite", "trees")
_NAMED = 20  # samples too long that are named

Rows = Callable[[], Iterator[StepScores]]  # those of a benchmark, from the start


def judged(name: str, rows: Rows, threshold: float | None, seed: int) -> JudgedBenchmark:
    """The figures of a benchmark's scored samples. threshold: below which a step is taken for wrong; None: as
    the benchmark's paper has it."""
    found = _FIGURES[name](rows, threshold, seed)
    counts, problems, long = _counted(rows())
    return JudgedBenchmark(
        name=name,
        samples=counts["read"],
        problems=problems,
        too_long=tuple(long),
        **{**found, "counts": {**counts, **found.get("counts", {})}},
    )


def _counted(rows: Iterable[StepScores]) -> tuple[dict[str, int], int, list[str]]:
    counts, problems, long = {"read": 0, "too long": 0, "steps": 0, "tokens": 0}, set[str](), list[str]()
    for row in rows:
        if not row.values:
            counts["too long"] += 1
            long += [row.id] * (len(long) < _NAMED)
            continue
        counts["read"] += 1
        counts["steps"] += row.steps
        counts["tokens"] += row.tokens
        problems.add(row.problem)
    return counts, len(problems), long


def _read(rows: Rows) -> Iterator[StepScores]:
    return (row for row in rows() if row.values)


def _processbench(rows: Rows, threshold: float | None, seed: int) -> dict[str, Any]:
    chosen = "given"
    if threshold is None:
        some = [(row.values, _label(row)) for row in _read(rows) if row.part == CHOSEN_ON]
        threshold = best_threshold([values for values, _ in some], [label for _, label in some])
        labels = [label >= 0 for _, label in some]
        chosen = f"the best F1 on the {len(some)} solutions of {CHOSEN_ON}"
        if all(labels) or not any(labels):
            chosen = f"0, as {CHOSEN_ON} has no erroneous or no correct solutions here"
    parts, problems, predictions, labels_ = [], [], list[int | None](), list[int]()
    for row in _read(rows):
        parts.append(row.part)
        problems.append(row.problem)
        predictions.append(first_below(row.values, threshold))
        labels_.append(_label(row))
    found = processbench_figures(parts, problems, predictions, labels_)
    return {"figures": found.figures(seed), "threshold": threshold, "chosen": chosen}


def _label(row: StepScores) -> int:
    return row.errors[0] if row.errors else -1


def _prmbench(rows: Rows, threshold: float | None, seed: int) -> dict[str, Any]:
    chosen = "given" if threshold is not None else "a probability of 1/2"
    threshold = 0.0 if threshold is None else threshold
    parts, problems, counts = [], [], []
    for row in _read(rows):
        parts.append(row.part)
        problems.append(row.id.removeprefix(f"{row.part}_"))  # its classes are made from the same solutions
        counts.append(confusion(row.errors, [value > threshold for value in row.values]))
    found = prmbench_figures(parts, problems, counts)
    return {"figures": found.figures(seed), "threshold": threshold, "chosen": chosen}


def _known_truth(rows: Rows, threshold: float | None, seed: int) -> dict[str, Any]:
    found = Discrimination()
    for _, of_problem in itertools.groupby(rows(), key=lambda row: row.problem):
        found.add(list(of_problem))
    bins, ece = found.calibration()
    counts = {f"{kind} steps": count for kind, count in found.steps().items()}
    return {
        "figures": found.resampled().figures(seed),
        "areas": found.auc(),
        "correlations": {**found.correlations(), **q_agreement(rows())},
        "calibration": tuple(bins),
        "ece": ece,
        "counts": counts,
    }


_FIGURES: dict[str, Callable[[Rows, float | None, int], dict[str, Any]]] = {
    "processbench": _processbench,
    "prmbench": _prmbench,
    "suite": _known_truth,
    "trees": _known_truth,
}
