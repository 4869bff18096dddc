"""Axes of charts: round ticks, places of values, and their labels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable


@dataclasses.dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` along pixels from `start` to `end`. log: in equal factors."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return a value's place, within the axis."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        share = (self._scaled(value) - low) / (high - low) if high > low else 0.5
        return round(self.start + min(1.0, max(0.0, share)) * (self.end - self.start), 1)

    def ticks(self, count: int = 5) -> list[float]:
        """Return about `count` round values on the axis; on a logarithmic one powers of ten, some with their
        double and fivefold."""
        if not self.log or self.high < 4 * self.low:
            return [tick for tick in round_ticks(self.low, self.high, count) if self.low <= tick <= self.high]
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for factors in ((1,), (1, 3), (1, 2, 5)):
            found = [f * 10.0**power for power in range(first, last + 1) for f in factors]
            found = [tick for tick in found if self.low <= tick <= self.high]
            if len(found) >= min(3, count):
                break
        return found

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value


def round_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return multiples of 1, 2, 2.5 or 5 times a power of ten that span low to high, about `count`."""
    if not high > low:
        return [low]
    step = (high - low) / max(count - 1, 1)
    unit = 10.0 ** math.floor(math.log10(step))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= step * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def spanning(values: Iterable[float], *, zero: bool = False) -> tuple[float, float]:
    """Return round bounds of some values; zero: that reach 0."""
    known = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0.0, 1.0)
    ticks = round_ticks(low, high)
    return ticks[0], ticks[-1]


def plain(value: float) -> str:
    """Write a number as an axis has room for: 1,200, 35k, 2.1M, 0.25, 8e-04."""
    size = abs(value)
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= unit:
            return f"{value / (1e3 if name == 'k' else unit):.4g}{name}"
    if size and size < 1e-3:
        return f"{value:.0e}"
    return f"{value:,.4g}" if size < 1000 else f"{value:,.0f}"


def percent(value: float) -> str:
    """Write a share as percent, without the sign."""
    return f"{100 * value:.4g}"


Format = Callable[[float], str]
