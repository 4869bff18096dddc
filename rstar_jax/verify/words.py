r"""Answers in words: dates, times of day, prose; and what algebra would misread.

Algebra takes letters for factors, whatever their order: `no` is `on`, and `March 5 to May 12` is `March 12 to
May 5`. The parser leaves out what it does not know, an ellipsis for one.
"""

from __future__ import annotations

import re

from rstar_jax.verify.spelling import UNIT

_CLOCK = re.compile(
    r"(\d{1,2})(?= ?:| ?[ap])(?: ?: ?(\d{2})(?: ?: ?(\d{2}))?)? ?(?:([ap])\.? ?m\.?)?", re.IGNORECASE
)
_MONTH_NAME = r"(?:jan|feb|mar|apr|may|june?|july?|aug|sep|oct|nov|dec)"
_MONTH = re.compile(rf"\b{_MONTH_NAME}[a-z]* ?\d|\d ?(?:st|nd|rd|th)? (?:of )?{_MONTH_NAME}", re.IGNORECASE)
_ONE_MONTH = re.compile(rf"(?<![a-z]){_MONTH_NAME}[a-z]*", re.IGNORECASE)
_WORDS = re.compile(r"[A-Za-z][A-Za-z .,'\-]*")
_MATH_WORDS = frozenset(
    ("pi", "infty", "infinity", "inf", "oo", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "or", "and")
)
# Longer than what letters that are multiplied usually make.
_LONG_WORD = re.compile(
    r"(?<![a-zA-Z\\])(?!(?:sqrt|infinity|(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?)(?![a-zA-Z]))[A-Za-z]{4,}"
    r"|(?<![\w.])\d[\d.]*"
)
# Words that would else be products, like `ab`.
_SHORT_WORDS = frozenset(
    ("no", "on", "is", "it", "in", "of", "to", "or", "so", "up", "us", "we", "he", "me", "if", "at")
)
_ENVIRONMENT = re.compile(r"\\(?:begin|end) ?\{\w+\}|\\mathbb\{\w+\}")
_ELLIPSIS = re.compile(r"\\ldots(?![a-z])|\.{2,}")
_CUT_OFF = re.compile(r"(\d*\.\d+) ?(?:\\ldots|\.{3})$")
_LITERAL = re.compile(r"(?<![\w.])0[xXbBoO][\da-fA-F]")


def same_date(a: str, b: str) -> bool | None:
    """Whether two dates are the same, their parts in whatever order; None if they are no dates."""
    if not (_MONTH.search(a) and _MONTH.search(b)):
        return None
    if any(len(_ONE_MONTH.findall(text)) != 1 for text in (a, b)):
        return None
    return _date(a) == _date(b)


def _date(text: str) -> list[str]:
    """Its words and numbers; ordinals as numbers, months by three letters."""
    return sorted(word[:3] if word.isalpha() else word for word in re.findall(r"[a-z]{3,}|\d+", text.lower()))


def same_time(a: str, b: str) -> bool | None:
    """Whether two times of day are the same; None if they are none. Without am or pm, either may be meant."""
    clock_a, clock_b = (_CLOCK.fullmatch(text.replace(UNIT, "")) for text in (a, b))
    if not (clock_a and clock_b):
        return None
    half_a, half_b = clock_a[4], clock_b[4]
    time_a, time_b = ([int(part or 0) for part in clock.groups()[:3]] for clock in (clock_a, clock_b))
    if half_a and half_b:
        return half_a.lower() == half_b.lower() and time_a == time_b
    return time_a == time_b or (bool(half_a or half_b) and _of_24(time_a, half_a) == _of_24(time_b, half_b))


def _of_24(time: list[int], half: str | None) -> list[int]:
    if half and time[0] <= 12:
        return [time[0] % 12 + (12 if half.lower() == "p" else 0), *time[1:]]
    return time


def is_words(text: str) -> bool:
    return bool(_WORDS.fullmatch(text))


def is_prose(text: str) -> bool:
    """Words that are neither the names of functions nor, being short, products of letters."""
    words = re.findall(r"[A-Za-z]+", text)
    return (
        is_words(text)
        and not _MATH_WORDS.intersection(word.lower() for word in words)
        and (any(len(word) >= 3 for word in words) or text.lower() in _SHORT_WORDS)
    )


def unreadable(text: str) -> bool:
    """Whether the parser would leave out what matters: terms behind an ellipsis, a literal's base."""
    text = cut_off(text)
    return bool(_ELLIPSIS.search(text) or _LITERAL.search(text))


def cut_off(text: str) -> str:
    """A decimal without the dots that say that it goes on."""
    return _CUT_OFF.sub(r"\1", text)


def differ(a: str, b: str) -> bool:
    """Whether the words of two texts differ, or if they have any, the order of their numbers."""
    some, others = (_LONG_WORD.findall(_ENVIRONMENT.sub("", text)) for text in (a, b))
    return some != others and any(word[0].isalpha() for word in some + others)
