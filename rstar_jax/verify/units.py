"""Units behind numbers: which letters are one, and which of them are the same."""

from __future__ import annotations

import re

from rstar_jax.verify.spelling import MONEY, UNIT

# One line per unit; the first name stands for all of them.
_SAME = (
    "cm centimeter centimetre",
    "mm millimeter millimetre",
    "km kilometer kilometre",
    "m meter metre",
    "in inch inche",
    "ft feet foot",
    "yd yard",
    "mi mile",
    "s sec second",
    "min minute",
    "h hr hour",
    "day",
    "week wk",
    "month mo",
    "yr year",
    "g gram gramme",
    "kg kilogram kilo",
    "mg milligram",
    "lb pound lbs",
    "oz ounce",
    "l liter litre",
    "ml milliliter millilitre",
    "gal gallon",
    "dollar usd buck",
    "cent",
    "euro eur",
    "degree deg",
    "radian rad",
    "percent pct percentage",
    "mph",
    "kmh kmph",
    "sq square",
    "unit",
    "hz hertz",
    "n newton",
    "j joule",
    "w watt",
    "v volt",
)
_NAME = {name: line.split()[0] for line in _SAME for name in line.split()}
_ORDINALS = frozenset(("st", "nd", "rd", "th"))
_FILLERS = frozenset(("per", "of", "the", "a", "an", "in", "total", "long", "each", "away", "old", "u"))
_FUNCTIONS = frozenset(
    (
        "pi",
        "infty",
        "infinity",
        "inf",
        "oo",
        "sqrt",
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "log",
        "ln",
        "exp",
    )
    + (
        "or",
        "and",
        "to",
        "if",
        "mod",
        "where",
        "for",
        "not",
        "union",
        "base",
        "arctan",
        "arcsin",
        "arccos",
        "when",
    )
)
_SINGLE = frozenset("mgshlL")
_WORDS = re.compile(r"(?:[A-Za-z .\-/]|\^ ?\{?-?[123]\}?)+")


def split_unit(text: str) -> tuple[str, str]:
    """(what stands before the unit, the unit or ""). Both of a cleaned text.

    A unit is what `\\text{}` marked as one, or known letters or a word of three letters behind a number and a
    space, or known letters right behind a number. `3xy` and `4 n` have none.
    """
    text = text.strip()
    if text.startswith(MONEY) or text.startswith("-" + MONEY):
        return text.replace(MONEY, "", 1).strip().replace("- ", "-"), "dollar"
    if text.endswith(MONEY):
        return text[:-1].strip(), "dollar"
    if UNIT in text:
        body, _, unit = text.partition(UNIT)
        unit = unit.replace(UNIT, " ")
        return (body.strip(), unit.strip()) if _WORDS.fullmatch(unit) and body.strip() else (text, "")
    end = max(map(text.rfind, "0123456789)}%")) + 1
    while (
        end
        and re.search(r"[\^/] ?\{?[23]?\}?$", text[:end])
        and re.search(r"[a-zA-Z] ?\^ ?\{?[23]\}?$", text[:end])
    ):
        # cm^2: the last digit is the unit's
        end = max(text[: text.rfind("^", 0, end)].rfind(c) for c in "0123456789)}%") + 1
    body, unit = text[:end], text[end:]
    if not body or not unit.strip() or not _WORDS.fullmatch(unit):
        return text, ""
    words = re.findall(r"[A-Za-z]+", unit)
    if not words or any(word.lower() in _FUNCTIONS for word in words):
        return text, ""
    first = words[0]
    if unit[0] == " ":
        ok = (
            first in _SINGLE if len(first) == 1 else len(first) > 2 or _known(first)
        ) or first.lower() in _FILLERS
        ok = ok and (len(words) == 1 or len(words[-1]) > 1 or "/" in unit or words[-1] in _SINGLE)
    else:
        ok = len(first) > 1 and (_known(first) or first in _ORDINALS)
    return (body.strip(), unit.strip()) if ok else (text, "")


def same_units(a: str, b: str) -> bool:
    """Whether two units may stand for each other; none may stand for any."""
    return not a or not b or _canonical(a) == _canonical(b)


def _known(word: str) -> bool:
    return word.lower() in _NAME or word.lower().removesuffix("s") in _NAME


def _canonical(unit: str) -> tuple[str, ...]:
    unit = unit.lower().replace(".", "").replace("^{", "^").replace("}", "")
    unit = re.sub(r"\b(?:square|sq) ([a-z]+)", r"\1^2", re.sub(r"\b(?:cubic|cu) ([a-z]+)", r"\1^3", unit))
    words = re.findall(
        r"[a-z]+|\d", re.sub(r"\bper\b", "/", unit).replace("km/h", "kmh").replace("miles / hour", "mph")
    )
    names = [_NAME.get(word) or _NAME.get(word.removesuffix("s")) or word.removesuffix("s") for word in words]
    return tuple(name for name in names if name not in _FILLERS and name not in _ORDINALS)
