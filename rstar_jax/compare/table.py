"""Figures of several runs and their differences, as one object and as Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rstar_jax import records
from rstar_jax.compare.runs import ALONE, ComparedRun, Source, Values
from rstar_jax.errors import UserError
from rstar_jax.evaluate import differences, intervals
from rstar_jax.evaluate.differences import Difference
from rstar_jax.evaluate.outcome import Figure

_NOT_MEASURED = "not measured"
_LONGEST = 40  # characters of an option's value in a table
# Options of a protocol that a greedy solution depends on, too.
_OF_ALL = ("task", "prompt", "max_depth", "max_tokens", "max_step_tokens", "context")
_ENOUGH = 0.5  # of the fewer problems: as many are compared alone, fewer not as pairs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A run's figure, what it is more than the one that it is compared with, and what to know of that.

    figure: None: it has none; the note says why. words: the difference in a line.
    """

    figure: Figure | None = None
    difference: Difference | None = None
    words: str = ""
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A metric of a benchmark after a stage: an entry for each run."""

    benchmark: str
    stage: str
    metric: str
    entries: tuple[Entry, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs beside each other.

    against: the place of the run that each is compared with, None of the first. differing: values of options
    that are not the same in all runs, by name, one for each run (None: it has no such option). tested: how
    many differences there are. beside: counts and costs of each run, by benchmark and what they are.
    """

    runs: tuple[dict[str, Any], ...]
    against: tuple[int | None, ...]
    differing: dict[str, tuple[Any, ...]]
    rows: tuple[Row, ...]
    tested: int
    beside: dict[str, dict[str, tuple[float | None, ...]]]


def compared(
    runs: Sequence[ComparedRun], asked: Sequence[str] = (), *, seed: int = 0, previous: bool = False
) -> Comparison:
    """Compare each run with the first, or with the one before it.

    asked: names of metrics, or "all"; none: those that count. Raises UserError where no figure of two runs
    can be compared, saying what each has and why not, Damaged for a damaged file.
    """
    against = (None, *(place if previous else 0 for place in range(len(runs) - 1)))
    places = dict.fromkeys((s.benchmark, s.stage) for run in runs for s in run.sources)
    rows = list[Row]()
    if not any(sum(run.source(*place) is not None for run in runs) > 1 for place in places):
        raise UserError(_nothing_in_common(runs, asked, rows))
    for benchmark, stage in places:
        sources = [run.source(benchmark, stage) for run in runs]
        for metric in _metrics(sources, asked):
            entries = _entries(sources, metric, against, seed)
            if asked or any(entry.figure for entry in entries):
                rows.append(Row(benchmark=benchmark, stage=stage, metric=metric, entries=entries))
    tested = sum(entry.difference is not None for row in rows for entry in row.entries)
    if not tested:
        raise UserError(_nothing_in_common(runs, asked, rows))
    return Comparison(
        runs=tuple(_about(run) for run in runs),
        against=against,
        differing=_differing(runs),
        rows=tuple(rows),
        tested=tested,
        beside=_beside(runs),
    )


def _metrics(sources: Iterable[Source | None], asked: Sequence[str]) -> list[str]:
    if asked and list(asked) != ["all"]:
        return list(asked)
    have = [source.known if asked else source.headline for source in sources if source]
    return list(dict.fromkeys(name for names in have for name in names))


def _entries(
    sources: Sequence[Source | None], metric: str, against: Sequence[int | None], seed: int
) -> tuple[Entry, ...]:
    read, entries = list[Values | None](), list[Entry]()
    for source, place in zip(sources, against, strict=True):
        if source is None:
            read.append(None)
            entries.append(Entry(notes=(_NOT_MEASURED,)))
            continue
        try:
            found = source.read(metric)
        except records.Damaged:
            raise
        except UserError as error:
            read.append(None)
            entries.append(Entry(notes=(str(error),)))
            continue
        read.append(found)
        figure = intervals.figure(found.values, seed=seed)
        first = None if place is None else read[place]
        if first is None or place is None:
            entries.append(Entry(figure=figure))
            continue
        changed, notes = difference(first, found, seed)
        theirs = sources[place]
        notes += _protocols(theirs.protocol if theirs else {}, source.protocol, metric in ALONE)
        entries.append(Entry(figure=figure, difference=changed, words=changed.words(), notes=notes))
    return tuple(entries)


def difference(first: Values, second: Values, seed: int) -> tuple[Difference, tuple[str, ...]]:
    """A difference, over the problems that both asked where these are enough, and what to know of it.

    seed: of the resampling that makes its interval.
    """
    if np.array_equal(first.problems, second.problems):
        return differences.paired(first.values, second.values, seed=seed), ()
    shared, ours, theirs = np.intersect1d(first.problems, second.problems, return_indices=True)
    counts = len(first.problems), len(second.problems)
    if len(shared) == max(counts):
        return differences.paired(first.values[ours], second.values[theirs], seed=seed), ()
    told = f"{len(shared):,} problems of {counts[0]:,} and {counts[1]:,} are the same"
    if len(shared) >= max(2, _ENOUGH * min(counts)):
        return (
            differences.paired(first.values[ours], second.values[theirs], seed=seed),
            (f"other problems: {told}, and compared over these alone",),
        )
    return (
        differences.unpaired(first.values, second.values, seed=seed),
        (f"other problems: {told}, so that they are compared as different ones",),
    )


def _protocols(first: Mapping[str, Any], second: Mapping[str, Any], alone: bool) -> tuple[str, ...]:
    """Name what differs between two protocols. alone: for figures without any search or sampling."""
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    names = [name for name in names if not alone or name in _OF_ALL]
    if not names:
        return ()
    told = ", ".join(f"{name} {first.get(name, '-')} -> {second.get(name, '-')}" for name in names)
    return (f"other protocol: {told}",)


def _about(run: ComparedRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "kind": run.kind,
        "folder": str(run.folder),
        "models": run.models,
        "code": run.code,
    }


def _differing(runs: Sequence[ComparedRun]) -> dict[str, tuple[Any, ...]]:
    """Options, models and code that are not the same in all runs."""
    told = [
        {**run.options, **{f"model: {kind}": name for kind, name in run.models.items()}, "code": run.code}
        for run in runs
    ]
    names = dict.fromkeys(name for options in told for name in options)
    values = {name: tuple(options.get(name) for options in told) for name in names}
    return {name: of for name, of in values.items() if any(value != of[0] for value in of[1:])}


def _beside(runs: Sequence[ComparedRun]) -> dict[str, dict[str, tuple[float | None, ...]]]:
    """Counts and costs of each benchmark, one for each run."""
    found = dict[str, dict[str, tuple[float | None, ...]]]()
    for benchmark, stage in dict.fromkeys((s.benchmark, s.stage) for run in runs for s in run.sources):
        told = [source.beside if (source := run.source(benchmark, stage)) else {} for run in runs]
        names = dict.fromkeys(name for values in told for name in values)
        if names:
            found[benchmark] = {name: tuple(values.get(name) for values in told) for name in names}
    return found


def _nothing_in_common(runs: Sequence[ComparedRun], asked: Sequence[str], rows: Sequence[Row]) -> str:
    """Say why runs cannot be compared."""
    notes = (note for row in rows for entry in row.entries for note in entry.notes)
    why = list(dict.fromkeys(note for note in notes if note != _NOT_MEASURED))
    for run in runs:
        told = (f"{s.benchmark}{s.stage and f' ({s.stage})'}: {', '.join(s.known)}" for s in run.sources)
        why.append(f"{run.name}, {run.kind}: {'; '.join(told)}")
    figures = ", ".join(asked) if asked else "any figure"
    return (
        f"config.runs: no two of these runs can be compared by {figures}:\n  "
        + "\n  ".join(why)
        + "\nGive runs that measured the same benchmark, or name a metric that both have (--config.metrics=)."
    )


def markdown(found: Comparison) -> str:
    """The comparison as tables in Markdown, with a newline at the end."""
    names = [run["name"] for run in found.runs]
    parts = ["# Comparison\n"]
    for name, run, place in zip(names, found.runs, found.against, strict=True):
        beside = "" if place is None else f", compared with {_text(names[place])}"
        parts.append(f"- **{_text(name)}**: {run['kind']} in {_text(run['folder'])}{beside}")
    parts.append("\n## Figures\n\nPercent, with 95 percent intervals by resampling problems.\n")
    heads = ["benchmark", "metric", "problems", *names]
    parts.append(table(heads, [_figures(row) for row in found.rows]))
    parts.append("\n## Differences\n")
    lines = [
        [*_place(row), name, entry.words, "; ".join(entry.notes)]
        for row in found.rows
        for name, entry in zip(names, row.entries, strict=True)
        if entry.words or entry.notes
    ]
    parts.append(table(["benchmark", "metric", "run", "difference", "note"], lines))
    parts.append(
        f"\n{found.tested} tested: by chance alone one in 20 comes out as other than noise. Unsure: the "
        "interval excludes 0 and the test does not, or the other way about.\n"
    )
    if found.beside:
        parts.append("## Samples and costs\n")
        rows = [
            [benchmark, what, *map(_number, values)]
            for benchmark, of in found.beside.items()
            for what, values in of.items()
        ]
        parts.append(table(["benchmark", "", *names], rows) + "\n")
    if found.differing:
        parts.append("## What differs\n")
        rows = [[name, *(_short(value) for value in values)] for name, values in found.differing.items()]
        parts.append(table(["option", *names], rows) + "\n")
    else:
        parts.append("No option, model or version differs.\n")
    return "\n".join(parts)


def _place(row: Row) -> list[str]:
    return [f"{row.benchmark}{row.stage and f', {row.stage}'}", row.metric]


def _figures(row: Row) -> list[str]:
    counts = sorted({entry.figure.problems for entry in row.entries if entry.figure})
    cells = (
        f"{100 * f.value:.1f} ({100 * f.low:.1f} to {100 * f.high:.1f})" if (f := entry.figure) else "-"
        for entry in row.entries
    )
    return [*_place(row), " / ".join(f"{count:,}" for count in counts), *cells]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}" if value >= 100 else f"{value:.3g}"


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"...{text[3 - _LONGEST :]}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, without a newline at the end; texts may hold anything."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(_text, line)) + " |" for line in lines)


def _text(text: str) -> str:
    """A text that ends no cell and no line of a table."""
    return " ".join(text.replace("|", "\\|").split())
