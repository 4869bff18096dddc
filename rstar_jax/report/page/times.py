"""Where the time went: device, sandbox and host, each against the wall time, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

from rstar_jax.report import tables
from rstar_jax.report.cells import NOTHING, seconds
from rstar_jax.report.page import chart, parts
from rstar_jax.report.page.chart import Row
from rstar_jax.report.page.contents import Contents
from rstar_jax.report.page.frame import Section
from rstar_jax.report.page.markup import Content, Markup
from rstar_jax.report.sections import StageTimes

_WORK = "at work"
_AWAITED = {"device_awaited": "waiting for the device", "sandbox_awaited": "waiting for the sandbox"}


def times(contents: Contents) -> Section | None:
    """Shares of the whole, the stages one by one, and what was estimated."""
    report = contents.report
    if not report.stages:
        return None
    measured = tables.clocked(report)
    body: list[Content] = []
    if measured:
        body.append(
            parts.paragraph(
                "The device, the sandbox and the host work at the same time, so each has the whole wall time "
                "to itself. The device is at work from when the host starts something on it until the host "
                "sees the result; the sandbox while a program runs or waits for a process; the host whenever "
                "it does not wait for either."
            )
        )
        body.append(parts.charts([_whole(measured), _stages(measured)]))
    else:
        body.append(
            parts.paragraph(
                "These stages were run by a release that did not tell waiting from working.", "note"
            )
        )
    found = (tables.shares(report), tables.times(report), tables.estimates(report))
    body += [parts.shown(one) for one in found if one.rows]
    return Section("time", "Where the time went", body)


def _whole(stages: Sequence[StageTimes]) -> Markup | None:
    whole = sum(s.seconds or 0.0 for s in stages)
    if not whole:
        return None

    def share(name: str) -> float:
        return min(1.0, sum(getattr(s, name) or 0.0 for s in stages) / whole)

    rows = [
        Row("device", [(_WORK, share("device"))], 1.0),
        Row("sandbox", [(_WORK, share("sandbox"))], 1.0),
        Row("host", [(_WORK, share("host")), *((name, share(of)) for of, name in _AWAITED.items())], 1.0),
    ]
    data = parts.table(
        "Data: shares of the wall time, %",
        ("", *dict.fromkeys(name for row in rows for name, _ in row.pieces)),
        [_cells(row, rows) for row in rows],
    )
    note = f"Of {whole:,.0f} seconds in {len(stages)} stages."
    return chart.stacks("Device, sandbox and host", rows, "%", note=note, shares=True, data=data)


def _cells(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    names = dict.fromkeys(name for other in rows for name, _ in other.pieces)
    found = dict(row.pieces)
    return row.label, *(f"{100 * found[name]:.1f}" if name in found else NOTHING for name in names)


def _stages(stages: Sequence[StageTimes]) -> Markup | None:
    rows = [
        Row(
            s.name or "?",
            [("host at work", s.host or 0.0), *((n, getattr(s, of) or 0.0) for of, n in _AWAITED.items())],
            under=[("device at work", s.device or 0.0), ("sandbox at work", s.sandbox or 0.0)],
        )
        for s in stages
    ]
    note = "The thick bar is the host's wall time; below it, when device and sandbox were at work."
    data = parts.table(
        "Data: stages, seconds",
        ("stage", "wall", "device at work", "sandbox at work", "host at work", *_AWAITED.values()),
        [
            (
                s.name or "?",
                *map(seconds, (s.seconds, s.device, s.sandbox, s.host, s.device_awaited, s.sandbox_awaited)),
            )
            for s in stages
        ],
    )
    return chart.stacks("Stage by stage", rows, "seconds", data=data, note=note)
