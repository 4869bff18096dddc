"""Stops and the guard against plain searches through lists of tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax.engine import stops
from rstar_jax.errors import UserError

V, T = 4, 40


@jax.jit
def run(table: stops.Table, state: stops.State, tokens_TxBxN: jax.Array) -> tuple[stops.State, jax.Array]:
    return jax.lax.scan(lambda state, token: stops.step(table, state, token), state, tokens_TxBxN)


def hits(sequences, tokens, guard=0, vocab_size=V):
    """What ends at each of the tokens of one row, the row going on whatever ended."""
    table = stops.build(sequences, vocab_size, guard)
    return run(table, stops.start(table, 1, 1), jnp.asarray(tokens)[:, None, None])[1][:, 0, 0].tolist()


def expected(sequences, tokens, guard):
    found = []
    for t in range(1, len(tokens) + 1):
        seen, hit = tokens[:t], -1
        tail = seen[t - guard :]
        if guard and t >= guard and any(tail[p:] == tail[:-p] for p in range(1, guard // 4 + 1)):
            hit = len(sequences)
        ending = [s for s in sequences if tuple(seen[t - len(s) :]) == s and len(s) <= t]
        found.append(sequences.index(max(ending, key=len)) if ending else hit)
    return found


words = st.lists(st.lists(st.integers(0, V - 1), min_size=1, max_size=4).map(tuple), max_size=5)
# few letters, and pieces repeated, so that much ends
texts = st.lists(
    st.tuples(st.lists(st.integers(0, V - 1), min_size=1, max_size=4), st.integers(1, 9)), min_size=1
).map(lambda parts: [token for piece, times in parts for token in piece * times][:T])


@settings(max_examples=60, deadline=None)
@given(words, texts, st.sampled_from([0, 4, 9, 16]))
def test_hits_are_those_of_a_search_through_the_text(sequences, tokens, guard):
    found = hits(sequences, (tokens + [0] * T)[:T], guard)
    assert found == expected(sequences, (tokens + [0] * T)[:T], guard)


def test_overlapping_beginnings_and_suffixes():
    assert hits([(0, 0, 1)], [0, 0, 0, 1]) == [-1, -1, -1, 0]  # "aab" in "aaab"
    assert hits([(1,), (0, 1)], [0, 1, 1]) == [-1, 1, 0]  # the longest
    assert hits([(0, 1), (0, 1)], [0, 1]) == [-1, 0]  # the first of equals
    assert hits([(0, 1, 2, 3), (1, 2)], [0, 1, 2, 3]) == [-1, -1, 1, 0]  # inside another
    assert hits([(2,), (3,)], [3, 0, 2]) == [1, -1, 0]
    assert hits([], [3, 0, 2]) == [-1, -1, -1]


def test_the_guard_wants_whole_repetitions_of_short_periods():
    assert hits([], [2, 1] * 4, guard=8) == [-1] * 7 + [0]
    assert (
        hits([], [2, 1, 3] * 5, guard=8) == [-1] * 15
    )  # a period of three comes only 2.7 times in eight tokens
    assert hits([], [2, 1, 3] * 5, guard=12) == [-1] * 11 + [0] * 4
    assert hits([(1,)], [1] * 5, guard=4) == [0] * 5  # a stop goes before it


@pytest.mark.parametrize("sequences", [[(1,)], [(1, 2), (0,)]])
def test_rows_are_apart_and_a_fresh_row_has_seen_nothing(sequences):
    table = stops.build(sequences, V, guard=8)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 3, (T, 2, 3)))
    tokens = tokens.at[:, 0, 1].set(3)  # one row repeats
    state, together = run(table, stops.start(table, 2, 3), tokens)
    for b, n in np.ndindex(2, 3):
        assert together[:, b, n].tolist() == hits(sequences, tokens[:, b, n], guard=8)
    # Begun in the midst of a sequence and of a repetition, a row is as at the start; the others go on.
    fresh = jnp.array([[True, True, False], [False, True, False]])
    begun = stops.begin(state, fresh, jnp.zeros(2, jnp.int32))
    for old, new, first in zip(state, begun, stops.start(table, 2, 3), strict=True):
        if old is not None:
            assert (new[fresh] == first[fresh]).all() and (new[~fresh] == old[~fresh]).all()


# "ab", whatever follows, before it any number of spaces.
PIECES = (" ", "a", "b", "ab")
BEGINNING = np.array([[0, 1, -2, -1], [-2, -2, -1, -2]], np.int8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0, 0, 1, 1, 2, 2, 3]), min_size=1, max_size=8), st.booleans())
def test_a_row_ends_where_it_departs_from_its_beginning(tokens, asked):
    table = stops.build([(2, 2)], V, opening=BEGINNING)
    padded = (tokens + [0] * 8)[:8]
    state = stops.begin(stops.start(table, 1, 1), jnp.ones((1, 1), bool), jnp.array([int(asked)]))
    found = run(table, state, jnp.asarray(padded)[:, None, None])[1][:, 0, 0].tolist()
    wanted = hits([(2, 2)], padded)  # a stop goes before it
    for t in range(8):
        text = "".join(PIECES[token] for token in padded[: t + 1]).lstrip()
        if asked and not text.startswith("ab") and not "ab".startswith(text):
            wanted[t] = 2 if wanted[t] < 0 else wanted[t]
            break
    assert found[: t + 1] == wanted[: t + 1]


@pytest.mark.parametrize("opening", [BEGINNING[:, :3], BEGINNING - 1, BEGINNING + 1])
def test_a_beginning_that_is_no_automaton_is_refused(opening):
    with pytest.raises(UserError, match="opening: states"):
        stops.build([], V, opening=opening)


def test_a_sequence_does_not_span_two_candidates():
    table = stops.build([(1, 2)], V)
    state, hit = stops.step(table, stops.start(table, 1, 1), jnp.array([[1]]))
    assert stops.step(table, state, jnp.array([[2]]))[1] == 0
    state = stops.begin(state, jnp.array([[True]]), jnp.array([0]))
    assert stops.step(table, state, jnp.array([[2]]))[1] == hit == -1


@pytest.mark.parametrize(
    ("sequences", "guard", "message"),
    [
        ([(1,), ()], 0, "stop sequence 1: no token given"),
        ([(1, 4)], 0, r"stop sequence 0: \(1, 4\) given, ids below .* 4 expected"),
        ([(-1,)], 0, "stop sequence 0"),
        ([], 3, "decode.guard: 3 given, 0 .off. or at least 4"),
        ([], -1, "decode.guard: -1 given"),
    ],
)
def test_what_cannot_be_matched_is_refused(sequences, guard, message):
    with pytest.raises(UserError, match=message):
        stops.build(sequences, V, guard)
