r"""The normal form of questions, for comparing them; nobody reads it and nobody trains on it.

Two questions are the same where their normal forms are equal (`forms.normalise` makes them):

1. Unicode: NFKC (the sign for "fi" is two letters); dashes, quotes and signs as ASCII or TeX writes them;
   lower case.
2. Markup goes: `$`, `\(`, `\[`, `\,`, `\\`, `&`, `~`, quotes, `**`, `[b]`, `\begin{align}`, `\tag{1}`,
   backslashes, and commands that say how a thing looks (`\left`, `\displaystyle`, `\text`, `\quad`). What TeX
   spells in several ways is spelt in one: `\dfrac` as `frac`, `\leqslant` as `le`, `\cdots` as `dots`.
3. Braces around one character or command go (`x^{2}`, `{\pi}`), and commas that group thousands (1,200).
4. White space goes, and full stops and the like at the end.

This file holds what is known of spellings, `forms.py` the work on bytes.
"""
# ruff: noqa: RUF001

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_SIGNS = {
    "×": "times", "·": "cdot", "⋅": "cdot", "÷": "div", "≤": "le", "≥": "ge", "≠": "ne", "π": "pi",
    "∞": "infty", "√": "sqrt", "∠": "angle", "△": "triangle", "…": "dots",
}  # fmt: skip
_CHARACTERS = {
    **dict.fromkeys(map(ord, "‐‑‒–—−"), "-"),
    **dict.fromkeys(map(ord, "‘’´“”„"), "'"),
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\ufeff\u00ad"), ""),
    **{ord(sign): f"\\{name} " for sign, name in _SIGNS.items()},
    ord("°"): "^\\circ ",
}
_LOOKS = """
    left right middle big bigg bigl bigr biggl biggr displaystyle textstyle limits nolimits text textbf textit
    textrm textnormal textsf emph underline mathrm mathbf mathit mathsf mathtt mathbb mathcal mathfrak mbox
    hbox operatorname boldsymbol bold rm bf it quad qquad noindent
"""
# Which letters of a command stay, from where and how many: `\dfrac` is "frac", `\leqslant` is "le".
COMMANDS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(
        ("dfrac", "tfrac", "cfrac", "dbinom", "tbinom", "cdots", "ldots", "bmod", "pmod"), (1, 99)
    ),
    **dict.fromkeys(("leq", "leqslant", "geq", "geqslant", "neq"), (0, 2)),
    **dict.fromkeys(("dotsc", "dotsb", "dotsm"), (0, 4)),
    **dict.fromkeys(("varphi", "vartheta", "varepsilon", "varrho"), (3, 99)),
    **dict.fromkeys(_LOOKS.split(), (0, 0)),
}
_UNITS = """
    two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty
"""
_TENS = "thirty forty fifty sixty seventy eighty ninety"
_SHARES = "half third fourth fifth sixth seventh eighth ninth tenth twice double thrice triple"
# Words for numbers, as digits where they have some. "one", "first" and "second" are mostly no numbers.
NUMBER_WORDS: dict[str, str] = {
    **{word: str(number) for number, word in enumerate(_UNITS.split(), 2)},
    **{word: str(10 * number) for number, word in enumerate(_TENS.split(), 3)},
    **{"hundred": "100", "thousand": "1000", "million": "1000000"},
    **{word: word for word in _SHARES.split()},
}
# "\begin{align*}" and "\tag{1}" go with what is in their braces, "\begin x" does not.
_ENVIRONMENT = re.compile(r"\\(?:begin|end|tag|label|hspace|vspace)\*?\{[^}\0]{0,20}\}")
# "[b]", "[/list]" and "[*]" are markup of forums, "[a, b]" is not.
_FORUM = re.compile(r"\[(?:/?(?:b|i|u|hide|list|center)|\*)\]")
# The comma of "1,200" groups, those of "1,20", "1, 200" and "1,2000" do not.
_GROUPING = re.compile(r",(?<=\d,)(?=\d{3}(?!\d))")


# NFKC alone makes "10\u00b2" 102 and "2\u00bd" 21/2.
_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u207f]+|[\u2080-\u208e]+|[\u00bc-\u00be\u2150-\u215e]")


_PRIMES = re.compile(r"(?<=[a-z])'+\(")  # "f'(x)", not "f(x)'"


def _as_primes(found: re.Match[str]) -> str:
    count = len(found[0]) - 1
    return "^\\prime (" if count == 1 else "^{" + "\\prime " * count + "}("


def _as_tex(found: re.Match[str]) -> str:
    """Spell raised and lowered characters and fractions as TeX does: "^{12}", "_{n}", "\\frac{1}{2}"."""
    plain = unicodedata.normalize("NFKC", found[0]).replace("\u2212", "-")
    if "\u2044" in plain:
        above, _, below = plain.partition("\u2044")
        return f"\\frac{{{above}}}{{{below}}}"
    sign = "_" if "\u2080" <= found[0][0] <= "\u208e" else "^"
    return f"{sign}{{{plain}}}"


def join(texts: Sequence[str]) -> str:
    """Return the texts in lower case, a zero byte before each and behind the last.

    Rules that look at several characters are done; those of characters and commands are `forms.forms`' own.
    """
    plain = [text if text.isascii() else _plain(text) for text in texts]
    joined = "\0".join(["", *plain, ""]).lower()
    if joined.count("\0") != len(plain) + 1:
        joined = "\0".join(["", *(text.replace("\0", " ") for text in plain), ""]).lower()
    if "..." in joined:
        joined = joined.replace("....", "...").replace("...", "\\dots ")
    if "[" in joined:
        joined = _FORUM.sub(" ", joined)
    if "**" in joined:
        joined = joined.replace("**", " ")
    if "\\" in joined:
        joined = _ENVIRONMENT.sub(" ", joined).replace(",\\!", ",")
    if "'(" in joined:  # a derivative, not an apostrophe
        joined = _PRIMES.sub(_as_primes, joined)
    joined = joined.replace("{,}", ",")
    return _GROUPING.sub("", joined)


def _plain(text: str) -> str:
    """Return a text that is not ASCII with its signs as ASCII and TeX write them."""
    text = _RAISED.sub(_as_tex, text).translate(_CHARACTERS)
    text = unicodedata.normalize("NFKC", text).translate(_CHARACTERS)
    return text.encode(errors="replace").decode()  # a lone surrogate has no bytes
