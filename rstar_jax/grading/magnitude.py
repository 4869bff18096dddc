"""Numbers that nobody could write out, found without writing them out.

A neighbour of the script `symbolic.py`, like `expressions.py`.
"""

from __future__ import annotations

import math
from typing import Any

import sympy

_LARGEST = 3e4  # digits of a number worth writing out


class Undecided(Exception):
    """Too large to be evaluated, or of a kind that the rules do not know."""


def refuse_monsters(expression: Any) -> None:
    """Raise Undecided for powers and factorials that nobody could write out."""
    for part in sympy.preorder_traversal(expression):
        if isinstance(part, sympy.Pow):
            base, exponent = _magnitude(part.base), _magnitude(part.exp)
            if exponent > 18 or (exponent > 0 and abs(base) * 10**exponent > _LARGEST):
                raise Undecided
        elif isinstance(part, sympy.factorial | sympy.gamma | sympy.factorial2) and part.args[0].is_number:
            if _magnitude(part.args[0]) > 4:
                raise Undecided
        elif (isinstance(part, sympy.binomial) and _magnitude(part.args[0]) > 4) or (
            isinstance(part, sympy.Product) and any(_is_long(limit) for limit in part.limits)
        ):
            raise Undecided


def _is_long(limit: Any) -> bool:
    length = limit[2] - limit[1] if len(limit) == 3 else sympy.oo
    return bool(length.is_number and length.is_finite and length > _LARGEST)


def _magnitude(x: Any) -> float:
    """The decimal logarithm of a constant's size, roughly; of a symbol, 0."""
    if x.is_Number:
        if not x.is_finite or x == 0:
            return 0.0
        p, q = (abs(x.p), x.q) if x.is_Rational else (max(1, int(abs(x)).bit_length()), 1)
        if not x.is_Rational:
            return p * math.log10(2)
        return (p.bit_length() - q.bit_length()) * math.log10(2)
    if x.is_Pow:
        exponent = _magnitude(x.exp)
        return math.inf if exponent > 18 else abs(_magnitude(x.base)) * 10**exponent
    if isinstance(x, sympy.factorial):
        return 10 ** min(_magnitude(x.args[0]), 300.0)
    if x.is_Mul or x.is_Add:
        parts = [_magnitude(arg) for arg in x.args]
        return sum(parts) if x.is_Mul else max(parts)
    return 0.0
