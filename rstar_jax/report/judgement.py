"""A judgement as tables, and as lines below them."""

from __future__ import annotations

from rstar_jax.evaluate.judge.judgement import JudgedBenchmark, Judgement
from rstar_jax.evaluate.judge.readers import CLASSES, GROUPS, SUBSETS
from rstar_jax.evaluate.outcome import Figure
from rstar_jax.problems.known_errors import PROBES
from rstar_jax.report.cells import NOTHING, count, percent
from rstar_jax.report.tables import Table

_TITLES = {
    "processbench": "ProcessBench: the first wrong step, %",
    "prmbench": "PRMBench: right and wrong steps, %",
    "suite": "The suite, where every step's truth is known",
    "trees": "Trajectories of a search, against their verified values",
}
_LEFT_OUT = {
    "unread": "predictions in which nothing could be read",
    "missing": "predictions of no sample of the benchmark",
}


def judgement_tables(judgement: Judgement) -> list[Table]:
    """The tables of all benchmarks."""
    return [table for one in judgement.benchmarks for table in _TABLES[one.name](one) if table.rows]


def judgement_lines(judgement: Judgement) -> list[str]:
    """Notes beside the tables: thresholds, and what was not read."""
    lines = []
    for one in judgement.benchmarks:
        told = [f"{one.name}: {one.samples:,} samples of {one.problems:,} problems"]
        if one.threshold is not None:
            told.append(f"a step below {one.threshold:.3f} is taken for wrong ({one.chosen})")
        lines.append("; ".join(told) + ".")
        if long := one.counts.get("too long"):
            named = ", ".join(one.too_long[:3])
            lines.append(
                f"{one.name}: longer than config.context, not read and in no figure: {long:,} ({named}"
                f"{', ...' if long > 3 else ''})."
            )
        for key, what in _LEFT_OUT.items():
            if one.counts.get(key):
                lines.append(f"{one.name}: {one.counts[key]:,} {what}.")
    return lines


def _processbench(one: JudgedBenchmark) -> list[Table]:
    rows = [
        (subset, *(_cell(one.figures.get(f"{subset}/{name}")) for name in ("error", "correct", "F1")))
        for subset in SUBSETS
        if f"{subset}/error" in one.figures or f"{subset}/correct" in one.figures
    ]
    rows += [("average", NOTHING, NOTHING, _cell(one.figures.get("average/F1")))] if rows else []
    return [Table(_TITLES[one.name], ("", "erroneous", "correct", "F1"), tuple(rows))]


def _prmbench(one: JudgedBenchmark) -> list[Table]:
    names = [*CLASSES, *GROUPS, "overall"]
    rows = [
        (name, *(_cell(one.figures.get(f"{name}/{what}")) for what in ("PRMScore", "F1", "negative F1")))
        for name in names
        if f"{name}/PRMScore" in one.figures
    ]
    return [Table(_TITLES[one.name], ("", "PRMScore", "F1", "negative F1"), tuple(rows))]


def _known_truth(one: JudgedBenchmark) -> list[Table]:
    found, title = one.figures, _TITLES[one.name]
    pairs = [(name, _cell(found[name])) for name in ("pairs of steps", "pairs of solutions") if name in found]
    pairs += [("ECE", percent(one.ece))] if one.ece is not None else []
    pairs += [(f"AUC, {name}", percent(area)) for name, area in one.areas.items()]
    rho = [(name, f"{value:+.2f}") for name, value in one.correlations.items()]
    probes = [
        (
            probe,
            *(_change(found.get(f"probe {probe}/{kind}")) for kind in ("right", "wrong")),
            _cell(found.get(f"probe {probe}/pairs of solutions")),
        )
        for probe in PROBES
        if f"probe {probe}/right" in found
    ]
    bins = [
        (
            f"{each.low:.1f} to {each.high:.1f}",
            count(each.steps),
            percent(each.predicted),
            percent(each.right),
        )
        for each in one.calibration
        if each.steps
    ]
    columns = ("the same in other words", "change, right", "change, wrong", "right above wrong, %")
    return [
        Table(title, ("", "%"), tuple(pairs)),
        Table(f"{one.name}: what a solution's value goes with", ("", "rank correlation"), tuple(rho)),
        Table(f"{one.name}: words that should not matter", columns, tuple(probes)),
        Table(f"{one.name}: calibration, %", ("probability", "steps", "mean", "right"), tuple(bins)),
    ]


_TABLES = {
    "processbench": _processbench,
    "prmbench": _prmbench,
    "suite": _known_truth,
    "trees": _known_truth,
}


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return NOTHING
    return f"{percent(figure.value)} ({percent(figure.low)} to {percent(figure.high)})"


def _change(figure: Figure | None) -> str:
    return NOTHING if figure is None else f"{figure.value:+.2f} ({figure.low:+.2f} to {figure.high:+.2f})"
