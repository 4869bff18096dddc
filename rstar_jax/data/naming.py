"""Names of variables from the words of a sentence: `24 clips in May` is `clips_may`."""

from __future__ import annotations

import builtins
import itertools
import keyword
import re
import unicodedata

_WORDS = 3  # of a name
_WORD = re.compile("[A-Za-z]+")
_POSSESSIVE = re.compile(r"['\u2019]\w*")
# Where the words after a result cease to name it: "8 more than yesterday", "9 pens, so".
_CLAUSE_END = re.compile(
    r"[.,;:!?(=]|\d|\$|\b(?:than|because|since|if|so|while|which|that|and|plus|or|to|after|before|when|but)\b"
)
_SAY_NOTHING = """
a an the of in on at to for from by with and or but so if then than that this these those there it its
is are was were be been being has have had do does did will would can could should must may might each
she he they her his their him them we you our your my who which what when where while because since
after before as into out up also only just now still therefore thus hence means meaning
all both total totals altogether equal equals equation calculate find first second next finally need
needs how many much more day"""
_SAY_LITTLE = "days per"  # a name only beside another word
_EMPTY, _WEAK = frozenset(_SAY_NOTHING.split()), frozenset(_SAY_LITTLE.split())
_TAKEN = frozenset({*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "math"})


def name_of(before: str, after: str, taken: set[str]) -> str:
    """A name for a number from the sentence around it: what stands before and after, none of `taken`."""
    following = _content(_CLAUSE_END.split(after.lstrip(" %"), maxsplit=1)[0])[:_WORDS]
    last_clause = re.split(r"[.,;:!?](?=\s)", before.strip(" ,;:"))[-1]
    leading = (_content(last_clause) or _content(before))[-2:]
    words = following if set(following) - _WEAK else [*leading, *following][:_WORDS] or ["result"]
    for some in (words, [*leading[-1:], *following[:2]], [*leading, *following[:2]]):
        name = "_".join(dict.fromkeys(some))
        if name and name not in taken | _TAKEN:
            return name
    name = "_".join(dict.fromkeys(words))
    return next(each for i in itertools.count(2) if (each := f"{name}_{i}") not in taken)


def _content(text: str) -> list[str]:
    """The words that say something, in small letters of ASCII; of "Tom's" the first part."""
    plain = unicodedata.normalize("NFKD", _POSSESSIVE.sub("", text)).encode("ascii", "ignore").decode()
    words = [word.lower() for word in _WORD.findall(plain)]
    found = [word for word in words if len(word) > 1 and word not in _EMPTY]
    return found[:-1] if found[-1:] == ["per"] else found
