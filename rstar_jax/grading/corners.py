"""Points at which two functions with corners or steps could differ: between their corners and beyond.

A neighbour of the script `symbolic.py`, like `expressions.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import sympy
from mpmath.libmp import NoConvergence

_MOST_POINTS, _MOST_CONSTANTS = 72, 8
_ROUNDED = (sympy.floor, sympy.ceiling, sympy.frac, sympy.Mod)
_BENT = (sympy.Abs, sympy.sign, sympy.Max, sympy.Min, sympy.Heaviside, sympy.Piecewise, *_ROUNDED)
_STEPS = (sympy.sign, sympy.Heaviside, sympy.Piecewise, *_ROUNDED)
_INVERSE = (sympy.asin, sympy.acos, sympy.atan, sympy.acot, sympy.log)


def corners(names: list[Any], expressions: Iterable[Any]) -> list[dict[Any, Any]]:
    """Points for functions that are not given by one formula everywhere; none for others.

    names: the symbols of the expressions, whose constants say where the corners may be.
    """
    expressions = list(expressions)
    bent = [part for x in expressions for part in x.atoms(*_BENT, *_INVERSE, sympy.Pow) if _bends(part)]
    if not bent:
        return []
    cuts = _levels(expressions)
    if len(names) == 1:
        cuts |= _roots(names[0], bent)
    cuts |= {-cut for cut in cuts} | {Fraction()}
    places = _between(sorted(cuts))
    if any(isinstance(part, _STEPS) for part in bent):
        # What is so at one point alone, `1` of n = 1, or a step's side.
        places += [sympy.Rational(cut.numerator, cut.denominator) for cut in _fewer(sorted(cuts))]
    if len(names) == 1:
        return [{names[0]: place} for place in places]
    # Every symbol goes through all places at a pace of its own, so that any of them is at times the largest.
    count = len(places)
    paces = [pace for pace in range(1, count) if math.gcd(pace, count) == 1] or [1]
    return [
        {name: places[(i * paces[k * 7 % len(paces)] + 5 * k) % count] for k, name in enumerate(names)}
        for i in range(count)
    ]


def _bends(part: Any) -> bool:
    if not part.free_symbols:
        return False
    if part.is_Pow:  # sqrt(x^2); not sqrt(x)
        return not (part.exp.is_integer or part.base.is_Symbol or part.exp.free_symbols)
    return isinstance(part, _BENT) or not part.args[0].is_Symbol


def _levels(expressions: list[Any]) -> set[Fraction]:
    """List the sizes of constants and of pairs of them, and powers of ten up to the largest."""
    constants: set[Fraction] = set()
    for expression in expressions:
        walk = sympy.preorder_traversal(expression)
        for part in walk:
            if isinstance(part, sympy.Expr) and not part.free_symbols:
                walk.skip()
                size = _rough(part)
                if size:
                    constants |= {size, 1 / size}
    chosen = sorted(constants, key=lambda size: (abs(math.log(size)), size))[-_MOST_CONSTANTS:]
    pairs = itertools.combinations_with_replacement(chosen, 2)
    levels = constants | {level for x, y in pairs for level in (x * y, x / y, x + y, abs(x - y)) if level}
    most = max(constants, default=Fraction(1))
    tens = {Fraction(10) ** k for k in range(min(15, len(str(int(most))) + 1))}
    levels |= tens | {_about(math.sqrt(size)) for size in constants if size < 10**300}
    return {level for level in levels if level <= 20 * max(most, 1)}


def _rough(constant: Any) -> Fraction:
    if constant.is_Rational:
        return Fraction(abs(int(constant.p)), int(constant.q))
    try:
        return _about(abs(complex(constant.evalf(8))))
    except (TypeError, ValueError, OverflowError):
        return Fraction()


def _about(value: float) -> Fraction:
    return Fraction(value).limit_denominator(1000) if math.isfinite(value) else Fraction()


def _roots(name: Any, bent: list[Any]) -> set[Fraction]:
    """Find where the arguments of what bends are zero, or where a step is."""
    found = set()
    for part in bent[:6]:
        arguments = [part.base] if part.is_Pow else list(part.args[:2])
        if isinstance(part, sympy.Max | sympy.Min) and len(arguments) == 2:
            arguments = [arguments[0] - arguments[1]]
        steps = (-1, 0, 1, 2) if isinstance(part, _ROUNDED) else (0,)
        for argument, step in itertools.product(arguments, steps):
            if not isinstance(argument, sympy.Expr):
                continue
            shifted = sympy.expand(argument - step)
            if not shifted.is_polynomial(name) or not 1 <= sympy.degree(shifted, name) <= 4:
                continue
            with contextlib.suppress(NoConvergence):  # roots of several orders
                roots = sympy.Poly(shifted, name).nroots(n=12, maxsteps=100)
                found |= {_about(abs(float(root))) for root in roots if root.is_real}
    return found - {Fraction()}


def _fewer(places: list[Fraction]) -> list[Fraction]:
    """As many of them as there are to be points, all over their range."""
    if len(places) <= _MOST_POINTS:
        return places
    return [places[i * len(places) // _MOST_POINTS] for i in range(_MOST_POINTS)]


def _between(cuts: list[Fraction]) -> list[Any]:
    """Places between neighbours, close to each side of some, and beyond the outermost; not too many."""
    inner = [low + (high - low) * Fraction(47, 97) for low, high in itertools.pairwise(cuts)]
    inner = _fewer(inner)
    beyond = [end * Fraction(factor) for end in (cuts[0], cuts[-1]) for factor in ("1.37", "3.19", "31.3")]
    return [sympy.Rational(place.numerator, place.denominator) for place in (*beyond, *inner)]
