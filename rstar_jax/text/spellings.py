"""Spellings in a vocabulary of a text that is no token of it, merged with whatever may stand around it."""

from __future__ import annotations

import string
from collections.abc import Sequence

import tokenizers

_ANCHORS = ("", "x", "1", "\n", " ")  # what may stand before the text before a stop
# Kinds of beginnings and ends of a stop, the shortest text first; their product bounds the automaton.
_BEGINS, _ENDS = 128, 48
_Ids = tuple[int, ...]


def spellings(backend: tokenizers.Tokenizer, text: str, vocab_size: int) -> list[_Ids]:
    """Sequences of ids that hold the text, the first token with what may come before, the last with what may
    follow; without the first or the last it is not whole.

    As the vocabulary merges: `backend` must not split the text off. vocab_size: one more than its highest id.
    """
    pieces = backend.decode_batch([[i] for i in range(vocab_size)], skip_special_tokens=False)
    found: set[_Ids] = {(i,) for i, piece in enumerate(pieces) if text in piece}
    before, after = {*string.printable, ""}, {*string.printable, "", "\n\n", "\r\n"}
    for piece in pieces:
        if text[0] not in piece and text[-1] not in piece:  # most, of a large vocabulary
            continue
        for k in range(1, len(text) + 1):
            if piece.endswith(text[:k]):
                before.add(piece[:-k])
            if piece.startswith(text[-k:]):
                after.add(piece[k:])
    lefts = [anchor + left for left in sorted(sorted(before), key=len) for anchor in _ANCHORS]
    rights = sorted(sorted(after), key=len)
    # One of each kind of beginning with one of each kind of end.
    begins = list(_distinct(backend, [(left, "\n") for left in lefts], text).values())[:_BEGINS]
    ends = list(_distinct(backend, [("\n", right) for right in rights], text).values())[:_ENDS]
    found |= _distinct(backend, [(left, right) for left, _ in begins for _, right in ends], text).keys()
    return sorted(found)


def _distinct(
    backend: tokenizers.Tokenizer, around: Sequence[tuple[str, str]], text: str
) -> dict[_Ids, tuple[str, str]]:
    """The sequences of ids that hold the text, each with the first surroundings that gave it."""
    found: dict[_Ids, tuple[str, str]] = {}
    encoded = backend.encode_batch([left + text + right for left, right in around], add_special_tokens=False)
    for (left, right), encoding in zip(around, encoded, strict=True):
        begin, end = len(left), len(left) + len(text)
        ids = [i for i, (a, b) in zip(encoding.ids, encoding.offsets, strict=True) if a < end and b > begin]
        if text in backend.decode(ids, skip_special_tokens=False):
            found.setdefault(tuple(ids), (left, right))
    return found
