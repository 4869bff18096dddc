r"""Answers of several clauses: points by coordinates, by their letters, by unit vectors; conditions.

`x = 2 \text{ and } y = 3` is the point (2, 3), so is `P(2, 3)`, `i+2j+3k` is (1, 2, 3), and `x \ne 0, 1`
excludes two. Everything here is about the text of a cleaned answer; `equal.py` compares it.
"""

from __future__ import annotations

import re

from rstar_jax.grading.classes import in_variable, renamed
from rstar_jax.grading.layout import assigned, is_relation, list_of, rows_of, split

# takes `x_1`, not `2x`
_LETTER = re.compile(r"[a-zA-Z](?:_\w+)?")
# takes `f(x)` and `a_n`, the name and its variable, not `f(2)`
_OF_VARIABLE = re.compile(r"([a-zA-Z])(?:\(([a-zA-Z])\)|_([a-z]))")
_SCALAR = r"\d+(?:\.\d+)?|\d*\\sqrt\{\d+\}|\(?\\frac\{[^{}]*\}\{[^{}]*\}\)?|\(?\d+/\d+\)?"
_COEFFICIENT = rf"([+\-]?(?:{_SCALAR})?)(?:\\cdot|\*)?"
# takes `2i-3j+k` and `\frac{1}{2}i+j`, not `2x+j`
_UNIT_VECTORS = re.compile("".join(rf"(?:{_COEFFICIENT}{letter})?" for letter in "ijk"))
_JOINTS = ((" and ", r" \land "), (" but ", r" \land "), (" or ", r" \lor "))


def assignments(text: str) -> dict[str, str] | None:
    """Values of several letters by name, of `x = 2, y = 3`; None if the text says something else."""
    if text.count("=") < 2:
        return None
    parts = [part for piece in split(text, ",") or [] for part in re.split(r"(?:^| )and ", piece) if part]
    found = dict(assigned(part) for part in parts)
    if len(parts) < 2 or len(found) != len(parts):
        return None
    named = {
        name: value for name, value in found.items() if name and _LETTER.fullmatch(name) and "=" not in value
    }
    return named if len(named) == len(parts) else None


def coordinates(named: dict[str, str], other: str) -> tuple[list[str], list[str]] | None:
    """The values by name and those of a point, in the order that it names them or else of the alphabet."""
    left, right = assigned(other)
    listed = list_of(right)
    if listed is None or listed.kind != "()" or len(listed.items) != len(named):
        return None
    names = sorted(named) if left is None else re.findall(r"[a-zA-Z](?:_\w+)?", left)
    if set(names) != set(named) or (left is not None and "(" not in left):
        return None
    return [named[name] for name in names], listed.items


def same_variable(left: str, right: str, other: str) -> str | None:
    """The right side of `f(t) = t^2` in the variable of `f(x)`; "" if it has both, None without any."""
    function, named = _OF_VARIABLE.fullmatch(left), _OF_VARIABLE.fullmatch(other)
    if not function or not named or (function[2] is None) != (named[2] is None):
        return None
    return renamed(right, function[2] or function[3], named[2] or named[3]) or ""


def in_its_variable(name: str, text: str) -> str | None:
    """A text in one letter that is not named, `2x`, in the variable of `f(t)`; None if it has others."""
    m = _OF_VARIABLE.fullmatch(name)
    return in_variable(text, m[2]) if m and m[2] else None


def components(text: str, other: str) -> tuple[list[str], list[str]] | None:
    """The components of a sum of unit vectors, and those of a point or column."""
    text = text.replace(" ", "")
    if (
        "j" not in text
        or not (m := _UNIT_VECTORS.fullmatch(text))
        or sum(part is not None for part in m.groups()) < 2
    ):
        return None
    listed, rows = list_of(other), rows_of(other)
    items = listed.items if listed and listed.kind == "()" else [cell for row in rows or [] for cell in row]
    if len(items) not in (2, 3) or (len(items) == 2 and m[3] is not None):
        return None
    found = ["0" if part is None else part + "1" if part in ("", "+", "-") else part for part in m.groups()]
    return found[: len(items)], items


# takes `P(1, 2)` and `A_1(0, 3)`, not `f(1, 2)`
_POINT = re.compile(r"[A-Z](?:_\{?\d\}?|'{1,2})? ?(\([^=]*,[^=]*\))")
# takes `x \ne 0, 1` and `x \ne \pm 1`, not `x \ne 0, y = 1`
_EXCLUDED = re.compile(r"([a-zA-Z]) ?\\ne(?![a-z]) ?([^<>=]*)")
# takes `m+n = 5`, not `2x+y = 5`
_NAMED_EXPRESSION = re.compile(
    r"(?=.*[a-zA-Z].*[a-zA-Z])"
    r"((?:\\cdot|[a-zA-Z](?:_\{?\w\}?)?(?: ?\^ ?\{?\d\}?)?|[-+ ()|*:\[\]])+)=([^=<>]+(?:=[^=<>]+)?)"
)


def point(text: str) -> str | None:
    """The coordinates of a point with its letter, `P(1, 2)`."""
    m = _POINT.fullmatch(text)
    listed = list_of(m[1]) if m else None
    return m[1] if m and listed and listed.kind == "()" else None


def excluded(text: str) -> str:
    """The numbers that a letter is not, one by one."""
    m = _EXCLUDED.fullmatch(text) if r"\ne" in text else None
    listed = list_of(m[2].strip()) if m and r"\ne" not in m[2] else None
    if not m or listed is None or listed.kind not in ("", "{}"):
        return text
    return ", ".join(rf"{m[1]} \ne {value}" for value in listed.expanded())


def value_of_expression(text: str) -> str | None:
    """The right side of an equation whose left is made of letters alone, as the number asked for may be."""
    m = _NAMED_EXPRESSION.fullmatch(text)
    return m[2].strip() if m else None


def are_inequalities(items: list[str]) -> bool:
    return len(items) > 1 and all(re.search(r"[<>]|\\(?:le|ge|ne)(?![a-z])", item) for item in items)


def joined(text: str) -> str:
    """Conditions with the signs for "and" and "or", which the parser of algebra takes."""
    if is_relation(text):
        for word, sign in _JOINTS:
            text = text.replace(word, sign)
    return text


def united(text: str) -> str:
    """Intervals with "or" between them as their union."""
    parts = [piece for part in split(text, " or ") or [] for piece in split(part, " and ") or [part]]
    if len(parts) > 1 and all(part[0] in "([" and part[-1] in ")]" for part in parts):
        return r"\cup".join(parts)
    return text
