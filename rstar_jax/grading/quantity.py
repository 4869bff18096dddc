"""A number with its unit, and when two of them are the same."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction

from rstar_jax.grading.layout import TRIGONOMETRIC
from rstar_jax.grading.number import is_decimal, number
from rstar_jax.grading.units import same_units, split_unit

# takes `45^\circ` and `45^{\circ}`, not `45^2`
_DEGREES = re.compile(r"\^ ?\{? ?\\circ ?\}? ?")
_MULTIPLES = {
    "dozen": 12,
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}


@dataclasses.dataclass
class Quantity:
    """A cleaned text as a number and its unit.

    body: what stands before the unit. value: None if that is no number. unit: "" without one; a sign of
    percent is none, as it may be left out.
    """

    body: str
    value: Fraction | None
    percent: bool
    unit: str

    @classmethod
    def read(cls, text: str) -> Quantity:
        """The quantity that a text is; without a number, its body is the text."""
        body, unit = split_unit(text)
        bare = _DEGREES.sub("", body).strip()
        if bare != body.strip() and not unit and not TRIGONOMETRIC.search(body):
            body, unit = bare, "degree"
        if unit.lower() in ("percent", "pct", "percentage"):
            body, unit = body + "%", ""
        factor, bare_unit = 1, unit
        while (multiple := bare_unit.lower().partition(" ")[0].removesuffix("s")) in _MULTIPLES:
            factor, bare_unit = factor * _MULTIPLES[multiple], bare_unit.partition(" ")[2].strip()
        if bare_unit != unit and (value := number(_unbracketed(body))) is not None:
            return cls(body, value * factor, False, bare_unit)
        if any(word.removesuffix("s") in _MULTIPLES for word in unit.lower().split()):
            return cls(text, None, False, "")  # of something else than a number, or not right behind it
        percent = body.endswith("%")
        if percent:
            body = body[:-1].strip()
        body = _unbracketed(body)
        value = number(body)
        return cls(body if value is not None or unit else text, value, percent, unit)

    def same(self, other: Quantity) -> bool:
        """Return whether two numbers with units mean the same. A unit may be left out; two must be the
        same."""
        x, y = self.value, other.value
        assert x is not None and y is not None
        if not self.fits(other):
            return False
        rounded = is_decimal(self.body) or is_decimal(other.body)
        # With the sign on one side only, people mean 25 and 25% alike when asked "what percent".
        if self.percent != other.percent and _close(x, y * 100 if self.percent else y / 100, rounded):
            return True
        return _close(x, y, rounded)

    def fits(self, other: Quantity) -> bool:
        """Return whether the units may stand for each other; 50% is neither 50 dollars nor 50 degrees."""
        if self.percent != other.percent and (other.unit if self.percent else self.unit):
            return False
        return same_units(self.unit, other.unit)


def _unbracketed(body: str) -> str:
    """A number without the brackets around it."""
    bracketed = body.startswith("(") and body.endswith(")") and not {"_", ","} & set(body)
    return body[1:-1] if bracketed and number(body[1:-1]) is not None else body


def _close(x: Fraction, y: Fraction, rounded: bool) -> bool:
    """Equal; or, if one is a decimal, equal to six places."""
    difference = abs(x - y)
    return difference == 0 or (rounded and difference <= Fraction(1, 10**6) and difference <= abs(y) / 10**5)
