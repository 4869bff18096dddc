"""The end of a candidate: stop sequences, a repetition guard and a beginning that it must have, matched on
the device token by token.

Sequences are met by one automaton (Aho and Corasick 1975) over the few tokens that occur in them: three
look-ups per row and step, however many sequences there are. Where all are single tokens there is none, only a
comparison. Only tokens given to `step` since a row's `begin` count: nothing matches across a prefix's end.

A beginning is an automaton over all tokens, handed in as a table, so that it may be one of texts, however the
vocabulary spells these. What departs from it can never become what is wanted: no token more is spent on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax.errors import UserError

REPEATS = 4  # whole times that a period must come before the guard calls it a repetition
OPEN, ASTRAY = -1, -2  # of a beginning: there or not asked for, and departed from


class Table(NamedTuple):
    """Tables to match against, built once; None where there is nothing to match.

    single: the stops, if all are single tokens. kind: the class of each token of the vocabulary, 0 for one in
    no sequence. next: the state after a class. end: the longest sequence that ends at a state, -1 for none.
    need: for each period 1, 2, … how many tokens in a row must equal the one a period before. guard: the hit
    of the repetition guard. opening: the state of the beginning after each token, in states 0 (nothing is
    written), 1, …; OPEN, once it is there, or ASTRAY. astray: the hit of one that is.
    """

    single: jax.Array | None  # int32 [K]
    kind: jax.Array | None  # int32 [V]
    next: jax.Array | None  # int32 [states, classes]
    end: jax.Array | None  # int32 [states]
    need: jax.Array | None  # int32 [P]
    guard: jax.Array | None  # int32 []
    opening: jax.Array | None  # int8 [states, V]
    astray: jax.Array | None  # int32 []


NOTHING = Table(None, None, None, None, None, None, None, None)


class State(NamedTuple):
    """Matching state of each row. at: state of the automaton. recent: the last P tokens, newest first; -1
    before the first. run: for each period, how many tokens in a row equalled the one a period before. begun:
    state of the beginning."""

    at: jax.Array | None  # int32 [B, N]
    recent: jax.Array | None  # int32 [B, N, P]
    run: jax.Array | None  # int32 [B, N, P]
    begun: jax.Array | None  # int32 [B, N]


def build(
    sequences: Sequence[Sequence[int]],
    vocab_size: int,
    guard: int = 0,
    opening: np.ndarray | None = None,
) -> Table:
    """A table for these stops; hits are indices into `sequences`, len(sequences) for the guard, and one more
    for a beginning that is not as it must be.

    Of several sequences that end at one token the longest is the hit; of equal ones the first.
    guard: ends a candidate whose last `guard` tokens repeat one period of 1 to guard // 4 tokens; 0: off.
    opening: as in `Table`, for rows that `begin` asks it of; None: there is none.
    Raises UserError for an empty sequence, ids outside of the vocabulary, a guard below 0 or from 1 to 3.
    """
    if guard < 0 or 0 < guard < REPEATS:
        raise UserError(f"decode.guard: {guard} given, 0 (off) or at least {REPEATS} tokens expected.")
    for i, sequence in enumerate(sequences):
        if not len(sequence):
            raise UserError(f"stop sequence {i}: no token given, at least one expected.")
        if min(sequence) < 0 or max(sequence) >= vocab_size:
            raise UserError(
                f"stop sequence {i}: {tuple(sequence)} given, ids below the model's vocabulary of "
                f"{vocab_size} expected."
            )
    table = NOTHING
    if opening is not None:
        states, tokens = opening.shape
        if tokens != vocab_size or opening.min() < ASTRAY or opening.max() >= states:
            raise UserError(
                f"opening: states {opening.min()} to {opening.max()} of {states} for {tokens} tokens given, "
                f"{ASTRAY} to {states - 1} for the model's vocabulary of {vocab_size} expected."
            )
        table = table._replace(opening=jnp.asarray(opening, jnp.int8), astray=jnp.int32(len(sequences) + 1))
    if guard:
        need = guard - np.arange(1, guard // REPEATS + 1)
        table = table._replace(need=jnp.asarray(need, jnp.int32), guard=jnp.int32(len(sequences)))
    if all(len(sequence) == 1 for sequence in sequences):
        return table._replace(single=jnp.array([s[0] for s in sequences], jnp.int32)) if sequences else table
    kind = np.zeros(vocab_size, np.int32)
    used = sorted({token for sequence in sequences for token in sequence})
    kind[used] = np.arange(1, len(used) + 1)
    following, end = _automaton([kind[list(s)].tolist() for s in sequences], len(used) + 1)
    return table._replace(kind=jnp.asarray(kind), next=jnp.asarray(following), end=jnp.asarray(end))


def _automaton(words: list[list[int]], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The state after each (state, class), int32 [S, classes], and the word that ends at each state, [S]."""
    children: list[dict[int, int]] = [{}]
    end = [-1]
    for i, word in enumerate(words):
        state = 0
        for letter in word:
            if letter not in children[state]:
                children[state][letter] = len(children)
                children.append({})
                end.append(-1)
            state = children[state][letter]
        if end[state] < 0:
            end[state] = i
    following = np.zeros((len(children), classes), np.int32)
    suffix = [0] * len(children)  # the state of the longest proper suffix that some word starts with
    queue = deque([0])
    while queue:
        state = queue.popleft()
        if state:  # of a shorter word than its own, hence whole already
            following[state] = following[suffix[state]]
            if end[state] < 0:
                end[state] = end[suffix[state]]
        for letter, child in children[state].items():
            suffix[child] = int(following[state, letter])
            following[state, letter] = child
            queue.append(child)
    return following, np.array(end, np.int32)


def start(table: Table, B: int, N: int) -> State:
    """Rows that have seen nothing, and may begin as they like."""
    at = None if table.next is None else jnp.zeros((B, N), jnp.int32)
    begun = None if table.opening is None else jnp.full((B, N), OPEN, jnp.int32)
    if table.need is None:
        return State(at, None, None, begun)
    shape = (B, N, len(table.need))
    return State(at, jnp.full(shape, -1, jnp.int32), jnp.zeros(shape, jnp.int32), begun)


def begin(state: State, fresh_BxN: jax.Array, opens_B: jax.Array) -> State:
    """The state with the rows of the mask as at the start. opens: the leaves, by number other than 0, whose
    rows must begin as the table says."""

    def reset(a: jax.Array | None, value: int | jax.Array) -> jax.Array | None:
        if a is None:
            return None
        return jnp.where(fresh_BxN.reshape(fresh_BxN.shape + (1,) * (a.ndim - 2)), value, a)

    first = jnp.where(opens_B != 0, 0, OPEN)[:, None]
    return State(reset(state.at, 0), reset(state.recent, -1), reset(state.run, 0), reset(state.begun, first))


def step(table: Table, state: State, token_BxN: jax.Array) -> tuple[State, jax.Array]:
    """The state after one more token in each row, and what it ended: hits int32 [B, N] as `build` numbers
    them, -1 for none. A stop goes before a beginning, and that before the guard."""
    hit = jnp.full(token_BxN.shape, -1, jnp.int32)
    at, recent, run, begun = state
    if table.need is not None:
        assert recent is not None and run is not None and table.guard is not None
        run = jnp.where(recent == token_BxN[..., None], run + 1, 0)
        recent = jnp.concatenate([token_BxN[..., None], recent[..., :-1]], axis=-1)
        hit = jnp.where(jnp.any(run >= table.need[None, None], axis=-1), table.guard, hit)
    if table.opening is not None:
        assert begun is not None and table.astray is not None
        following = table.opening[jnp.maximum(begun, 0), token_BxN].astype(jnp.int32)
        begun = jnp.where(begun == OPEN, OPEN, following)
        hit = jnp.where(begun == ASTRAY, table.astray, hit)
    if table.single is not None:
        equal = token_BxN[..., None] == table.single[None, None]
        stop = jnp.argmax(equal, axis=-1).astype(jnp.int32)
        hit = jnp.where(jnp.any(equal, axis=-1), stop, hit)
    if table.next is not None:
        assert table.kind is not None and table.end is not None
        at = table.next[at, table.kind[token_BxN]]
        hit = jnp.where(table.end[at] >= 0, table.end[at], hit)
    return State(at, recent, run, begun), hit
