"""Figures of a report as the text of a cell; of what is not known, NOTHING."""

from __future__ import annotations

from collections.abc import Iterable

NOTHING = "-"


def percent(fraction: float | None) -> str:
    """0.5 -> "50.0"."""
    return NOTHING if fraction is None else f"{100 * fraction:.1f}"


def count(value: float | None) -> str:
    """A whole number with thousands separated."""
    return NOTHING if value is None else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """Seconds with a decimal."""
    return NOTHING if value is None else f"{value:,.1f}"


def decimal(value: float | None) -> str:
    """A number to four places: 0.12345 -> "0.1235"."""
    return NOTHING if value is None else f"{value:.4f}"


def lasting(hours: float | None) -> str:
    """Hours in the unit that suits them: 0.002 -> "7.2 s"."""
    if hours is None:
        return NOTHING
    if hours < 1 / 30:
        return f"{3600 * hours:,.1f} s"
    return f"{60 * hours:,.1f} min" if hours < 2 else f"{hours:,.2f} h"


def share(part: float | None, whole: float) -> str:
    """Percent of a whole."""
    return NOTHING if part is None or not whole else f"{100 * part / whole:.1f}"


def sum_known(values: Iterable[float | None]) -> float | None:
    """Sum of the values that are known, None where none is."""
    known = [v for v in values if v is not None]
    return sum(known) if known else None
