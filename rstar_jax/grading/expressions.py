r"""Return whether two LaTeX expressions mean the same, on sympy's objects. For the process of `symbolic.py`.

The parser is math-verify's (`reading.py`); its comparison is asked where the rules here do not decide. It is
not asked first because it takes 10^{-30} for nothing, two equations without solutions for equal, and seconds
to simplify what one look at a point tells apart.

Rational constants are compared exactly (`exact.py`). Other expressions are compared by their values, to 130
digits and more where their parts differ much in size, at points of both signs, between the corners of either
and beyond (`corners.py`): equal expressions agree wherever both are defined over the reals, and different
ones agree at all of the points only by a miracle.
Standard library, sympy and math-verify only: this file is loaded as a script's neighbour.
"""

from __future__ import annotations

import itertools
import re
from typing import Any, Literal

import exact
import sympy
from magnitude import Undecided, refuse_monsters
from math_verify import verify
from reading import as_set, read, relations
from sympy.core.relational import Relational
from values import (
    DIGITS,
    UNFINISHED,
    close,
    in_domain,
    is_nothing,
    points,
    values,
    without_decimals,
    worked_out,
)

Verdict = Literal["same", "different", "unread", "unknown"]
_INFINITE = (sympy.oo, sympy.S.NegativeInfinity)


def compare(reference: str, prediction: str) -> Verdict:
    """Neither text is ever evaluated as code. Raises whatever sympy may."""
    gold = read(reference)
    if gold is None:
        return "unread"
    target = read(prediction)
    if target is None or (
        _is_joined(reference) and _is_joined(prediction) and not _of_same(reference, prediction)
    ):
        return "different"
    try:
        return "same" if same(gold, target) else "different"
    except Undecided:
        return "unknown"


def _is_joined(text: str) -> bool:
    return (r"\lor" in text or r"\land" in text) and bool(re.search(r"[<>=]|\\(?:le|ge|ne)(?![a-z])", text))


def _of_same(*texts: str) -> bool:
    """Return whether conditions, whose sets know no letters, are in the same."""
    letters = [set(re.findall(r"(?<![a-zA-Z\\])[a-zA-Z](?![a-zA-Z])", text)) - {"e", "i"} for text in texts]
    return letters[0] == letters[1]


def same(a: Any, b: Any) -> bool:
    """Compare two objects. Raises Undecided where that cannot be told."""
    if type(a) is type(b) and a == b:
        return True
    if _is_constant(a) and _is_constant(b):
        decided = exact.same_constants(a, b)
        if decided is not None:
            return decided
    for x in (a, b):
        if isinstance(x, sympy.Basic):
            refuse_monsters(x)
    if isinstance(a, sympy.MatrixBase) or isinstance(b, sympy.MatrixBase):
        return _same_matrices(a, b)
    relation_a, relation_b = relations(a), relations(b)
    if relation_a or relation_b:
        return _same_relations(a, b, relation_a, relation_b)
    if isinstance(a, sympy.Set | sympy.Tuple) or isinstance(b, sympy.Set | sympy.Tuple):
        return _same_sets(a, b)
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        decided = _same_values(a, b)
        return _asked(a, b) if decided is None else decided
    return _asked(a, b)


def _is_constant(x: Any) -> bool:
    return isinstance(x, sympy.Expr) and not x.free_symbols and not x.has(sympy.Float)


def _asked(a: Any, b: Any) -> bool:
    for x in (a, b):
        # The library rounds.
        if isinstance(x, sympy.Expr) and exact.digits_beyond(x):
            raise Undecided
    return verify([a], [b], float_rounding=6, strict=True, timeout_seconds=None)


def _same_values(a: sympy.Expr, b: sympy.Expr) -> bool | None:
    """None if no point tells, or if the two differ only outside of the domain of one."""
    rounded = a.has(sympy.Float) or b.has(sympy.Float)
    a, b = without_decimals(a), without_decimals(b)
    if a.has(sympy.nan, sympy.zoo) or b.has(sympy.nan, sympy.zoo):
        return False
    a, b = worked_out(a), worked_out(b)
    if a.has(*_INFINITE) or b.has(*_INFINITE):
        return None if a.has(*UNFINISHED) or b.has(*UNFINISHED) else a.doit() == b.doit()
    names = sorted(a.free_symbols | b.free_symbols, key=str)
    agreed, lone = 0, len(names) == 1
    piecewise = a.has(sympy.Piecewise) or b.has(sympy.Piecewise)
    for point in points(names, a, b):
        value_a, value_b, beyond = values(a, b, point)
        if value_a is None or value_b is None:
            if value_a is not value_b and piecewise:
                return False
            continue
        if close(value_a, value_b, rounded, beyond):
            agreed += 1
        else:
            defined = in_domain(a, point), in_domain(b, point)
            # Letters of geometry are lengths; where there is one, ln(x^2) is more than 2 ln(x).
            if all(defined) or (lone and any(defined)):
                return False
    if not names:
        return bool(agreed) if agreed else None
    return True if agreed >= 3 else None


def _same_matrices(a: Any, b: Any) -> bool:
    if not (isinstance(a, sympy.MatrixBase) and isinstance(b, sympy.MatrixBase)) or a.shape != b.shape:
        return _asked(a, b)
    return all(same(x, y) for x, y in zip(a.flat(), b.flat(), strict=True))


def _same_relations(a: Any, b: Any, some: list[Any] | None, others: list[Any] | None) -> bool:
    if some and others:
        if len(some) == len(others):
            alike = [[_same_relation(r, other) for other in others] for r in some]
            if all(map(any, alike)) and all(map(any, zip(*alike, strict=True))):
                return True
        if any(isinstance(r, sympy.Eq) for r in some + others) or a.free_symbols != b.free_symbols:
            return False
    if isinstance(a, sympy.Eq) or isinstance(b, sympy.Eq):
        equation, other = (a, b) if isinstance(a, sympy.Eq) else (b, a)
        return bool(equation.lhs.is_Symbol) and same(equation.rhs, other)
    set_a, set_b = as_set(a), as_set(b)
    return set_a is not None and set_b is not None and _same_sets(set_a, set_b)


def _same_relation(a: Any, b: Any) -> bool:
    """Up to the order of the sides and a factor, which is positive where the direction matters."""
    (left_a, right_a, kind_a), (left_b, right_b, kind_b) = _directed(a), _directed(b)
    if kind_a is not kind_b:
        return False
    sides = (left_a, right_a, left_b, right_b)
    if not all(isinstance(side, sympy.Expr) for side in sides):
        straight = same(left_a, left_b) and same(right_a, right_b)
        return straight or (kind_a is sympy.Eq and same(left_a, right_b) and same(right_a, left_b))
    x, y = without_decimals(left_a - right_a), without_decimals(left_b - right_b)
    if kind_a is sympy.Eq:
        x, y = _numerator(x), _numerator(y)
    if x.free_symbols != y.free_symbols:
        return False
    ratios, most = [], 0
    for point in points(sorted(x.free_symbols, key=str), x, y):
        value_x, value_y, beyond = values(x, y, point)
        if value_x is None or value_y is None or is_nothing(value_x, beyond) or is_nothing(value_y, beyond):
            continue
        ratio = value_x / value_y
        ratios.append(ratio if ratio.is_Rational else ratio.evalf(DIGITS + 2 * beyond))
        most = max(most, beyond)
    if len(ratios) < (3 if x.free_symbols else 1):
        return False
    rounded = any(side.has(sympy.Float) for side in sides)
    positive = kind_a in (sympy.Eq, sympy.Ne) or bool(ratios[0].is_real and ratios[0] > 0)
    return positive and all(close(r, ratios[0], rounded, most) for r in ratios[1:])


def _numerator(x: Any) -> Any:
    """Zero where the expression is: `xy = 1` is `y = 1/x`."""
    if any(part.exp.is_negative and part.free_symbols for part in x.atoms(sympy.Pow)):
        return sympy.fraction(sympy.together(x))[0]
    return x


def _directed(relation: Any) -> tuple[Any, Any, Any]:
    if isinstance(relation, sympy.Lt | sympy.Le):
        return relation.rhs, relation.lhs, sympy.Gt if isinstance(relation, sympy.Lt) else sympy.Ge
    return relation.lhs, relation.rhs, relation.func


def _same_sets(a: Any, b: Any) -> bool:
    if a.has(Relational) and b.has(Relational) and a.free_symbols != b.free_symbols:
        return False  # of other letters
    set_a, set_b = as_set(a) or a, as_set(b) or b
    if isinstance(set_a, sympy.Interval) and isinstance(set_b, sympy.Interval):
        ends = ((set_a.start, set_b.start), (set_a.end, set_b.end))
        open_alike = set_a.left_open == set_b.left_open and set_a.right_open == set_b.right_open
        return bool(open_alike) and all(same(x, y) for x, y in ends)
    # (1, 2) is read as an interval, (2, 1) as a pair.
    pair_a, pair_b = _as_tuple(set_a), _as_tuple(set_b)
    if pair_a is not None and pair_b is not None:
        return len(pair_a) == len(pair_b) and all(same(x, y) for x, y in zip(pair_a, pair_b, strict=True))
    if not (isinstance(set_a, sympy.Set) and isinstance(set_b, sympy.Set)):
        return False
    for kind in (sympy.FiniteSet, sympy.Union):
        if isinstance(set_a, kind) and isinstance(set_b, kind) and _matched(set_a.args, set_b.args):
            return True
    if isinstance(set_a, sympy.FiniteSet) and isinstance(set_b, sympy.FiniteSet):
        return False
    return set_a == set_b or bool(set_a.doit().symmetric_difference(set_b.doit()).is_empty)


def _as_tuple(x: Any) -> tuple[Any, ...] | None:
    if isinstance(x, sympy.Tuple):
        return tuple(x.args)
    return (x.start, x.end) if isinstance(x, sympy.Interval) and x.left_open and x.right_open else None


def _matched(some: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    """Return whether each of either side has its like on the other."""
    if max(len(some), len(others)) > 20:
        raise Undecided
    alike = [[same(x, y) for y in others] for x in some]
    return all(map(any, alike)) and all(map(any, itertools.zip_longest(*alike)))
