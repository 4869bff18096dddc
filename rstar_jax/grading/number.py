r"""Exact numbers from the ways people write them: `1,234`, `\frac{3}{4}`, `2\frac{1}{3}`, `2.5e3`."""

from __future__ import annotations

import re
from fractions import Fraction

_MAX_EXPONENT = 1000
_INT = r"\d+"
_DECIMAL = r"(?:\d+\.\d*|\.\d+)"
# takes `2\frac{1}{3}` and `2 + \frac{1}{3}`, not `2 - \frac{1}{3}`
_FRACTION = re.compile(rf"(?:({_INT})\s*\+?\s*)?\\frac\{{\s*(-?{_INT})\s*\}}\{{\s*(-?{_INT})\s*\}}")
# takes `2 1/3`, not `2.5/3`
_SLASHED = re.compile(rf"(?:({_INT})\s+)?({_INT})\s*/\s*(-?{_INT})")
# takes `2.5/3`, not `2 1/3`
_QUOTIENT = re.compile(rf"({_DECIMAL}|{_INT})\s*/\s*({_DECIMAL}|{_INT})")
# takes `12`, `.5` and `2.5e3`, not `e3`
_PLAIN = re.compile(rf"({_DECIMAL}|{_INT})(?:[eE]([+-]?\d{{1,6}}))?")
# takes `2.5 \times 10^{-3}` and `2**10`, not `x^2`
_POWER = re.compile(
    rf"(?:({_DECIMAL}|{_INT})\s*(?:\\times|\\cdot|\*)\s*)?({_INT})\s*(?:\^|\*\*)\s*(?:\{{\s*(-?\d{{1,6}})\s*\}}|\(?(-?\d{{1,6}})\)?)"
)
# takes `0.1(6)` and `0.\overline{3}`, not `0.1(x)`
_REPEATING = re.compile(r"(\d*)\.(\d*)(?:\\overline\{(\d+)\}|\((\d+)\))")
# takes `0.333...` and `0.121212...`, a digit three times or a block twice, not `0.123...`
_GOES_ON = re.compile(r"(\d*\.\d{0,12}?)(?:(\d)\2\2+|(\d{2,6}?)\3+) ?(?:\.{3}|\\ldots)")
# takes `1,234.5`, not `1,23`
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def number(text: str) -> Fraction | None:
    """The number that a cleaned text is, exactly; None if it is none or too large to be worth writing out.

    Cleaned: ASCII minus, plain fractions `\\frac{a}{b}`, thousands separated by commas or by nothing.
    """
    text = text.strip()
    negative = False
    while text[:1] in ("-", "+"):
        negative ^= text[0] == "-"
        text = text[1:].strip()
    value = _positive(text)
    return -value if negative and value is not None else value


def is_decimal(text: str) -> bool:
    """Return whether a number's text is a decimal, hence perhaps rounded."""
    return "." in text and "overline" not in text and "..." not in text and "(" not in text


def _positive(text: str) -> Fraction | None:
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    if m := _PLAIN.fullmatch(text):
        return _scaled(Fraction(m[1]), 10, int(m[2] or 0))
    if m := _FRACTION.fullmatch(text) or _SLASHED.fullmatch(text):
        whole, top, bottom = int(m[1] or 0), int(m[2]), int(m[3])
        return whole + Fraction(top, bottom) if bottom else None
    if m := _QUOTIENT.fullmatch(text):
        return Fraction(m[1]) / Fraction(m[2]) if Fraction(m[2]) else None
    if m := _POWER.fullmatch(text):
        return _scaled(Fraction(m[1] or 1), int(m[2]), int(m[3] or m[4]))
    if len(text) < 60 and (m := _GOES_ON.fullmatch(text)):
        text = rf"{m[1]}\overline{{{m[2] or m[3]}}}"
    if m := _REPEATING.fullmatch(text):
        whole, fixed, cycle = m[1] or "0", m[2], m[3] or m[4]
        repeated = Fraction(int(cycle), (10 ** len(cycle) - 1) * 10 ** len(fixed))
        return Fraction(f"{whole}.{fixed or 0}") + repeated
    return None


def _scaled(factor: Fraction, base: int, exponent: int) -> Fraction | None:
    if abs(exponent) > _MAX_EXPONENT or base > 10**6 or (base == 0 and exponent < 0):
        return None
    return factor * Fraction(base) ** exponent
