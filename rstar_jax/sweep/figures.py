"""Figures of settings over their seeds, and their differences to the first setting.

Each problem's value is its mean over the seeds; the interval over problems is that of `evaluate.intervals`,
differences are paired by problem as in `compare`. The interval over seeds is Student's t of the seeds' means
(of differences: seed by seed): how another training, another search would have come out on these problems.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rstar_jax import records
from rstar_jax.compare.runs import ComparedRun, Source, Values, read_run
from rstar_jax.compare.table import difference
from rstar_jax.errors import UserError
from rstar_jax.evaluate import intervals
from rstar_jax.evaluate.differences import Difference
from rstar_jax.evaluate.outcome import Figure
from rstar_jax.report.progress import Progress

# 97.5 percent quantiles of Student's t, from one degree of freedom on.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145)
_STUDENT += (2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OverSeeds:
    """A mean over seeds and its 95 percent interval."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """A metric of one setting.

    swept: its values of the swept options. seeds: its figure with each seed. figure: of the mean over seeds,
    with the interval over problems. over_seeds: with the interval over seeds, from two on. difference,
    difference_over_seeds: to the first setting. verdict: of the difference; "" of the first setting.
    """

    benchmark: str
    stage: str
    metric: str
    setting: str
    swept: dict[str, str]
    seeds: dict[str, float]
    figure: Figure
    over_seeds: OverSeeds | None = None
    difference: Difference | None = None
    difference_over_seeds: OverSeeds | None = None
    verdict: str = ""
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Setting:
    """Points that differ in their seeds alone. folders: of those that are done, by seed ("" of a job without
    one)."""

    name: str
    swept: dict[str, str]
    folders: dict[str, Path]


def cells(
    settings: Sequence[Setting], asked: Sequence[str], progress: Progress
) -> tuple[list[Cell], dict[str, str]]:
    """Every figure of every setting, metric by metric, the first setting's first.

    asked: names of metrics, or "all"; none: those that count. Returns them, and by folder why nothing was
    read of it.
    """
    runs, unread = list[dict[str, ComparedRun]](), dict[str, str]()
    for setting in settings:
        read = dict[str, ComparedRun]()
        for seed, folder in setting.folders.items():
            try:
                read[seed] = read_run(folder, folder.name, progress)
            except UserError as error:
                unread[folder.name] = _unread(error, folder)
        runs.append(read)
    found = list[Cell]()
    sources = [source for read in runs for run in read.values() for source in run.sources]
    for benchmark, stage in dict.fromkeys((source.benchmark, source.stage) for source in sources):
        for metric in _metrics(sources, benchmark, stage, asked):
            row, first = list[Cell](), None
            for setting, read in zip(settings, runs, strict=True):
                values, notes = dict[str, Values](), list[str]()
                for seed, run in read.items():
                    source = run.source(benchmark, stage)
                    try:
                        if source is not None:
                            values[seed] = source.read(metric)
                    except UserError as error:
                        notes.append(_unread(error, run.folder))
                if not values:
                    continue
                first = first or (setting.name, values)
                against = first[1] if setting.name != first[0] else None
                row.append(_cell((benchmark, stage, metric), setting, values, against, notes))
            found += row
    return found, unread


def _unread(error: UserError, folder: Path) -> str:
    """Say why something of a point cannot be read, and what makes it anew."""
    if not isinstance(error, records.Damaged):
        return str(error)
    return (
        f"{error.path}: damaged ({error.why}). Remove {folder.name}.json beside its point's folder, and the "
        "same command makes it anew"
    )


def _metrics(sources: Iterable[Source], benchmark: str, stage: str, asked: Sequence[str]) -> list[str]:
    if asked and list(asked) != ["all"]:
        return list(asked)
    here = [source for source in sources if (source.benchmark, source.stage) == (benchmark, stage)]
    return list(
        dict.fromkeys(name for source in here for name in (source.known if asked else source.headline))
    )


def _cell(
    place: tuple[str, str, str],
    setting: Setting,
    values: dict[str, Values],
    first: dict[str, Values] | None,
    notes: list[str],
) -> Cell:
    mean, told = _mean(list(values.values()))
    seeds = {seed: float(of.values.mean()) for seed, of in values.items()}
    benchmark, stage, metric = place
    given: dict[str, Any] = dict(benchmark=benchmark, stage=stage, metric=metric, setting=setting.name)
    given |= dict(swept=setting.swept, seeds=seeds, figure=intervals.figure(mean.values))
    if found := over_seeds(list(seeds.values())):  # of shares
        low, high = max(0.0, found.low), min(1.0, found.high)
        given["over_seeds"] = OverSeeds(value=found.value, low=low, high=high)
    if first is not None:
        shared = [seed for seed in values if seed in first]
        if shared and not len(shared) == len(values) == len(first):
            told += (f"compared over the seeds that both have: {', '.join(shared)}",)
        ours, _ = _mean([values[seed] for seed in shared or values])
        theirs, _ = _mean([first[seed] for seed in shared or first])
        found, of_problems = difference(theirs, ours, 0)
        told += of_problems
        changes = [float(values[seed].values.mean() - first[seed].values.mean()) for seed in shared]
        seedwise = over_seeds(changes)
        given |= dict(difference=found, difference_over_seeds=seedwise, verdict=_verdict(found, seedwise))
    return Cell(**given, notes=(*notes, *told))


def _mean(values: Sequence[Values]) -> tuple[Values, tuple[str, ...]]:
    """Means over seeds, problem by problem, and what to know of them."""
    first = values[0]
    if all(np.array_equal(first.problems, other.problems) for other in values):
        return Values(first.problems, np.mean([of.values for of in values], axis=0)), ()
    shared = functools.reduce(np.intersect1d, [of.problems for of in values])
    if not len(shared):
        each = np.concatenate([of.values for of in values])
        return Values(np.concatenate([of.problems for of in values]), each), (
            "its seeds have other problems",
        )
    places = [np.intersect1d(shared, of.problems, return_indices=True)[2] for of in values]
    mean = np.mean([of.values[place] for of, place in zip(values, places, strict=True)], axis=0)
    return Values(shared, mean), (f"of the {len(shared):,} problems that all its seeds have",)


def over_seeds(values: Sequence[float]) -> OverSeeds | None:
    """The mean of values of [seeds] and its 95 percent interval by Student's t; None of fewer than two."""
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    tail = _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else 1.96 + 2.5 / freedom
    mean, half = float(np.mean(values)), tail * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return OverSeeds(value=mean, low=mean - half, high=mean + half)


def _verdict(found: Difference, seedwise: OverSeeds | None) -> str:
    """The difference's own verdict, which seeds may make "unsure": chance in problems and in seeds must both
    be excluded."""
    if seedwise is None or found.verdict == "noise":
        return found.verdict
    return "unsure" if seedwise.low <= 0 <= seedwise.high else found.verdict
