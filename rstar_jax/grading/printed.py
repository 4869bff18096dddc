r"""Answers as Python, sympy and numpy print them, respelt as LaTeX: what the policy's own programs write.

    Matrix([[1, 2], [3, 4]])   Interval.open(0, oo)   {x: 2, y: 3}   np.float64(0.5)   (1 < x) & (x < 3)

Text is rewritten by rules and never evaluated.
"""

from __future__ import annotations

import re

from rstar_jax.grading.calls import SETS, calls, closing, split_arguments

# takes `np.sqrt(2)` and `S.Reals`, not `x.sqrt`
_MODULES = re.compile(
    r"(?<![\\\w.])(?:(?:np|numpy|math|cmath|sp|sympy|mp|mpmath|fractions|decimal|jnp|torch)\.(?=[a-zA-Z])"
    r"|S\.(?=EmptySet|Reals|Integers|Naturals|Rationals|Complexes))"
)
# takes `'x': 2` and `y: 3`, entries of a dictionary, not `2: 3`
_NAMED = re.compile(r"['\"]?([A-Za-z]\w{0,9})['\"]? ?: ?([^<>=|]+)")
# takes `1+2j`, not `2jk`
_IMAGINARY = re.compile(r"(?<![\w.\\])(\d+\.?\d*(?:e[+-]?\d+)?)j(?!\w)")
# takes `i+2j`, a vector, in which 2j is no imaginary number, not `1+2j`
_OTHER_UNITS = re.compile(r"(?<![a-zA-Z\\])[ik](?![a-zA-Z])")
# takes `[[1. 2.] [3. 4.]]`, not `[x 1]`
_NUMPY = re.compile(r"\[[\[\]\s\d.eEjnaif+\-]*\]")
# takes `[1. 2.]` and `[1] [2]`, not `[1, 2]`
_UNSEPARATED = re.compile(r"[\dj]\.? +[\[\d.\-+]|\]\s*\[")
# takes `1. 2.`, not `1, 2`
_NUMBER_TOKEN = re.compile(r"(?<=[\d.j]) +(?=[\d.\-+])")
# takes `2*E` and `E**2`, Euler's number where it is calculated with, not `E_1` or `E(1, 2)`
_EULER = re.compile(r"(?<![\w\\}.])E(?= ?(?:\*|/|[-+] ))|(?:(?<=[*/(])|(?<=[-+] ))E(?![\w(:.])")
# takes `EmptySet` and `Reals`, not `EmptySet(1)` or `Realset`
_SET_NAME = re.compile(rf"(?<![\\\w.])({'|'.join(SETS)})(?![\w(])")
# takes `'A'`, not `f'(x)'`
_QUOTED = re.compile(r"(?<![\w}'\"])(['\"])([^'\",]*)\1")
# takes `[1]` and `oo == 2`, not `12`: without such signs nothing is Python's; most answers are numbers
_SIGNS = re.compile(r"[(\[{jE]|==|!=|[A-Z][a-z]{3}|\w\.[a-z]")


def respelt(text: str) -> str:
    """The text, with what Python prints as LaTeX writes it."""
    if text.strip() == "{}":
        return r"\emptyset"
    if not _SIGNS.search(text):
        return text
    text = _MODULES.sub("", text)
    if _NUMPY.fullmatch(text.strip()):
        spaced = re.sub(r"\s+", " ", text.strip())
        if _UNSEPARATED.search(spaced):
            spaced = re.sub(r" ?\] ?", "]", re.sub(r" ?\[ ?", "[", spaced)).replace("][", "], [")
            text = _NUMBER_TOKEN.sub(", ", spaced)
            if text.count(",") == 1:  # two numbers that no comma was printed between are no interval
                text = f"({text[1:-1]})"
    if "(" in text:
        text = calls(text)
    text = _SET_NAME.sub(lambda m: SETS[m[1]], text)
    if not _OTHER_UNITS.search(text):
        text = _IMAGINARY.sub(lambda m: ("" if m[1] == "1" else m[1]) + "i", text)
    text = _EULER.sub("e", text)
    text = re.sub(r"(?<![=<>!:])==(?!=)", "=", text)
    text = re.sub(r"(?<=[\w)\]] )!= ?|(?<=[a-zA-Z)\]])!=(?!=)", r"\\ne ", text)
    if ") & (" in text or ") | (" in text:
        text = _conditions(text)
    if text[:1] in "[{(":
        text = _container(text)
    return text


def _conditions(text: str) -> str:
    """`(1 < x) & (x < 3)` in words."""
    for sign, word in ((" | ", "or"), (" & ", "and")):
        parts = split_arguments(text, sign)
        if len(parts) > 1 and all(
            p.startswith("(") and p.endswith(")") and re.search("[<>=]", p) for p in parts
        ):
            return rf" \text{{ {word} }} ".join(
                _conditions(part[1:-1] if closing(part, 0) == len(part) - 1 else part)
                for part in parts
                if not re.fullmatch(r"\(-oo < \w+\)|\(\w+ < oo\)", part)
            )
    return text


def _container(text: str) -> str:
    """Dictionaries as equations; lists and tuples of one as what they hold; quotes left out."""
    text = _QUOTED.sub(r"\2", text) if re.match(r"[\[({]+['\"]", text) else text
    end = closing(text, 0)
    if end is None or text[end + 1 :].strip(" ."):
        return text
    items = split_arguments(text[1:end])
    if text[0] == "[" and not items:
        return r"\emptyset"
    if text[0] == "{":
        return _dictionary(items) or text
    if text[0] == "(":
        return items[0] if len(items) == 1 and text[1:end].rstrip().endswith(",") else text
    found = [
        _dictionary(split_arguments(item[1:-1]))
        for item in items
        if item.startswith("{") and item.endswith("}")
    ]
    if items and len(found) == len(items) and all(found):
        if all(", " not in equations for equations in found if equations):
            return ", ".join(equations for equations in found if equations)
        return ", ".join(
            "(" + re.sub(r"[A-Za-z]\w* = ", "", equations) + ")" for equations in found if equations
        )
    if len(items) == 1 and (items[0][:1] == "(" or _holds_value(items[0])):
        return items[0]
    return text


def _holds_value(item: str) -> bool:
    """Return whether a lone item of a list is a value or an equation: `[x]` may be the integer part of x."""
    if re.search(r"[<>=*]", item):
        return True
    return not re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+|sqrt|pi|(?<![a-zA-Z])[Iei](?![a-zA-Z])", "", item))


def _dictionary(items: list[str]) -> str | None:
    pairs = [_NAMED.fullmatch(item) for item in items]
    if not items or not all(pairs):
        return None
    return ", ".join(f"{pair[1]} = {pair[2].strip()}" for pair in pairs if pair)
