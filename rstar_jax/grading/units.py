"""Units behind numbers: which letters are one, and which of them are the same."""

from __future__ import annotations

import re

from rstar_jax.grading.number import number
from rstar_jax.grading.spelling import DOLLAR, UNIT

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
    "lb lbs",
    "oz ounce",
    "l liter litre",
    "ml milliliter millilitre",
    "gal gallon",
    "dollar usd buck",
    "cent",
    "euro eur",
    "sterling gbp quid",
    "yen jpy",
    "yuan cny rmb renminbi",
    "rupee inr rs",
    "degree deg",
    "celsius centigrade c",
    "fahrenheit f",
    "kelvin k",
    "radian rad",
    "percent pct percentage",
    "mph",
    "kmh kmph",
    "sq square",
    "cu cubic",
    "unit",
    "hz hertz",
    "n newton",
    "j joule",
    "w watt",
    "v volt",
)
_NAME = {name: line.split()[0] for line in _SAME for name in line.split()}
_MARKS = {DOLLAR: "dollar", "€": "euro", "£": "sterling", "¥": "yensign", "₹": "rupee"}
# What one word or mark may mean.
_SEVERAL = {
    "pound": {"lb", "sterling"},
    "yensign": {"yen", "yuan"},
    "prime": {"ft", "min"},
    "primeprime": {"in", "s"},
}
_PRIMES = {"'": "prime", '"': "primeprime", "''": "primeprime"}
_ORDINALS = frozenset(("st", "nd", "rd", "th"))
_ARTICLES = frozenset(("a", "an", "of", "the", "u"))  # of themselves, they are letters: 3 a
_FILLERS = frozenset(("per", "of", "the", "a", "an", "in", "total", "long", "each", "away", "old", "u"))


def _words_of(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_FUNCTIONS = _words_of(
    "pi infty infinity inf oo sqrt sin cos tan cot sec csc log ln exp arctan arcsin arccos",
    "or and to if mod where for not union base when",
)
# Words behind a number that make another number of it, or something else than a number.
_CHANGES = _words_of(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety",
    "score gross myriad lakh crore double triple quadruple twice thrice doubled tripled halved",
    "half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh sevenths",
    "eighth eighths ninth ninths tenth tenths twelfth twelfths hundredth hundredths thousandth thousandths",
    "millionth millionths billionth billionths",
    "squared cubed factorial factorials choose inverse reciprocal modulo remainder",
    "negative minus plus divided over under below above between",
    "less fewer greater least most larger smaller",
    "except without wrong false incorrect never but nor neither",
)
_SINGLE = frozenset("mgshlL")
_SHORTER = {(("mi", 1), ("h", -1)): [("mph", 1)], (("km", 1), ("h", -1)): [("kmh", 1)]}
# takes `2 hours and 30 minutes`, each of the parts, not `2 1/2`
_MEASURE = re.compile(r"(\d+(?:\.\d+)?) *([a-zA-Z]+)\.?(?: *,)?(?: *and(?=[ \d]))? *")
# takes `USD 5` and `Rs. 5`, not `US dollars`
_CODE = re.compile(r"(USD|US|EUR|GBP|INR|Rs|RMB|CNY)\b ?\.? ?(?=[\d.])")
# takes `2\pi r`, not `\pitchfork`
_PI = re.compile(r"\\pi(?![a-zA-Z])")
# takes `5'` and `30''`, not `5'a`
_PRIMED = re.compile(r"(.*?) ?('{1,2}|\")")
# takes `45^\circ C`, not `45^\circ`: of a group of its own, C is no variable
_TEMPERATURE = re.compile(rf"(.*?) ?\^ ?\{{? ?\\circ ?\}}? ?{UNIT}?([CFK])(?:elsius|ahrenheit|elvin)?")
# takes `m/s^2` and `sq. cm`, not `2 cm`
_WORDS = re.compile(r"(?:[A-Za-z .\-/]|\^ ?\{?-?[123]\}?)+")


def split_unit(text: str) -> tuple[str, str]:
    """(what stands before the unit, the unit or ""). Both of a cleaned text.

    A unit is what `\\text{}` marked as one, or known letters or a word of three letters behind a number and a
    space, or known letters right behind a number. `3xy` and `4 n` have none.
    """
    text = text.strip()
    if m := _CODE.match(text):
        return text[m.end() :].strip(), "USD" if m[1] == "US" else m[1]
    mark = text.removeprefix("-").removeprefix("US" if DOLLAR in text else "")[:1]
    if mark in _MARKS:
        return text.removeprefix("US").replace(mark, "", 1).strip().replace("- ", "-"), _MARKS[mark]
    if text[-1:] in _MARKS:
        return text[:-1].strip(), _MARKS[text[-1]]
    if (m := _PRIMED.fullmatch(text)) and number(m[1]) is not None:
        return m[1], _PRIMES[m[2]]
    if m := _TEMPERATURE.fullmatch(text):
        return m[1].strip(), m[2]
    if UNIT in text:
        body, _, unit = text.partition(UNIT)
        body, unit = body.strip(), unit.replace(UNIT, " ").strip()
        is_unit = _WORDS.fullmatch(unit) and not _FUNCTIONS.intersection(re.findall(r"[a-z]+", unit.lower()))
        return (body, unit) if is_unit and body and _may_follow(body, unit) else (text, "")
    end = max(map(text.rfind, "0123456789)}%")) + 1
    if m := _PI.search(text, end):
        end = m.end()
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
    if not words or any(word.lower() in _FUNCTIONS for word in words) or _ARTICLES.issuperset(words):
        return text, ""
    first = words[0]
    if unit[0] == " ":
        ok = (
            first in _SINGLE if len(first) == 1 else len(first) > 2 or _known(first)
        ) or first.lower() in _FILLERS
        ok = ok and (len(words) == 1 or len(words[-1]) > 1 or "/" in unit or words[-1] in _SINGLE)
    else:
        ok = len(first) > 1 and (_known(first) or first in _ORDINALS)
    return (body.strip(), unit.strip()) if ok and _may_follow(body, unit) else (text, "")


def _may_follow(body: str, unit: str) -> bool:
    """Return whether words only say of what there are so many: behind an expression, units alone do."""
    words = re.findall(r"[a-z]+", unit.lower())
    if _CHANGES.intersection(words) or _CHANGES.intersection(word.removesuffix("s") for word in words):
        return False
    if number(body.strip().removesuffix("%").strip(" ()")) is not None:
        return True
    return all(_known(word) or word in _FILLERS for word in words)


def same_measures(a: str, b: str) -> bool | None:
    """Return whether two measures of several parts, `2 hours and 30 min`, are the same; None unless both
    are."""
    some, others = _measures(a), _measures(b)
    return sorted(some) == sorted(others) if some and others else None


def _measures(text: str) -> list[tuple[str, str]] | None:
    text = text.replace(UNIT, " ")
    found = _MEASURE.findall(text) if text[:1].isdigit() else []
    if len(found) < 2 or _MEASURE.sub("", text).strip() or not all(_known(word) for _, word in found):
        return None
    lowered = [(value, word.lower()) for value, word in found]
    return [(value, _NAME.get(word) or _NAME.get(word.removesuffix("s")) or word) for value, word in lowered]


def same_units(a: str, b: str) -> bool:
    """Return whether two units may stand for each other; none may stand for any."""
    if not a or not b:
        return True
    some, others = _canonical(a), _canonical(b)
    return len(some) == len(others) and all(
        power_x == power_y and (x == y or y in _SEVERAL.get(x, ()) or x in _SEVERAL.get(y, ()))
        for (x, power_x), (y, power_y) in zip(some, others, strict=True)
    )


def _known(word: str) -> bool:
    word = word.lower()
    return any(name in _NAME or name in _SEVERAL for name in (word, word.removesuffix("s")))


def _canonical(unit: str) -> list[tuple[str, int]]:
    """Names and their powers; what follows "per" or a slash is divided by."""
    unit = unit.lower().replace(".", "").replace("^{", "^").replace("}", "").replace("^ ", "^")
    unit = re.sub(r"\b(?:square|sq) ([a-z]+)", r"\1^2", re.sub(r"\b(?:cubic|cu) ([a-z]+)", r"\1^3", unit))
    found, sign = [], 1
    for word, power in re.findall(r"([a-z]+|/)(?: ?\^ ?(-?\d))?", unit):
        if word in ("/", "per"):
            sign = -1
        elif word not in _FILLERS and word not in _ORDINALS:
            found.append(
                (
                    _NAME.get(word) or _NAME.get(word.removesuffix("s")) or word.removesuffix("s"),
                    sign * int(power or 1),
                )
            )
            sign = 1
    return _SHORTER.get(tuple(found), found)
