"""Charts as SVG: lines, grouped bars with intervals, and stacked bars in rows.

Series differ in form as well as in colour: lines by dashes and markers, bars by hatching. Each chart has a
title and a description for those who hear it, and stands in a figure that has its data as a table.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from rstar_jax.report.page import marks, parts
from rstar_jax.report.page.axis import Axis, Format, percent, plain, spanning
from rstar_jax.report.page.markup import Markup

_HEIGHT, _RIGHT, _BOTTOM = 250.0, 14.0, 40.0
_MARKED = 26  # points of a line that get markers


@dataclasses.dataclass(frozen=True)
class Series:
    """Values by place on the x axis: [(x, y)]. beside: whether it is drawn like the series before it, dashed,
    as what to hold that to."""

    name: str
    points: Sequence[tuple[float, float]]
    beside: bool = False


def lines(
    title: str,
    series: Sequence[Series],
    x: str,
    y: str,
    *,
    note: str = "",
    shares: bool = False,
    log: bool = False,
    zero: bool = False,
    whole: bool = False,
) -> Markup | None:
    """Return a line chart in a figure, None where there is no point.

    shares: y is written in percent. log: of x. zero: y begins at 0. whole: x has whole numbers.
    """
    series = [one for one in series if one.points]
    if not series:
        return None
    form: Format = percent if shares else plain
    looks = _looks(series)
    legend, top = marks.legend([one.name for one in series], looks)
    right = marks.WIDTH - _RIGHT
    xs = [point[0] for one in series for point in one.points]
    ys = [point[1] for one in series for point in one.points]
    low, high = spanning(ys, zero=zero)
    across = _across(xs, right, log)
    up = Axis(low, high, _HEIGHT - _BOTTOM, top + 8)
    ticks = sorted(set(xs)) if whole and len(set(xs)) <= 12 else across.ticks(6)
    drawn = [*_grid(across, up, ticks, up.ticks(), plain, form), *_names(x, y, across, up), *legend]
    for one, look in zip(series, looks, strict=True):
        at = [(across.at(a), up.at(b)) for a, b in one.points if math.isfinite(b)]
        path = "M" + "L".join(f"{a:g} {b:g}" for a, b in at)
        drawn.append(marks.empty("path", {"class": look.line, "d": path}))
        if len(at) <= _MARKED:
            drawn += [marks.marker(look, a, b) for a, b in at]
    told = "; ".join(
        f"{one.name}: from {form(one.points[0][1])} at {plain(one.points[0][0])} "
        f"to {form(one.points[-1][1])} at {plain(one.points[-1][0])}"
        for one in series
    )
    svg = marks.svg(title, f"Line chart of {y} by {x}. {told}.", drawn, _HEIGHT)
    return parts.figure(title, note, svg, _line_data(title, series, x, form))


def _looks(series: Sequence[Series]) -> list[marks.Look]:
    """Each series' look: forms in turn; where some stand beside others, lines are dashed there alone."""
    found, count, plainly = list[marks.Look](), 0, any(one.beside for one in series)
    for one in series:
        count += not (one.beside and found)
        form = marks.form(count - 1)
        found.append(marks.Look(form, 1 + one.beside if plainly else form, one.beside))
    return found


@dataclasses.dataclass(frozen=True)
class Bars:
    """A value for each group, None where there is none; interval: around each value. Shares, 0 to 1."""

    name: str
    values: Sequence[float | None]
    intervals: Sequence[tuple[float, float] | None] = ()


def bars(
    title: str,
    groups: Sequence[str],
    series: Sequence[Bars],
    *,
    note: str = "",
    y: str = "%",
) -> Markup | None:
    """Return bars of shares by group in a figure, None where there is no value."""
    if not any(value is not None for one in series for value in one.values):
        return None
    names = [one.name for one in series]
    legend, top = marks.legend(names)
    height = _HEIGHT - 14  # the groups name themselves
    up = Axis(0.0, 1.0, height - _BOTTOM + 14, top + 8)
    across = Axis(0.0, float(len(groups)), marks.LEFT, marks.WIDTH - _RIGHT)
    drawn = [*_grid(across, up, [], up.ticks(6), plain, percent), *_names("", y, across, up), *legend]
    width = min(44.0, (across.at(1) - across.at(0)) * 0.76 / len(series))
    room = width * len(series)
    for g, group in enumerate(groups):
        left = across.at(g + 0.5) - room / 2
        drawn.append(marks.text(across.at(g + 0.5), up.start + 17, group, anchor="middle"))
        for i, one in enumerate(series):
            value = one.values[g] if g < len(one.values) else None
            if value is None:
                continue
            interval = one.intervals[g] if g < len(one.intervals) else None
            drawn += marks.bar(i, left + i * width, up.at(value), width, up.at(0))
            if interval:
                drawn.append(marks.whisker(left + (i + 0.5) * width, up.at(interval[0]), up.at(interval[1])))
            if width > 28:
                over = up.at(max(value, interval[1] if interval else 0.0)) - 5
                drawn.append(
                    marks.text(
                        left + (i + 0.5) * width,
                        over,
                        f"{100 * value:.1f}",
                        anchor="middle",
                        kind="strong",
                    )
                )
    columns = [(one.name, one.values) for one in series]
    spans = [(f"{one.name}, 95 % interval", one.intervals) for one in series if any(one.intervals)]
    rows = [
        [
            group,
            *(_cell(values[g] if g < len(values) else None) for _, values in columns),
            *(_span(found[g] if g < len(found) else None) for _, found in spans),
        ]
        for g, group in enumerate(groups)
    ]
    told = "; ".join(
        f"{group}: " + ", ".join(f"{name} {_cell(values[g])}" for name, values in columns if g < len(values))
        for g, group in enumerate(groups)
    )
    svg = marks.svg(title, f"Bar chart, in percent. {told}.", drawn, height)
    data = parts.table(
        f"Data: {title}, %", ["", *(name for name, _ in columns), *(name for name, _ in spans)], rows
    )
    return parts.figure(title, note, svg, data)


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of stacked pieces, by the name of each. behind: of how much they are a part. under: thin bars
    below, each from the start."""

    label: str
    pieces: Sequence[tuple[str, float]]
    behind: float | None = None
    under: Sequence[tuple[str, float]] = ()


def stacks(
    title: str, rows: Sequence[Row], unit: str, *, note: str = "", shares: bool = False, data: Markup
) -> Markup | None:
    """Return rows of stacked bars in a figure, None without a row. data: the table behind it."""
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name, _ in (*row.pieces, *row.under)))
    left = min(215.0, 20 + max(len(row.label) for row in rows) * marks.LETTER)
    legend, top = marks.legend(names, left=8.0) if len(names) > 1 else ([], 0.0)
    pitch = 22.0 + 4 * max(len(row.under) for row in rows)
    height = top + pitch * len(rows) + _BOTTOM - 6
    longest = max(max(row.behind or 0.0, sum(value for _, value in row.pieces)) for row in rows)
    high = 1.0 if shares else spanning([longest], zero=True)[1]
    form: Format = percent if shares else plain
    across = Axis(0.0, high, left, marks.WIDTH - _RIGHT - 30)
    bottom = height - _BOTTOM + 6
    drawn = list(legend)
    for tick in across.ticks(6):
        drawn.append(marks.line("grid", across.at(tick), top, across.at(tick), bottom))
        drawn.append(marks.text(across.at(tick), bottom + 15, form(tick), anchor="middle"))
    drawn.append(marks.text(left - 8, bottom + 15, unit, anchor="end", kind="strong"))
    for r, row in enumerate(rows):
        y = top + r * pitch
        drawn.append(
            marks.text(left - 8, y + 12, marks.fitting(row.label, left - 12), anchor="end", kind="strong")
        )
        if row.behind is not None:
            drawn.append(marks.rect("rest", across.at(0), y + 2, across.at(row.behind) - across.at(0), 14))
        before = 0.0
        for name, value in row.pieces:
            x, end = across.at(before), across.at(before + value)
            drawn += marks.bar(names.index(name), x, y + 2, end - x, y + 16)
            before += value
        for k, (name, value) in enumerate(row.under):
            thin = f"f{marks.form(names.index(name))}"
            drawn.append(marks.rect(thin, left, y + 17.5 + 4 * k, across.at(value) - left, 3))
        at = across.at(max(before, row.behind or 0.0)) + 5
        drawn.append(marks.text(at, y + 13, form(float(f"{before:.3g}")), kind="strong"))
    told = "; ".join(
        f"{row.label}: " + ", ".join(f"{n} {form(v)}" for n, v in (*row.pieces, *row.under)) for row in rows
    )
    return parts.figure(title, note, marks.svg(title, f"Bar chart, in {unit}. {told}.", drawn, height), data)


def _across(xs: Sequence[float], right: float, log: bool) -> Axis:
    low, high = min(xs), max(xs)
    if log and low > 0:
        return Axis(low / 1.15, high * 1.15, marks.LEFT, right, log=True)
    room = (high - low) * 0.02 or 0.5
    return Axis(low - room, high + room, marks.LEFT, right)


def _grid(
    across: Axis, up: Axis, xs: Sequence[float], ys: Sequence[float], x_form: Format, y_form: Format
) -> list[Markup]:
    drawn = []
    for tick in ys:
        y = up.at(tick)
        drawn.append(marks.line("grid" if tick != up.low else "axis", across.start, y, across.end, y))
        drawn.append(marks.text(across.start - 7, y + 4, y_form(tick), anchor="end"))
    for tick in xs:
        x = across.at(tick)
        drawn.append(marks.line("axis", x, up.start, x, up.start + 4))
        drawn.append(marks.text(x, up.start + 17, x_form(tick), anchor="middle"))
    return drawn


def _names(x: str, y: str, across: Axis, up: Axis) -> list[Markup]:
    """Names of the axes: y above it, x at its right end."""
    names = [marks.text(2, up.end - 9, y, kind="strong")] if y else []
    return [*names, marks.text(across.end, up.start + 33, x, anchor="end", kind="strong")] if x else names


def _line_data(title: str, series: Sequence[Series], x: str, form: Format) -> Markup:
    """The points of all series as a table, by x."""
    found = [dict(one.points) for one in series]
    places = sorted({place for values in found for place in values})
    rows = [
        [plain(place), *(form(values[place]) if place in values else "-" for values in found)]
        for place in places
    ]
    return parts.table(f"Data: {title}", [x, *(one.name for one in series)], rows)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _span(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
