r"""Answers in words: dates, times of day, prose; and what algebra would misread.

Algebra takes letters for factors, whatever their order: `no` is `on`, and `March 5 to May 12` is `March 12 to
May 5`. The parser leaves out what it does not know, an ellipsis for one.
"""

from __future__ import annotations

import re
from fractions import Fraction

from rstar_jax.grading.spelling import UNIT

# takes `3:30 p.m.` and `3 pm`, not `3`
_CLOCK = re.compile(
    r"(\d{1,2})(?= ?:| ?[ap])(?: ?: ?(\d{2})(?: ?: ?(\d{2}))?)? ?(?:([ap])\.? ?m\.?)?", re.IGNORECASE
)
_MONTH_NAME = r"(?:jan|feb|mar|apr|may|june?|july?|aug|sep|oct|nov|dec)"
# takes `May 5` and `5th of May`, not `may be 5`
_MONTH = re.compile(rf"\b{_MONTH_NAME}[a-z]* ?\d|\d ?(?:st|nd|rd|th)? (?:of )?{_MONTH_NAME}", re.IGNORECASE)
# takes `5 February`, not `dismay`
_ONE_MONTH = re.compile(rf"(?<![a-z]){_MONTH_NAME}[a-z]*", re.IGNORECASE)
# takes `no solution`, not `2 apples`
_WORDS = re.compile(r"[A-Za-z][A-Za-z .,'\-]*")
_MATH_WORDS = frozenset(
    ("pi", "infty", "infinity", "inf", "oo", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "or", "and")
)
# takes `blue` and `5.5`, not `abc` or `\sqrt`: longer than what letters that are multiplied usually make
_LONG_WORD = re.compile(
    r"(?<![a-zA-Z\\])(?!(?:sqrt|infinity|otherwise|(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?)(?![a-zA-Z]))[A-Za-z]{4,}"
    r"|(?<![\w.])\d[\d.]*"
)
# Words that would else be products, like `ab`.
_SHORT_WORDS = frozenset(
    ("no", "on", "is", "it", "in", "of", "to", "or", "so", "up", "us", "we", "he", "me", "if", "at")
)
_UP_TO_NINETEEN = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
# Phrases with one meaning, in the spelling of `clean`; in whatever case, but for what one letter may mean.
_PHRASES: dict[str, str] = {
    phrase: meaning
    for meaning, phrases in (
        (
            r"\mathbb{R}",
            "all real numbers|all reals|the real numbers|real numbers|the reals|any real number",
        ),
        (r"\mathbb{Z}", "all integers|the integers|integers|the set of integers|any integer"),
        (
            r"\emptyset",
            r"\{\}|\{ \}|set()|no solution|no solutions|no real solution|no real solutions|no solutions exist"
            "|no solution exists|there is no solution|there are no solutions|empty set|the empty set"
            "|no real roots|no real root|no such number|no such numbers|no such numbers exist",
        ),
        (
            "nowhere",
            "dne|d.n.e|does not exist|doesn't exist|do not exist|nonexistent|limit does not exist"
            "|the limit does not exist|undefined",
        ),
    )
    for phrase in phrases.split("|")
}
# takes `all real numbers except 2 and 3`, not `all real numbers except for prime x`
_EXCEPT = re.compile(
    r"(?:all )?(?:real numbers|reals) (?:except|other than)(?: for)? ([^a-z]+(?: and [^a-z]+)?)"
)
_SMALL = {name: value for value, name in enumerate(_UP_TO_NINETEEN)}
_TENS_NAMES = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TENS = {name: 10 * value for value, name in enumerate(_TENS_NAMES, start=2)}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MULTIPLES = {"dozen": 12, "hundred": 100, **_LARGE}
_PARTS = {
    **{"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4},
    **{
        name + ending: value
        for value, name in enumerate(
            ("fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"), start=4
        )
        for ending in ("", "s")
    },
}
_ORDINAL_NAMES = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
    *("eleventh", "twelfth"),
)
_ORDINALS = {name: value for value, name in enumerate(_ORDINAL_NAMES, start=1)}
# takes `21st`, not `21`
_ORDINAL_DIGITS = re.compile(r"(\d{1,6}) ?(?:st|nd|rd|th)")
# takes `(52)_{8}`, `52_{eight}` and `52 (base 8)`, not `52`
_BASED = re.compile(
    r"\(?([0-9a-zA-Z]+)\)? ?(?:_ ?\{? ?\(?(?:base ?)?(\d{1,2}|[a-z]{3,9}) ?\)? ?\}?"
    r"|\(?base (\d{1,2}|[a-z]{3,9})\)?)"
)
# takes `0x1F` and `0b101`, as Python prints them, not `1F`
_PREFIXED = re.compile(r"0([bBoOxX])([\da-fA-F]+)")
# takes `IX`, not `X` or `Ix`
_TWO_CAPITALS = re.compile(r"[A-Z]{2,}")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"  # three neighbours of which are a product of letters, `xyz`
# takes `A \times B` and `\mathbf{a} \times \mathbf{b}`, not `2 \times 3`
_CROSS = re.compile(r"(?:[A-Z]|\\mathbf ?\{?\w\}?) ?\\times ?(?:[A-Z]|\\mathbf)")
# takes `\begin{cases}` and `\mathbb{Reals}`, not `\frac{1}{2}`
_ENVIRONMENT = re.compile(r"\\(?:begin|end) ?\{\w+\}|\\mathbb\{\w+\}")
# takes `1, 2, \ldots` and `1 + ...`, not `0.5`
_ELLIPSIS = re.compile(r"\\ldots(?![a-z])|\.{2,}")
# takes `3.14...` and `3.14\ldots`, not `3...`
_CUT_OFF = re.compile(r"(\d*\.\d+) ?(?:\\ldots|\.{3})$")
# takes `0xFF`, not `10x`
_LITERAL = re.compile(r"(?<![\w.])0[xXbBoO][\da-fA-F]")


def same_date(a: str, b: str) -> bool | None:
    """Return whether two dates are the same, their parts in whatever order; None if they are no dates."""
    if not (_MONTH.search(a) and _MONTH.search(b)):
        return None
    if any(len(_ONE_MONTH.findall(text)) != 1 for text in (a, b)):
        return None
    return _date(a) == _date(b)


def _date(text: str) -> list[str]:
    """Its words and numbers; ordinals as numbers, months by three letters."""
    return sorted(word[:3] if word.isalpha() else word for word in re.findall(r"[a-z]{3,}|\d+", text.lower()))


def same_time(a: str, b: str) -> bool | None:
    """Return whether two times of day are the same; None if they are none. Without am or pm, either may be
    meant."""
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


def phrase(text: str) -> str | None:
    """The set or state that a whole text names, `all real numbers` or `no solution`; None if it is none."""
    text = text.strip()
    if text in (r"\mathbb{R}", r"\mathbb{Z}", r"\emptyset"):
        return text
    if m := _EXCEPT.fullmatch(text):
        return rf"\mathbb{{R}}\setminus\{{{re.sub(' (?:and|or) ', ', ', m[1])}\}}"
    return _PHRASES.get(text.lower())


def number_of(text: str) -> Fraction | None:
    """The number that words spell, `twenty-one`, `minus three`, `two thirds`; None if they spell none."""
    if not text or text[0].isdigit() or not text[0].isalpha():
        return None
    words = re.findall(r"[a-z]+", text.lower())
    if not is_words(text) or len(words) > 20:
        return None
    sign = -1 if words[0] in ("minus", "negative") else 1
    words = words[sign < 0 :]
    value = _value(words)
    return None if value is None else sign * value


def _value(words: list[str]) -> Fraction | None:
    """`half a dozen`, `two and a half million`, `one and two thirds`, `a dozen`, `twelve`."""
    factor = Fraction(1)
    if len(words) > 1 and words[-1] in _MULTIPLES:
        *left, name = words
        part = Fraction(1, 2) if left == ["half", "a"] else _mixed(left)
        if part is not None:
            return part * _MULTIPLES[name]
        if name == "dozen":
            words, factor = ["one"] if left == ["a"] else left, Fraction(12)
    mixed = _mixed(words)
    value = _whole(words) if mixed is None else mixed
    return None if value is None else factor * value


def _mixed(words: list[str]) -> Fraction | None:
    """`half`, `two thirds`, `two and a half`; None for whole numbers."""
    if words == ["half"]:
        return Fraction(1, 2)
    if len(words) < 2 or words[-1] not in _PARTS:
        return None
    whole = 0
    if "and" in words[1:]:
        at = len(words) - 1 - words[::-1].index("and")
        whole, words = _whole(words[:at]), words[at + 1 :]
    above = 1 if words[:-1] in (["a"], ["an"]) else _whole(words[:-1])
    if whole is None or not above or above > 99:
        return None
    return whole + Fraction(above, _PARTS[words[-1]])


def same_ordinal(a: str, b: str) -> bool | None:
    """Return whether `third` is `3rd`; None unless both are ordinals."""
    some, others = (_ORDINALS.get(text.lower()) for text in (a, b))
    digits = [_ORDINAL_DIGITS.fullmatch(text) for text in (a, b)]
    some, others = some or (digits[0] and int(digits[0][1])), others or (digits[1] and int(digits[1][1]))
    return some == others if some and others else None


def in_digits(text: str) -> str:
    """A text that begins with a number in words, with digits in their place."""
    if not is_words(text):
        return text
    parts = text.split(" ")
    for count in range(len(parts), 0, -1):
        value = number_of(" ".join(parts[:count]))
        if value is not None:
            return " ".join([str(value), *parts[count:]])
    return text


def _whole(words: list[str]) -> int | None:
    """`two hundred and five thousand`; None where the words are in no such order."""
    if words and words[0] == "a" and len(words) > 1:
        words = ["one", *words[1:]]
    total, group, last = 0, None, None
    for i, word in enumerate(words):
        if word == "and":
            if last not in ("hundred", *_LARGE) or i == len(words) - 1:
                return None
            continue
        if word in _SMALL:
            fits = group is None or (last == "hundred") or (last in _TENS and 0 < _SMALL[word] < 10)
            if not fits or (last == "zero"):
                return None
            group = (group or 0) + _SMALL[word]
        elif word in _TENS:
            if not (group is None or last == "hundred"):
                return None
            group = (group or 0) + _TENS[word]
        elif word == "hundred":
            if group is None or not 0 < group < 100 or last == "hundred":
                return None
            group *= 100
        elif word in _LARGE:
            if not group or (total and total < 1000 * _LARGE[word]):
                return None
            total, group = total + group * _LARGE[word], None
        else:
            return None
        last = word
    if group is None and not total:
        return None
    return total + (group or 0)


def based(text: str) -> tuple[str, str] | None:
    """Digits, in capitals, and base of `52_8`, `(52)_8` or `52_{eight}`; not of `a_8`."""
    if m := _PREFIXED.fullmatch(text):
        return (m[2].upper(), {"b": "2", "o": "8", "x": "16"}[m[1].lower()])
    m = _BASED.fullmatch(text)
    if not m or not (m[1][0].isdigit() or len(m[1]) > 1) or (not m[1].isupper() and m[1].isalpha()):
        return None
    base = m[2] or m[3]
    named = number_of(base) if base.isalpha() else int(base)
    return None if named is None else (m[1].upper(), str(named))


def are_names(a: str, b: str) -> bool:
    """Return whether both are capitals that no product is meant by: `IX`, `NE`, `AB`."""
    return bool(_TWO_CAPITALS.fullmatch(a) and _TWO_CAPITALS.fullmatch(b))


def joined_otherwise(a: str, b: str) -> bool:
    """Return whether letters stand together in one and are alternatives in the other, `p and q`, `p or q`."""
    if re.search(r"\d", a + b) or not (" and " in a + b and " or " in a + b):
        return False
    return (" and " in a) != (" and " in b) and (" or " in a) != (" or " in b)


def are_ordered(a: str, b: str) -> bool:
    """Return whether their factors may be sets or vectors, which do not commute: `A \\times B`."""
    return bool(_CROSS.search(a) and _CROSS.search(b)) and re.sub(" ", "", a) != re.sub(" ", "", b)


def is_words(text: str) -> bool:
    return bool(_WORDS.fullmatch(text))


def is_prose(text: str) -> bool:
    """Words that are neither the names of functions nor, being short, products of letters."""
    words = re.findall(r"[A-Za-z]+", text)
    return (
        is_words(text)
        and not _MATH_WORDS.intersection(word.lower() for word in words)
        and (any(len(word) >= 3 for word in words) or text.lower() in _SHORT_WORDS)
        and not (len(text) == 3 and "".join(sorted(text)) in _ALPHABET)
    )


def unreadable(text: str) -> bool:
    """Return whether the parser would leave out what matters: terms behind an ellipsis, a literal's base."""
    text = cut_off(text)
    return bool(_ELLIPSIS.search(text) or _LITERAL.search(text))


def cut_off(text: str) -> str:
    """A decimal without the dots that say that it goes on."""
    return _CUT_OFF.sub(r"\1", text)


def differ(a: str, b: str) -> bool:
    """Return whether the words of two texts differ, or if they have any, the order of their numbers."""
    some, others = (_LONG_WORD.findall(_ENVIRONMENT.sub("", text)) for text in (a, b))
    return some != others and any(word[0].isalpha() for word in some + others)
