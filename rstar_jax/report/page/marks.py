"""Parts of charts: texts, lines, bars, markers, a legend, and the SVG around them."""

from __future__ import annotations

import dataclasses
import math
import re
import zlib
from collections.abc import Sequence

from rstar_jax.report.page.markup import Markup, element

WIDTH, LEFT = 460.0, 46.0  # of a chart, and where what it shows begins
LETTER = 6.1  # mean width of one, in the charts' font
_FORMS = 6  # of lines and fills (style.css)


@dataclasses.dataclass(frozen=True)
class Look:
    """How a line is drawn. form: its colour and marker, from 1. dash: its form of dashes, 1: none. beside: as
    `Series.beside`."""

    form: int
    dash: int
    beside: bool

    @property
    def line(self) -> str:
        return f"l{self.form} d{self.dash}"


def legend(
    names: Sequence[str], looks: Sequence[Look] = (), *, left: float = LEFT
) -> tuple[list[Markup], float]:
    """Return the legend in rows, and how far down it goes; one series alone needs none. looks: of lines."""
    if len(names) == 1:
        return [], 16.0
    drawn, x, y = list[Markup](), left, 8.0
    for i, name in enumerate(names):
        width = 34 + len(name) * LETTER
        if x + width > WIDTH and x > left:
            x, y = left, y + 18
        if looks:
            drawn += [line(looks[i].line, x, y, x + 20, y), marker(looks[i], x + 10, y)]
        else:
            drawn += bar(i, x, y - 6, 16, y + 6)
        drawn.append(text(x + 25, y + 4, name))
        x += width + 8
    return drawn, y + 22


def bar(i: int, x: float, y: float, width: float, bottom: float) -> list[Markup]:
    """A filled bar; every second form is hatched so that neighbours differ without colour."""
    height = max(0.0, bottom - y)
    drawn = [rect(f"bar f{form(i)}", x, y, max(width, 0.0), height)]
    if i % 2 and width > 3 and height > 3:
        reach = math.floor((width + height) / 8)
        path = "".join(_slant(x, y, width, height, 8.0 * k) for k in range(1, reach + 1))
        drawn.append(empty("path", {"class": "hatch", "d": path}))
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


def marker(look: Look, x: float, y: float) -> Markup:
    """A point of a series."""
    kind = f"hollow l{look.form}" if look.beside else f"f{look.form}"
    if look.form == 1:
        return empty("circle", {"class": kind, "cx": f"{x:g}", "cy": f"{y:g}", "r": 3.5})
    points = " ".join(f"{x + a:g},{y + b:g}" for a, b in _CORNERS[look.form - 2])
    return empty("polygon", {"class": kind, "points": points})


def whisker(x: float, low: float, high: float) -> Markup:
    path = f"M{x:.1f} {low:g}V{high:g}M{x - 4:.1f} {low:g}H{x + 4:.1f}M{x - 4:.1f} {high:g}H{x + 4:.1f}"
    return empty("path", {"class": "interval", "d": path})


def form(i: int) -> int:
    return i % _FORMS + 1


def text(x: float, y: float, text: str, *, anchor: str | None = None, kind: str | None = None) -> Markup:
    return element("text", text, {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "class": kind})


def fitting(text: str, width: float) -> str:
    most = int(width / LETTER)
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return empty("line", {"class": kind, "x1": f"{x1:g}", "y1": f"{y1:g}", "x2": f"{x2:g}", "y2": f"{y2:g}"})


def rect(kind: str, x: float, y: float, width: float, height: float) -> Markup:
    size = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{height:.1f}"}
    return empty("rect", {"class": kind, **size})


def empty(name: str, attributes: dict[str, object]) -> Markup:
    return element(name, None, attributes)


def svg(title: str, description: str, drawn: Sequence[Markup], height: float) -> Markup:
    name = re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
    stem = f"{name}-{zlib.crc32(description.encode(errors='replace')):x}"
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
