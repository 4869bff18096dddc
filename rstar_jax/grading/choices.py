"""Answers that choose from what a question offers: a letter, with its content or without, or several."""

from __future__ import annotations

import re

# takes `(B) 12` and `B: 12`, not `B, 12`
_LABELLED_CHOICE = re.compile(r"(?:\(([A-J])\)|([A-J])[).:]) *([^ ,;].*)")
# takes `12 (B) 13` and `12 or B`: behind the first choice another, or a word that makes something else of it,
# not `12 or 13`
_MORE_CHOICES = re.compile(
    r"\([A-J]\)|\b[A-Z][).:]|(?<=[).:] )(?:and|or|nor|not|is|but|&)\b|\b(?:and|or|nor) [A-J]\b"
)
# takes `ACD` and `A, C and D`, several of them, not `A`
_CHOICES = re.compile(r"[A-J]{2,}|[A-J](?:(?:, ?|; ?| )(?:and )?[A-J])+|[A-J] and [A-J]")
# takes `\textcircled{1}, \textcircled{3}`, not `1, 3`
_CIRCLED = re.compile(r"(?:\\textcircled\{\d+\}(?:, ?|; ?| and | )?)+")


def labelled_choice(text: str) -> str | None:
    """The letter of a choice given with its content, `(C) 10`."""
    m = _one_choice(text)
    return (m[1] or m[2]) if m else None


def chosen(text: str) -> str | None:
    """The content of a choice given with its letter."""
    m = _one_choice(text)
    return m[3] if m else None


def _one_choice(text: str) -> re.Match[str] | None:
    m = _LABELLED_CHOICE.fullmatch(text)
    return None if m and _MORE_CHOICES.search(text, m.end(2) if m[2] else m.end(1)) else m


def same_letters(a: str, b: str) -> bool | None:
    """Return whether two answers are the same choices of several, `ACD` and `A, C, D`; None if they are
    none."""
    if all(map(_CIRCLED.fullmatch, (a, b))):
        some, others = (re.findall(r"\d+", text) for text in (a, b))
        return sorted(some) == sorted(others)
    if len(a) == len(b) or not all(map(_CHOICES.fullmatch, (a, b))):
        return None
    some, others = (re.findall(r"[A-J]", text.replace("and", "")) for text in (a, b))
    return True if 1 < len(set(some)) == len(some) and sorted(some) == sorted(others) else None
