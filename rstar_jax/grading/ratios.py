r"""Ratios: `2:3`, `1:\sqrt{3}:2`, `2 to 3`; equal if their terms are proportional."""

from __future__ import annotations

import re

from rstar_jax.grading.layout import split

# takes `3 to 4`, not `a to b`
_TO = re.compile(r"(?<=[\d}]) to (?=[\d\\])")
# takes `x = 1:2` and `\{x : x \in A\}`, not `1:2`
_NO_RATIO = re.compile(r"[=|,<>]|\\\{|\\mid|\\in(?![a-z])|\\begin")


def parts(text: str) -> list[str] | None:
    """The terms of a ratio; None if the text is none."""
    if ":" not in text and " to " not in text:
        return None
    text = _TO.sub(":", text)
    if ":" not in text or _NO_RATIO.search(text):
        return None
    found = split(text, ":")
    return found if found and len(found) > 1 else None


def products(some: list[str], others: list[str]) -> tuple[list[str], list[str]]:
    """The texts that are equal, one by one, if two ratios are: their terms, or cross products."""
    if some == others or not all(re.search(r"\d|\\sqrt|\\pi", part) for part in some + others):
        return some, others
    left, right = some[0], others[0]
    return (
        [_times(part, right) for part in some[1:]],
        [_times(part, left) for part in others[1:]],
    )


def _times(a: str, b: str) -> str:
    """A product; of whole numbers, worked out, so that no algebra is asked."""
    if a.isdigit() and b.isdigit() and len(a + b) < 100:
        return str(int(a) * int(b))
    return rf"({a})\cdot ({b})"
