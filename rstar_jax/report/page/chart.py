"""Charts as SVG: lines, grouped bars with intervals, and stacked bars in rows.

Series differ in form as well as in colour: lines by dashes and markers, bars by hatching. Each chart has a
title and a description for those who hear it, and stands in a figure that has its data as a table.
"""

from __future__ import annotations

import dataclasses
import math
import re
import zlib
from collections.abc import Sequence

from rstar_jax.report.page import parts
from rstar_jax.report.page.axis import Axis, Format, percent, plain, spanning
from rstar_jax.report.page.markup import Markup, element

WIDTH, _HEIGHT = 460.0, 250.0
_LEFT, _RIGHT, _BOTTOM = 46.0, 14.0, 40.0
_FORMS = 6  # of lines and fills (style.css)
_MARKED = 26  # points of a line that get markers
_LETTER = 6.1  # mean width of one, in the charts' font


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
    legend, top = _legend([one.name for one in series], looks)
    right = WIDTH - _RIGHT
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
        drawn.append(_empty("path", {"class": look.line, "d": path}))
        if len(at) <= _MARKED:
            drawn += [_marker(look, a, b) for a, b in at]
    told = "; ".join(
        f"{one.name}: from {form(one.points[0][1])} at {plain(one.points[0][0])} "
        f"to {form(one.points[-1][1])} at {plain(one.points[-1][0])}"
        for one in series
    )
    svg = _svg(title, f"Line chart of {y} by {x}. {told}.", drawn, _HEIGHT)
    return parts.figure(title, note, svg, _line_data(title, series, x, form))


@dataclasses.dataclass(frozen=True)
class _Look:
    """How a line is drawn. form: its colour and marker, from 1. dash: its form of dashes, 1: none. beside: as
    `Series.beside`."""

    form: int
    dash: int
    beside: bool

    @property
    def line(self) -> str:
        return f"l{self.form} d{self.dash}"


def _looks(series: Sequence[Series]) -> list[_Look]:
    """Each series' look: forms in turn; where some stand beside others, lines are dashed there alone."""
    found, count, plainly = list[_Look](), 0, any(one.beside for one in series)
    for one in series:
        count += not (one.beside and found)
        form = _form(count - 1)
        found.append(_Look(form, 1 + one.beside if plainly else form, one.beside))
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
    legend, top = _legend(names)
    height = _HEIGHT - 14  # the groups name themselves
    up = Axis(0.0, 1.0, height - _BOTTOM + 14, top + 8)
    across = Axis(0.0, float(len(groups)), _LEFT, WIDTH - _RIGHT)
    drawn = [*_grid(across, up, [], up.ticks(6), plain, percent), *_names("", y, across, up), *legend]
    width = min(44.0, (across.at(1) - across.at(0)) * 0.76 / len(series))
    room = width * len(series)
    for g, group in enumerate(groups):
        left = across.at(g + 0.5) - room / 2
        drawn.append(_text(across.at(g + 0.5), up.start + 17, group, anchor="middle"))
        for i, one in enumerate(series):
            value = one.values[g] if g < len(one.values) else None
            if value is None:
                continue
            interval = one.intervals[g] if g < len(one.intervals) else None
            drawn += _bar(i, left + i * width, up.at(value), width, up.at(0))
            if interval:
                drawn.append(_whisker(left + (i + 0.5) * width, up.at(interval[0]), up.at(interval[1])))
            if width > 28:
                over = up.at(max(value, interval[1] if interval else 0.0)) - 5
                drawn.append(
                    _text(
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
    svg = _svg(title, f"Bar chart, in percent. {told}.", drawn, height)
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
    left = min(215.0, 20 + max(len(row.label) for row in rows) * _LETTER)
    legend, top = _legend(names, left=8.0) if len(names) > 1 else ([], 0.0)
    pitch = 22.0 + 4 * max(len(row.under) for row in rows)
    height = top + pitch * len(rows) + _BOTTOM - 6
    longest = max(max(row.behind or 0.0, sum(value for _, value in row.pieces)) for row in rows)
    high = 1.0 if shares else spanning([longest], zero=True)[1]
    form: Format = percent if shares else plain
    across = Axis(0.0, high, left, WIDTH - _RIGHT - 30)
    bottom = height - _BOTTOM + 6
    drawn = list(legend)
    for tick in across.ticks(6):
        drawn.append(_line("grid", across.at(tick), top, across.at(tick), bottom))
        drawn.append(_text(across.at(tick), bottom + 15, form(tick), anchor="middle"))
    drawn.append(_text(left - 8, bottom + 15, unit, anchor="end", kind="strong"))
    for r, row in enumerate(rows):
        y = top + r * pitch
        drawn.append(_text(left - 8, y + 12, _fitting(row.label, left - 12), anchor="end", kind="strong"))
        if row.behind is not None:
            drawn.append(_rect("rest", across.at(0), y + 2, across.at(row.behind) - across.at(0), 14))
        before = 0.0
        for name, value in row.pieces:
            x, end = across.at(before), across.at(before + value)
            drawn += _bar(names.index(name), x, y + 2, end - x, y + 16)
            before += value
        for k, (name, value) in enumerate(row.under):
            thin = f"f{_form(names.index(name))}"
            drawn.append(_rect(thin, left, y + 17.5 + 4 * k, across.at(value) - left, 3))
        at = across.at(max(before, row.behind or 0.0)) + 5
        drawn.append(_text(at, y + 13, form(float(f"{before:.3g}")), kind="strong"))
    told = "; ".join(
        f"{row.label}: " + ", ".join(f"{n} {form(v)}" for n, v in (*row.pieces, *row.under)) for row in rows
    )
    return parts.figure(title, note, _svg(title, f"Bar chart, in {unit}. {told}.", drawn, height), data)


def _across(xs: Sequence[float], right: float, log: bool) -> Axis:
    low, high = min(xs), max(xs)
    if log and low > 0:
        return Axis(low / 1.15, high * 1.15, _LEFT, right, log=True)
    room = (high - low) * 0.02 or 0.5
    return Axis(low - room, high + room, _LEFT, right)


def _grid(
    across: Axis, up: Axis, xs: Sequence[float], ys: Sequence[float], x_form: Format, y_form: Format
) -> list[Markup]:
    drawn = []
    for tick in ys:
        y = up.at(tick)
        drawn.append(_line("grid" if tick != up.low else "axis", across.start, y, across.end, y))
        drawn.append(_text(across.start - 7, y + 4, y_form(tick), anchor="end"))
    for tick in xs:
        x = across.at(tick)
        drawn.append(_line("axis", x, up.start, x, up.start + 4))
        drawn.append(_text(x, up.start + 17, x_form(tick), anchor="middle"))
    return drawn


def _names(x: str, y: str, across: Axis, up: Axis) -> list[Markup]:
    """Names of the axes: y above it, x at its right end."""
    names = [_text(2, up.end - 9, y, kind="strong")] if y else []
    return [*names, _text(across.end, up.start + 33, x, anchor="end", kind="strong")] if x else names


def _legend(
    names: Sequence[str], looks: Sequence[_Look] = (), *, left: float = _LEFT
) -> tuple[list[Markup], float]:
    """Return the legend in rows, and how far down it goes; one series alone needs none. looks: of lines."""
    if len(names) == 1:
        return [], 16.0
    drawn, x, y = list[Markup](), left, 8.0
    for i, name in enumerate(names):
        width = 34 + len(name) * _LETTER
        if x + width > WIDTH and x > left:
            x, y = left, y + 18
        if looks:
            drawn += [_line(looks[i].line, x, y, x + 20, y), _marker(looks[i], x + 10, y)]
        else:
            drawn += _bar(i, x, y - 6, 16, y + 6)
        drawn.append(_text(x + 25, y + 4, name))
        x += width + 8
    return drawn, y + 22


def _bar(i: int, x: float, y: float, width: float, bottom: float) -> list[Markup]:
    """A filled bar; every second form is hatched so that neighbours differ without colour."""
    height = max(0.0, bottom - y)
    drawn = [_rect(f"bar f{_form(i)}", x, y, max(width, 0.0), height)]
    if i % 2 and width > 3 and height > 3:
        reach = math.floor((width + height) / 8)
        path = "".join(_slant(x, y, width, height, 8.0 * k) for k in range(1, reach + 1))
        drawn.append(_empty("path", {"class": "hatch", "d": path}))
    return drawn


def _slant(x: float, y: float, width: float, height: float, at: float) -> str:
    """A diagonal of a rectangle, from its left or lower edge to its upper or right one."""
    x1, y1 = (x, y + at) if at <= height else (x + at - height, y + height)
    x2, y2 = (x + at, y) if at <= width else (x + width, y + at - width)
    return f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"


# Corners of markers after the circle: square, triangle, diamond, pentagon, triangle upside down.
_CORNERS: tuple[tuple[tuple[float, float], ...], ...] = (
    ((-3.4, -3.4), (3.4, -3.4), (3.4, 3.4), (-3.4, 3.4)),
    ((0, -4.6), (4.4, 3.4), (-4.4, 3.4)),
    ((0, -4.9), (4.9, 0), (0, 4.9), (-4.9, 0)),
    ((0, -4.6), (4.4, -1.4), (2.7, 3.7), (-2.7, 3.7), (-4.4, -1.4)),
    ((-4.4, -3.4), (4.4, -3.4), (0, 4.6)),
)


def _marker(look: _Look, x: float, y: float) -> Markup:
    """A point of a series."""
    kind = f"hollow l{look.form}" if look.beside else f"f{look.form}"
    if look.form == 1:
        return _empty("circle", {"class": kind, "cx": f"{x:g}", "cy": f"{y:g}", "r": 3.5})
    points = " ".join(f"{x + a:g},{y + b:g}" for a, b in _CORNERS[look.form - 2])
    return _empty("polygon", {"class": kind, "points": points})


def _whisker(x: float, low: float, high: float) -> Markup:
    path = f"M{x:.1f} {low:g}V{high:g}M{x - 4:.1f} {low:g}H{x + 4:.1f}M{x - 4:.1f} {high:g}H{x + 4:.1f}"
    return _empty("path", {"class": "interval", "d": path})


def _form(i: int) -> int:
    return i % _FORMS + 1


def _text(x: float, y: float, text: str, *, anchor: str | None = None, kind: str | None = None) -> Markup:
    return element("text", text, {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "class": kind})


def _fitting(text: str, width: float) -> str:
    most = int(width / _LETTER)
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return _empty("line", {"class": kind, "x1": f"{x1:g}", "y1": f"{y1:g}", "x2": f"{x2:g}", "y2": f"{y2:g}"})


def _rect(kind: str, x: float, y: float, width: float, height: float) -> Markup:
    size = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{height:.1f}"}
    return _empty("rect", {"class": kind, **size})


def _empty(name: str, attributes: dict[str, object]) -> Markup:
    return element(name, None, attributes)


def _svg(title: str, description: str, drawn: Sequence[Markup], height: float) -> Markup:
    stem = f"{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}-{zlib.crc32(description.encode()):x}"
    named = [
        element("title", title, {"id": f"{stem}-title"}),
        element("desc", description, {"id": f"{stem}-desc"}),
    ]
    attributes = {
        "viewBox": f"0 0 {WIDTH:g} {height:g}",
        "role": "img",
        "aria-labelledby": f"{stem}-title {stem}-desc",
    }
    return element("svg", [*named, *drawn], attributes)


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
