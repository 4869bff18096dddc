"""What questions are compared by, made for thousands at once: normal forms, numbers, windows and words.

Texts lie behind each other as bytes, and every rule is a few passes of numpy over all of them. With a regular
expression a rule, the normal form alone took three times as long as all of this (docs/LOG.md).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from rstar_jax.data.clean.rows import WINDOW, Rows, eights, hash_spans, mix
from rstar_jax.data.clean.spelling import COMMANDS, NUMBER_WORDS, join

_DRAWING = re.compile(rb"\[asy\].*?(?:\[/asy\]|\0)", re.DOTALL)


def _table(characters: str) -> np.ndarray:
    table = np.zeros(256, bool)
    table[[ord(c) for c in characters]] = True
    return table


_LETTER, _DIGIT, _KEPT, _SHINGLED = (
    np.uint8(1),
    np.uint8(2),
    np.uint8(4),
    np.uint8(8),
)  # bits of a byte's class
_GOES_WITH_BACKSLASH = _table(",;:!> \n()[]$")
_PUNCTUATION = _table(".,;:?")


def _classes() -> bytes:
    letters = _table("abcdefghijklmnopqrstuvwxyz") | (np.arange(256) >= 128)  # bytes of other alphabets, too
    digits = _table("0123456789")
    kept = ~_table("\0 \t\n\r\f\v$&~\\'\"`")
    # What a formula says without its brackets and punctuation, of which sources have their own ideas.
    shingled = letters | digits | _table("+-*/=<>^!|%")
    return (letters * _LETTER + digits * _DIGIT + kept * _KEPT + shingled * _SHINGLED).tobytes()


_CLASSES = _classes()


@dataclasses.dataclass(frozen=True)
class Forms:
    """What texts are compared by; drawings (`[asy]`) count in the first three only.

    normal: bytes of the normal forms (`spelling.py`). exact: [texts] uint64, their hashes.
    numbers: hashes of the numbers in each text, "six" as that of "6", in their order.
    windows: hashes of every 8 bytes of its letters, digits and operators, without all else.
    masked: the same where each number is a 0. words: hashes of its runs of letters or of digits.
    """

    normal: Rows
    exact: np.ndarray
    numbers: Rows
    windows: Rows
    masked: Rows
    words: Rows


def forms(texts: Sequence[str], *, compare: bool = True) -> Forms:
    """Read texts; a thousand a call are fastest, and take about 60 bytes of memory a character.

    compare: make `masked` and `words`, too, which only a comparison with benchmarks needs; else no values.
    """
    data = join(texts).encode() + bytes(WINDOW)
    raw = np.frombuffer(data, np.uint8)
    bounds = np.flatnonzero(raw[:-WINDOW] == 0)  # the zero before each text, and the last
    classes = np.frombuffer(data.translate(_CLASSES), np.uint8)  # four times as fast as indexing a table
    kind, kept = classes & (_LETTER | _DIGIT), (classes & _KEPT) > 0
    edges = np.flatnonzero(kind[1:] != kind[:-1]) + 1
    starts, ends, kinds = edges[:-1], edges[1:], kind[edges[:-1]]
    starts, ends, kinds = starts[kinds > 0], ends[kinds > 0], kinds[kinds > 0]

    ends = _spell_commands(raw, kept, starts, ends)
    _drop_markup(raw, kept, bounds)
    outside = np.ones(len(raw), bool)
    for found in _DRAWING.finditer(data):
        outside[found.start() : found.end()] = False

    words = hash_spans(raw, starts, ends)
    numeral = kinds == _DIGIT
    spelt = _find(words, _NUMBER_KEYS)
    words_as_numbers = np.where(spelt >= 0, _NUMBER_VALUES[spelt], words)
    spelt = spelt >= 0
    owners = Rows(words, np.searchsorted(starts, bounds))

    normal = _compress(raw, kept, bounds)
    shingled = kept & outside & ((classes & _SHINGLED) > 0)
    stream = _compress(raw, shingled, bounds)
    masked = Rows(np.zeros(0, np.uint64), np.zeros(len(bounds), np.int64))
    seen = np.zeros(len(starts), bool)
    if compare:
        number = (kind == _DIGIT) | _spans(len(raw), starts[spelt], ends[spelt])
        masked = _windows(_mask(stream, number[shingled]))
        seen = outside[starts] & kept[starts] & (ends > starts)
    return Forms(
        normal=normal,
        exact=normal.hashes(),
        numbers=Rows(words_as_numbers, owners.offsets).where(numeral | spelt),
        windows=_windows(stream),
        masked=masked,
        words=owners.where(seen),
    )


def normalise(text: str) -> str:
    r"""Return the normal form of a text: "Find  $x^{2}$." and "find \(x^2\)" both become "findx^2"."""
    return forms([text]).normal.values.tobytes().decode(errors="replace")


def _hash_words(words: Sequence[str]) -> np.ndarray:
    raw = np.frombuffer("\0".join(words).encode() + bytes(WINDOW), np.uint8)
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    return hash_spans(raw, ends - [len(word) for word in words], ends)


def _sorted_table(words: Sequence[str], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keys = _hash_words(words)
    order = np.argsort(keys)
    return keys[order], values[order]


def _find(values: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return where in the sorted `keys` each value is, -1 where it is not."""
    found = np.full(len(values), -1)
    some = np.zeros(1 << 16, bool)  # most values are none of the keys, as their first bits say
    some[(keys >> np.uint64(48)).astype(np.int64)] = True
    likely = np.flatnonzero(some[(values >> np.uint64(48)).astype(np.int64)])
    places = np.minimum(np.searchsorted(keys, values[likely]), len(keys) - 1)
    same = keys[places] == values[likely]
    found[likely[same]] = places[same]
    return found


_COMMAND_KEYS, _COMMAND_LETTERS = _sorted_table(list(COMMANDS), np.array(list(COMMANDS.values())))
_NUMBER_KEYS, _NUMBER_VALUES = _sorted_table(list(NUMBER_WORDS), _hash_words(list(NUMBER_WORDS.values())))


def _spans(size: int, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Mark spans that do not overlap: [size] bool."""
    change = np.zeros(size + 1, np.int8)
    change[starts] += 1
    change[ends] -= 1
    return np.cumsum(change[:size], dtype=np.int8).astype(bool)


def _compress(raw: np.ndarray, kept: np.ndarray, bounds: np.ndarray) -> Rows:
    places = np.flatnonzero(kept)
    return Rows(raw[places], np.searchsorted(places, bounds))


def _spell_commands(raw: np.ndarray, kept: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Take from `kept` the letters of commands that go; moves `starts` of words and returns their ends."""
    commands = np.flatnonzero(raw[starts - 1] == ord("\\"))
    braces = commands[(raw[starts[commands] - 2] == ord("{")) & (raw[ends[commands]] == ord("}"))]
    kept[starts[braces] - 2] = kept[ends[braces]] = False  # `^{\circ}`
    found = _find(hash_spans(raw, starts[commands], ends[commands]), _COMMAND_KEYS)
    commands, letters = commands[found >= 0], _COMMAND_LETTERS[found[found >= 0]]
    begin, end = starts[commands], ends[commands]
    first = begin + letters[:, 0]
    last = np.minimum(end, first + letters[:, 1])
    for left, right in ((begin, first), (last, end)):
        some = left < right
        kept &= ~_spans(len(raw), left[some], right[some])
    starts[commands], ends = first, ends.copy()
    ends[commands] = last
    return ends


def _drop_markup(raw: np.ndarray, kept: np.ndarray, bounds: np.ndarray) -> None:
    """Take from `kept` what a backslash goes with, braces around one character, and punctuation at ends."""
    slashes = np.flatnonzero(raw[:-1] == ord("\\"))
    kept[slashes[_GOES_WITH_BACKSLASH[raw[slashes + 1]]] + 1] = False
    places = np.flatnonzero(kept)
    opened = np.flatnonzero(raw[places[:-2]] == ord("{"))
    first, inner, last = places[opened], raw[places[opened + 1]], places[opened + 2]
    pairs = (raw[last] == ord("}")) & (inner != ord("{")) & (inner != ord("}"))
    pairs &= np.searchsorted(bounds, first) == np.searchsorted(bounds, last)  # of one text
    kept[first[pairs]] = kept[last[pairs]] = False
    places = np.flatnonzero(kept)
    begin, last = np.searchsorted(places, bounds[:-1]), np.searchsorted(places, bounds[1:]) - 1
    for _ in range(3):
        trailing = last >= begin
        trailing[trailing] = _PUNCTUATION[raw[places[last[trailing]]]]
        kept[places[last[trailing]]] = False
        last = last - trailing


def _mask(stream: Rows, numeral: np.ndarray) -> Rows:
    """Make each number, whose bytes `numeral` marks, one 0."""
    zeros = Rows(np.where(numeral, np.uint8(ord("0")), stream.values), stream.offsets)
    again = np.zeros(len(numeral), bool)
    again[1:] = numeral[1:] & numeral[:-1]
    first = stream.offsets[:-1]
    again[first[first < len(again)]] = False
    return zeros.where(~again)


def _windows(stream: Rows) -> Rows:
    """Hash every window of WINDOW bytes; a text that is shorter has none."""
    size = len(stream.values)
    view = eights(np.concatenate([stream.values, np.zeros(WINDOW - 1, np.uint8)]))
    whole = np.ones(size, bool)
    for back in range(1, WINDOW):  # those that begin so near the end of a text reach into the next
        last = stream.offsets[1:] - back
        whole[last[last >= 0]] = False
    windows = Rows(view[:size], stream.offsets).where(whole)
    return Rows(mix(windows.values), windows.offsets)
