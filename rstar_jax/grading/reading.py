r"""LaTeX as sympy's objects, and conditions as sets. For the process of `symbolic.py`.

The parser is math-verify's (latex2sympy2_extended, with math-verify's repairs of spelling). For each number
in a text it calls sympy's `parse_expr`, which is an eval(); it is replaced here.
A neighbour of the script `symbolic.py`, like `expressions.py`.
"""

from __future__ import annotations

import functools
import importlib
import re
from typing import Any

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex
from pieces import by_cases, real_roots
from sympy.core.relational import Relational
from sympy.parsing import sympy_parser

# Units are the caller's business: the parser's list takes the t of 2t for one.
_SPELLING = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="none")
_SYMBOLS = ConversionConfig(lowercase_symbols=False)
_NAMED = {"e": sympy.E, "i": sympy.I}


# takes `12`, `.5`, `5.` and `1e5`, not `1/2`
_NUMBER = re.compile(r"\d+|\d*\.\d+|\d+\.|\d+(?:\.\d*)?[eE][+-]?\d{1,4}")

# takes `-1/2`, not `1/0`
_RATIO = re.compile(r"-?\d{1,9}(?:/[1-9]\d{0,8})?")


def _number_only(text: str, *_: Any, **__: Any) -> Any:
    """Stand in for sympy's parse_expr, an eval() of text, which the parser calls for every number."""
    text = text.strip()
    if _RATIO.fullmatch(text):  # sympy's own tables hold such
        return sympy.Rational(text)
    if not _NUMBER.fullmatch(text):
        raise ValueError("text is never evaluated here")
    return sympy.Integer(text) if text.isdigit() else sympy.Float(text)


def _refuse_evaluation(*_: Any, **__: Any) -> Any:
    raise ValueError("text is never evaluated here")


# Loaded late otherwise, and made from text when they are.
for _name in (
    "physics.units",
    "solvers.solveset",
    "integrals.meijerint",
    "integrals.risch",
    "concrete.summations",
):
    importlib.import_module(f"sympy.{_name}")
sympy_parser.parse_expr = _number_only
sympy_parser.eval_expr = _refuse_evaluation


@functools.lru_cache(maxsize=4096)
def read(text: str) -> Any:
    """The parsed expression, None if it cannot be read. The same symbol is the same object in all of them."""
    if not text.strip():
        return None
    if r"\begin" in text and (found := by_cases(text, read)) is not None:
        return found
    if r"\lor" in text or r"\land" in text:
        return _joined(text)
    try:
        spelt = normalize_latex(text, config=_SPELLING)
        parsed: Any = latex2sympy(
            spelt,
            is_real=True,
            convert_degrees=False,
            normalization_config=None,
            conversion_config=_SYMBOLS,
        )
        names: Any = getattr(parsed, "free_symbols", None) or ()
        if names:
            parsed = parsed.xreplace({x: _NAMED[x.name] for x in names if x.name in _NAMED})
        return real_roots(parsed) if "^" in text or "sqrt" in text else parsed
    except (MemoryError, SystemError):
        raise  # see passing.py
    except Exception:
        return None


def _joined(text: str) -> Any:
    """Conditions that hold together, `x>1 \\land x<3`, or one or another of which holds."""
    groups = []
    for alternative in text.split(r"\lor"):
        parts = [read(part) for part in alternative.split(r"\land")]
        if any(part is None for part in parts):
            return None
        if len(parts) == 1:
            groups.append(parts[0])
        elif all(map(relations, parts)):
            groups.append(sympy.And(*parts, evaluate=False))  # pyright: ignore[reportCallIssue]
        else:
            sets = [as_set(part) for part in parts]
            if None in sets:
                return None
            groups.append(sympy.Intersection(*sets))
    if len(groups) == 1:
        return groups[0]
    sets = [as_set(group) for group in groups]
    return sympy.FiniteSet(*groups) if None in sets else sympy.Union(*sets)


def relations(x: Any) -> list[Any] | None:
    """The relations that hold together; None if it is something else."""
    if isinstance(x, Relational):
        return [x]
    # `x>1, y<3` of one letter may be cases instead.
    if isinstance(x, sympy.FiniteSet) and len(x.free_symbols) > 1 and all(map(relations, x.args)):
        return [relation for arg in x.args for relation in relations(arg) or ()]
    if isinstance(x, sympy.And) and x.args:
        parts = [relations(arg) for arg in getattr(x, "_unsorted_args", x.args)]
        return None if None in parts else [r for part in parts for r in part or ()]
    return None


def as_set(x: Any) -> Any:
    """The solutions of inequalities in one real variable; a set as it is; else None."""
    if isinstance(x, sympy.Set):
        if isinstance(x, sympy.FiniteSet) and x.args and all(relations(part) for part in x.args):
            parts = [as_set(part) for part in x.args]
            if None in parts:
                return None
            # `x>1, x<3` hold together; `x>2, x<-2` cannot, and are two cases, as `x=1, x=2` are.
            both = sympy.Intersection(*parts)
            return sympy.Union(*parts) if both.is_empty or x.has(sympy.Eq) else both
        return x
    found = relations(x)
    if not found or len(x.free_symbols) != 1:
        return None
    try:
        return sympy.And(*found).as_set()
    except (NotImplementedError, TypeError, ValueError, AttributeError):
        return None
