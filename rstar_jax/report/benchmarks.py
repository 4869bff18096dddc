"""The tables of an evaluation on benchmarks."""

from __future__ import annotations

from rstar_jax.evaluate.outcome import Figure
from rstar_jax.report.cells import count, percent, seconds
from rstar_jax.report.sections import Report, measured
from rstar_jax.report.table import Table


def benchmarks(report: Report) -> Table:
    """Every figure of an evaluation in percent, with its interval, by benchmark."""
    rows = [
        (m.name if i == 0 else "", name, *_figure(figure))
        for m in measured(report)
        for i, (name, figure) in enumerate(m.figures.items())
    ]
    return Table("Benchmarks, %", ("", "", "", "95 % interval", "problems"), tuple(rows))


def by_level(report: Report) -> Table:
    """The protocol's figure of each benchmark: by level, and apart where a program gave the chosen answer."""
    rows = list[tuple[str, ...]]()
    for m in measured(report):
        parts = {name.replace("level", "level "): figure for name, figure in m.by_level.items()}
        parts |= {"answer by a program": m.tool, "no program": m.no_tool} if m.tool and m.no_tool else {}
        metric = str(m.protocol.get("metric", ""))
        rows += [
            (
                m.name if i == 0 else "",
                name,
                metric if "level" in name else "answered right",
                *_figure(figure),
            )
            for i, (name, figure) in enumerate(parts.items())
            if figure is not None
        ]
    return Table("Benchmarks in parts, %", ("", "", "", "", "95 % interval", "problems"), tuple(rows))


def samples(report: Report) -> Table:
    """Costs of the samples of each benchmark, a problem, and what is wrong with how many of them."""
    found = measured(report)
    wrong = {
        "no_answer": "without an answer",
        "ungraded": "not graded",
        "truncated": "cut off by a length, a depth or a budget",
        "timed_out": "ended by a program's time",
        "unknown": "of which the sandbox could not tell",
    }
    costs = {
        "tokens": "tokens a problem",
        "ppm_tokens": "tokens read by the reward model a problem",
        "steps": "steps a problem",
        "seconds": "seconds a problem",
        "device_seconds": "device seconds a problem",
    }
    rows = [
        ("samples", *(count(m.counts.get("samples")) for m in found)),
        *((label, *(count(m.counts.get(name)) for m in found)) for name, label in wrong.items()),
        ("problems left out of the set", *(count(m.counts.get("rows_left_out")) for m in found)),
        ("graded otherwise by the released rules", *(count(m.disagreements) for m in found)),
        *((label, *(seconds(m.costs.get(name)) for m in found)) for name, label in costs.items()),
    ]
    shown = tuple(rows) if found else ()
    return Table("Samples", ("", *(m.name for m in found)), shown)


def _figure(figure: Figure) -> tuple[str, str, str]:
    interval = f"{percent(figure.low)} to {percent(figure.high)}"
    return percent(figure.value), interval, count(figure.problems)
