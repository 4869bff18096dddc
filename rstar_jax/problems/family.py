"""Definition of a family of the embedded suite: parameters, phrasings, an answer, and the steps of a
solution.

A family is data. Its texts are `str.format` templates over the parameters of one instance; a step
carries the right code and the habits that a weak model has in its place.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import random
import string
from collections.abc import Callable
from typing import Literal

Split = Literal["train", "heldout"]
Params = dict[str, int | str]

# The habit of leaving a step out altogether.
FORGET = ""
# One parameter tuple in five is held out, whatever the seed.
_HELDOUT_SHARE = 0.2
_PEOPLE = ("Ann", "Ben", "Eva", "Leo", "Mia", "Sam", "Tom", "Zoe")
_WARES = ("pens", "books", "mugs", "toys", "caps", "maps")


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a worked solution.

    thought: the comment, in a few words. code: one to three lines of Python.
    habits: what a weak model writes in place of `code`, likeliest first; FORGET leaves the step out.
    """

    thought: str
    code: str
    habits: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Instance:
    """One problem of a family: its parameters in words and numbers, and which phrasing asks it."""

    family: str
    params: Params
    phrasing: int
    question: str
    answer: str


@dataclasses.dataclass(frozen=True)
class Family:
    """A kind of problem.

    draw: parameters of a random instance; those that the question shows decide its split.
    phrasings: templates of the question; {who} and {what} are a person and a thing.
    answer: the reference from the same parameters, by another way than the steps where there is one.
    result: the name that the last step prints.
    """

    name: str
    level: int
    draw: Callable[[random.Random], Params]
    phrasings: tuple[str, ...]
    answer: Callable[..., object]
    steps: tuple[Step, ...]
    result: str

    @functools.cached_property
    def shown(self) -> tuple[str, ...]:
        """The parameters that a question tells: two instances that ask the same agree in them."""
        fields = {name for text in self.phrasings for _, name, _, _ in string.Formatter().parse(text) if name}
        return tuple(sorted(fields - {"who", "what"}))

    def instance(self, rng: random.Random, split: Split) -> Instance:
        """A random instance of `split`: parameters are drawn again until they belong to it."""
        while True:
            params = self.draw(rng)
            if split_of(self.name, {key: params[key] for key in self.shown}) == split:
                break
        phrasing = rng.randrange(len(self.phrasings))
        dress = {"who": rng.choice(_PEOPLE), "what": rng.choice(_WARES)}
        question = self.phrasings[phrasing].format(**params, **dress)
        return Instance(self.name, params, phrasing, question, str(self.answer(**params)))


def split_of(family: str, params: Params) -> Split:
    """The one split that a parameter tuple belongs to, from a hash: no seed can move it."""
    text = f"{family}:{sorted(params.items())}"
    share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
    return "heldout" if share < _HELDOUT_SHARE else "train"
