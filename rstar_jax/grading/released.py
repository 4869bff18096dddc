"""Lenient grading in the manner of the authors' released code, for comparison with their numbers.

The evaluation of microsoft/rStar (branch rStar-math) uses the "math_equal" that many projects share. Its
documented behaviour, written anew: decoration and units are dropped; numbers are equal within 1e-4 of the
reference, and a hundredth or a hundred times of the reference will do as well, for percentages; lists are
compared item by item in order, whatever their brackets, matrices cell by cell; equations by the difference of
their sides, up to sign; `x = 5` is 5; what is left by symbolic equality with a limit on time. Two differences
are on purpose: nothing is eval()ed, and what takes too long is "ungraded", not wrong.
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

from rstar_jax.grading import layout
from rstar_jax.grading.budget import Budget, Compare, Spent, all_of
from rstar_jax.grading.number import number
from rstar_jax.grading.spelling import clean, without_money
from rstar_jax.grading.units import split_unit
from rstar_jax.types import Grade

_TOLERANCE = Fraction(1, 10**4)


def judge(prediction: str, reference: str, compare: Compare) -> Grade:
    """The lenient rules, with `compare` for what needs algebra."""
    expected, answer = _bare(reference), _bare(prediction)
    if not expected:
        return "ungraded"
    if not answer:
        return "wrong"
    try:
        found = _equal(answer, expected, Budget(compare), 0)
    except Spent:
        found = None
    return "ungraded" if found is None else "right" if found else "wrong"


def _bare(text: str) -> str:
    text = without_money(clean(text))
    body, _ = split_unit(text)
    return re.sub(r"\^ ?\{? ?\\circ ?\}?|[%°]", "", body).strip()


def _equal(a: str, b: str, budget: Budget, depth: int) -> bool | None:
    if a.replace(" ", "").lower() == b.replace(" ", "").lower():
        return True
    x, y = number(a), number(b)
    if x is not None and y is not None:
        return any(abs(x - z) <= _TOLERANCE * abs(z) for z in (y, y / 100, y * 100))
    if depth > 4:
        return None
    cells_a, cells_b = layout.rows_of(a), layout.rows_of(b)
    if cells_a and cells_b:
        if [len(row) for row in cells_a] != [len(row) for row in cells_b]:
            return False
        items_a, items_b = itertools.chain(*cells_a), itertools.chain(*cells_b)
        return all_of(_equal(x, y, budget, depth + 1) for x, y in zip(items_a, items_b, strict=True))
    list_a, list_b = layout.list_of(a), layout.list_of(b)
    if list_a and list_b and len(list_a.items) == len(list_b.items):
        pairs = zip(list_a.items, list_b.items, strict=True)
        return all_of(_equal(x, y, budget, depth + 1) for x, y in pairs)
    left_a, right_a = layout.assigned(a)
    left_b, right_b = layout.assigned(b)
    if a.count("=") == 1 and b.count("=") == 1:
        return _compared(a, b, budget)
    if (left_a is None) != (left_b is None) and len(left_a or left_b or "") <= 2:
        return _equal(right_a, right_b, budget, depth + 1)
    return _compared(a, b, budget)


def _compared(a: str, b: str, budget: Budget) -> bool | None:
    return budget.compare(layout.latex(b), layout.latex(a))
