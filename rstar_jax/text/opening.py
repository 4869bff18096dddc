"""A text's beginning as an automaton over a vocabulary, for `decode.stops`.

State k: the first k characters of what must come are written, and before them nothing but white space. The
same text may be spelt with many tokens, one of which may hold white space before it or what follows it; so
the table says of every token what its own text does in every state.
"""

from __future__ import annotations

import numpy as np

from rstar_jax.text.tokenizer import Tokenizer

_OPEN, _ASTRAY = -1, -2  # the whole of it is written; it never will be
_PART = "\ufffd"  # what a tokenizer writes for a part of a character


def automaton(tokenizer: Tokenizer, text: str, rows: int) -> np.ndarray:
    """The state after each token in each state, int8 [len(text), rows], as `decode.stops.Table` has it.

    text: without white space at its start. rows: of the model's vocabulary; those beyond the tokenizer's are
    no tokens. A token may lose white space when it is decoded alone, so of a text that departs by that alone
    it is not said: what is astray surely is.
    """
    table = np.full((len(text), rows), _ASTRAY, np.int8)
    pieces = [tokenizer.decode([i]) for i in range(min(rows, tokenizer.vocab_size))]
    for i, piece in enumerate(pieces):
        # A character of white space may be written in parts.
        table[0, i] = _after(text, piece.lstrip().lstrip(_PART).lstrip(), 0)
    for state in range(1, len(text)):
        for i, piece in enumerate(pieces):
            if not piece or piece[0] == text[state]:
                table[state, i] = _after(text, piece, state)
    return table


def _after(text: str, piece: str, state: int) -> int:
    rest = text[state:]
    if piece.startswith(rest):
        return _OPEN
    return state + len(piece) if rest.startswith(piece) else _ASTRAY
