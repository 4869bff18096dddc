"""Values of expressions at points, and when two of them are the same.

A neighbour of the script `symbolic.py`, like `expressions.py`.
"""

from __future__ import annotations

import functools
from typing import Any

import exact
import sympy
from corners import corners
from magnitude import refuse_monsters
from pieces import real_roots

# Digits to which a value is found; a difference and a value are nothing below the second and the third.
DIGITS, _SAME, _ZERO = 150, 130, 350
# Per point, what the first symbol is (the next ones are multiples): small, large, negative, apart from zeros
# and ends of the usual domains.
_POINTS = tuple(map(sympy.Rational, ("37/101", "173/71", "-59/83", "911/37", "-307/29")))
UNFINISHED = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Derivative)


def points(names: list[Any], *expressions: Any) -> list[dict[Any, Any]]:
    """Points for the symbols of some expressions: the usual five, and those that their corners ask for."""
    if not names:
        return [{}]
    # Multiples that no polynomial of an answer's size is likely to vanish on; others for each point, as the
    # ratio of two homogeneous ones is the same along a ray.
    usual = [
        {x: p * (1 + sympy.Rational(k * (13 + 7 * i), 29)) for k, x in enumerate(names)}
        for i, p in enumerate(_POINTS)
    ]
    whole = set().union(*map(_exponents, expressions))
    for i, point in enumerate(usual):
        point |= {x: sympy.Integer(1 + i * (i + 1) // 2 + k) for k, x in enumerate(names) if x in whole}
    return usual + corners(names, expressions)


def _exponents(expression: Any) -> set[Any]:
    """The symbols in exponents of negative numbers, `(-1)^n`: it is real where they are whole."""
    found: set[Any] = set()
    for part in expression.atoms(sympy.Pow):
        if part.exp.free_symbols and not part.base.free_symbols and part.base.is_negative:
            found |= part.exp.free_symbols
    return found


def values(a: Any, b: Any, point: dict[Any, Any]) -> tuple[Any, Any, int]:
    """Two expressions' values at a point, None where there is none, and how many more digits they need."""
    placed_a, placed_b = _placed(a, point), _placed(b, point)
    exact_a, exact_b = exact.fraction(placed_a), exact.fraction(placed_b)
    beyond = 0
    if exact_a is None or exact_b is None:
        for placed in (placed_a, placed_b):
            refuse_monsters(placed)
            beyond = max(beyond, exact.digits_beyond(placed))
    return (
        _number(placed_a, beyond) if exact_a is None else sympy.Rational(exact_a),
        _number(placed_b, beyond) if exact_b is None else sympy.Rational(exact_b),
        beyond,
    )


def _placed(expression: Any, point: dict[Any, Any]) -> Any:
    return real_roots(worked_out(expression.subs(point) if point else expression))


def _number(constant: Any, beyond: int = 0) -> Any:
    """A number of 150 digits and twice those that it needs more; None if the constant has no value."""
    value = constant.evalf(DIGITS + 2 * beyond, maxn=_ZERO + 50 + 3 * beyond)
    return value if value.is_number and value.is_finite and not value.has(sympy.Function) else None


def close(x: Any, y: Any, rounded: bool, beyond: int = 0) -> bool:
    """To 130 digits and more; where a decimal occurs, to six places and five digits."""
    if x == y:
        return True
    if x.is_Rational and y.is_Rational:
        if not rounded:
            return False
        difference, size = abs(x - y), max(abs(x), abs(y))
    else:
        digits = DIGITS + 2 * beyond
        difference, size = abs(x - y).evalf(digits), max(abs(x).evalf(digits), abs(y).evalf(digits))
    if rounded:
        return bool(difference <= 1e-6 and difference <= 1e-5 * size)
    return bool(difference <= _tiny(_SAME + 2 * beyond) * size or size < _tiny(_ZERO + 3 * beyond))


@functools.cache
def _tiny(digits: int) -> Any:
    return sympy.Float(f"1e-{digits}", DIGITS)


def is_nothing(value: Any, beyond: int) -> bool:
    """Return whether a value is nothing, as far as its digits tell."""
    return value == 0 or bool(abs(value) < _tiny(_ZERO + 3 * beyond))


def in_domain(expression: Any, point: dict[Any, Any]) -> bool:
    """Return whether all roots and logarithms in it are real there, or it is complex on purpose."""
    if expression.has(sympy.I):
        return True
    for part in expression.atoms(sympy.Pow, sympy.log):
        if part.is_Pow:
            power = part.exp.subs(point)
            if power.is_integer or (power.is_Rational and power.q % 2 and not part.exp.free_symbols):
                continue
        inner = values(part.args[0], sympy.S.Zero, point)[0]
        if inner is None or not inner.is_real or inner < 0:
            return False
    return True


def without_decimals(expression: Any) -> Any:
    """The expression with fractions in place of its decimals."""
    return expression.xreplace({x: sympy.Rational(str(x)) for x in expression.atoms(sympy.Float)})


def worked_out(expression: Any) -> Any:
    """The expression with its sums, integrals and limits evaluated."""
    return expression.doit() if expression.has(*UNFINISHED) else expression
