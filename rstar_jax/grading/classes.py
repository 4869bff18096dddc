r"""Answers that stand for many: one for every integer, a class of residues, up to a constant.

`k\pi, k \in \mathbb{Z}`, `3 \pmod 7` and `x^2 + C` mean the same in other letters, and the first two in other
representatives. Everything here is about the text of cleaned answers; `equal.py` compares it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rstar_jax.grading.layout import list_of, split
from rstar_jax.grading.number import number

# takes `\pi` and `k`, not `2`
_TOKEN = re.compile(r"\\[a-zA-Z]+|[a-zA-Z]")
_LEADING = r"(.*?)[,;:]? ?\(? ?(?:(?:where|for|with|and) )?(?:(?:any|all|every|each) )?"
_ALL_INTEGERS = r"\\in ?(?:\\mathbb ?\{? ?Z ?\}?|Z|\\mathbf ?\{? ?Z ?\}?)"
# `k\pi, k \in \mathbb{Z}`; not `k\pi` alone.
_INTEGERS = (
    re.compile(_LEADING + rf"([a-zA-Z]) ?{_ALL_INTEGERS} ?\)?"),
    re.compile(_LEADING + r"([a-zA-Z]) (?:is |being )?(?:an |any )?integers? ?\)?"),
    re.compile(_LEADING + r"integers? ([a-zA-Z]) ?\)?"),
)
# takes `\{k\pi \mid k \in \mathbb{Z}\}`, not `\{x \mid x > 0\}`
_BUILT = re.compile(rf"\\\{{ ?(.+?) ?(?:\\mid(?![a-z])|\||:) ?([a-zA-Z]) ?{_ALL_INTEGERS} ?\\\}}")
# takes `x \equiv 3 \pmod{7}` and `3 mod 7`, not `\bmod`
_RESIDUE = re.compile(
    r"(?:([a-zA-Z]) ?(?:\\equiv|=) ?)?([^=]+?) ?[,;]? ?\(? ?\\?[pb]?mod(?![a-z]) ?\{? ?(\w+) ?\}? ?\)?"
)
# takes `C_1 e^x + C_2 e^{-x}`, not `C_n`
_NUMBERED = re.compile(r"(?<![a-zA-Z\\])([Cc])_(?=\{?\d)")
# takes `x^2 + C`, not `x + CD`
_CONSTANT = re.compile(r"(.*\S) ?\+ ?([CcK])")


def for_integers(text: str) -> tuple[str, str] | None:
    """The expression or list that holds for every integer, and the letter of that integer."""
    if "integer" not in text and r"\in" not in text:
        return None
    if parts := split(text, r"\cup"):
        built = [_BUILT.fullmatch(part) for part in parts]
        if all(built):
            letter = built[0][2] if built[0] else ""
            found = [renamed(m[1], m[2], letter) for m in built if m and m[2] in _TOKEN.findall(m[1])]
            if len(found) == len(built) and None not in found:
                return ", ".join(x for x in found if x), letter
    for form in _INTEGERS:
        if (m := form.fullmatch(text)) and m[1].strip() and m[2] in _TOKEN.findall(m[1]):
            return m[1].strip(), m[2]
    return None


def families(a: str, b: str) -> tuple[str, str, str] | None:
    """Two texts in the same letter of an integer, and that letter; None if neither says that it is one."""
    every_a, every_b = for_integers(a), for_integers(b)
    if every_a and every_b:
        respelt = renamed(every_a[0], every_a[1], every_b[1])
        return None if respelt is None else (respelt, *every_b)
    if not every_a and not every_b:
        return None
    (text, letter), other = every_a or every_b or ("", ""), b if every_a else a
    letters = {token for token in _TOKEN.findall(other) if token in "kmnlt"}
    if letter not in letters and len(letters) == 1:
        other = renamed(other, letters.pop(), letter) or other
    return (text, other, letter) if every_a else (other, text, letter)


def shifted(text: str, letter: str) -> Iterator[str]:
    """The same family, counted from another integer or backwards."""
    for other in ("+1", "-1", "+2", "-2"):
        yield _TOKEN.sub(lambda m, s=other: rf"{{({letter}{s})}}" if m[0] == letter else m[0], text)
    for other in ("", "+1", "-1"):
        yield _TOKEN.sub(lambda m, s=other: rf"{{(-{letter}{s})}}" if m[0] == letter else m[0], text)


def renamed(text: str, old: str, new: str) -> str | None:
    """The text with one letter in place of another; None if that would make two letters one."""
    if old == new:
        return text
    if new in _TOKEN.findall(text):
        return None
    return _TOKEN.sub(lambda m: new if m[0] == old else m[0], text)


def in_variable(text: str, variable: str) -> str | None:
    """The text of one letter with another for it; None if it has more letters than one."""
    letters = {token for token in _TOKEN.findall(text) if len(token) == 1} - {"e", "i"}
    return renamed(text, letters.pop(), variable) if len(letters) == 1 else None


def same_residues(a: str, b: str) -> bool | None:
    """Return whether two answers modulo a number are the same; None unless both are, with numbers."""
    if "mod" not in a or "mod" not in b:
        return None
    found = []
    for m in (_RESIDUE.fullmatch(a), _RESIDUE.fullmatch(b)):
        if m is None or not m[3].isdigit() or int(m[3]) == 0:
            return None
        listed = list_of(m[2])
        values = [number(item) for item in (listed.expanded() if listed else [m[2]])]
        if any(value is None or value.denominator != 1 for value in values):
            return None
        residues = {int(value) % int(m[3]) for value in values if value is not None}
        found.append((m[1], int(m[3]), residues))
    (name_a, *rest_a), (name_b, *rest_b) = found
    return rest_a == rest_b and (name_a is None or name_b is None or name_a == name_b)


def same_constant(a: str, b: str) -> tuple[str, str] | None:
    """Two texts with constants of integration in different letters, in the same or without; else None."""
    cases = [set(_NUMBERED.findall(text)) for text in (a, b)]
    if {"C"} in cases and {"c"} in cases:
        return _NUMBERED.sub("c_", a), _NUMBERED.sub("c_", b)
    some, others = _CONSTANT.fullmatch(a), _CONSTANT.fullmatch(b)
    if not some or not others or some[2] == others[2]:
        return None
    letters = {some[2], others[2]}
    if letters & {*_TOKEN.findall(some[1]), *_TOKEN.findall(others[1])}:
        return None
    return some[1], others[1]
