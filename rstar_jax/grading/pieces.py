"""Functions given by cases, and roots of odd degree of negative numbers, which sympy takes for complex.

A neighbour of the script `symbolic.py`, like `expressions.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import sympy

# takes `\begin{cases} x & x > 0 \\ 0 & x = 0 \end{cases}`, not `\begin{matrix} 1 \end{matrix}`
_CASES = re.compile(r"\\begin ?\{cases\}(.*?)\\end ?\{cases\}", re.DOTALL)
# takes `\text{otherwise}` and `else`, not `x > 0`
_OTHERWISE = re.compile(r"\\text ?\{ ?(?:otherwise|else)[^{}]*\}|otherwise|else")
# takes `\text{if } x > 0` and `for x > 0`, not `\forall x`
_IF = re.compile(r"\\text ?\{ ?(?:if|for|when)? ?\}|(?<![a-zA-Z\\])(?:if|for|when)(?![a-zA-Z])")


def by_cases(text: str, read: Callable[[str], Any]) -> Any:
    r"""The function of `\begin{cases} x & x \ge 0 \\ -x & x < 0 \end{cases}`; None if it is none.

    read: what reads one expression or condition.
    """
    m = _CASES.search(text)
    if not m or text.strip() != m[0]:
        return None
    found = []
    for row in m[1].split("\\\\"):
        if not row.strip():
            continue
        value, _, condition = row.replace(",&", "&").partition("&")
        condition = _IF.sub(" ", condition).strip().strip(",.")
        value = read(value.strip().strip(","))
        holds = sympy.true if _OTHERWISE.fullmatch(condition) else read(condition)
        if not isinstance(value, sympy.Expr) or not (holds is sympy.true or _is_condition(holds)):
            return None
        found.append((value, holds))
    return sympy.Piecewise(*found, evaluate=False) if found else None


def _is_condition(x: Any) -> bool:
    return isinstance(x, sympy.core.relational.Relational) or (
        isinstance(x, sympy.And | sympy.Or) and all(map(_is_condition, x.args))
    )


def real_roots(x: Any) -> Any:
    """The expression with real numbers for the roots of odd degree of negative ones, unless it is complex."""
    if not isinstance(x, sympy.Expr) or not x.args:
        return x
    roots = [part for part in x.atoms(sympy.Pow) if _is_odd_root(part)]
    return x if not roots or x.has(sympy.I) else x.xreplace({part: _real_root(part) for part in roots})


def _is_odd_root(part: Any) -> bool:
    if not part.exp.is_Rational or part.exp.q == 1 or part.exp.q % 2 == 0 or part.base.free_symbols:
        return False
    if part.base.is_Number:
        return bool(part.base < 0)
    return bool(part.base.is_negative)


def _real_root(part: Any) -> Any:
    size = sympy.Pow(-part.base, part.exp)
    return -size if part.exp.p % 2 else size
