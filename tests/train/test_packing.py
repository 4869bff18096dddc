"""Packing keeps every token once, in order, and changes nothing of what the model computes."""

from typing import Any

import flax.nnx as nnx
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AbstractMesh

from rstar_jax.sharding import MESH_AXES, make_mesh
from rstar_jax.train import Example, TrainConfig, policy_loss
from rstar_jax.train.host_rows import Rows, call_tokens
from rstar_jax.train.host_rows import shapes as shapes_of
from rstar_jax.train.packing import Place, Shape, arrange, fits, pack, rows_of, share


def example(rng, n):
    return Example(rng.integers(1, 99, n).astype(np.int32), rng.random(n) < 0.5)


def unpacked(microbatches):
    """(tokens, trained targets) of every segment found in the arrays."""
    for m in microbatches:
        for row in range(len(m["tokens"])):
            for segment in range(1, m["segment_ids"][row].max() + 1):
                here = m["segment_ids"][row] == segment
                assert np.array_equal(m["positions"][row, here], np.arange(here.sum()))
                assert np.array_equal(m["targets"][row, here][:-1], m["tokens"][row, here][1:])
                assert m["weights"][row, here][-1] == 0
                trained = m["weights"][row, here][:-1].astype(bool)
                yield tuple(m["tokens"][row, here]), tuple(trained)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=40), st.integers(1, 4))
def test_no_token_is_lost_and_none_invented(lengths, rows):
    rng = np.random.default_rng(len(lengths))
    examples = [example(rng, n) for n in lengths]
    microbatches = pack(examples, rows, 20)
    assert all(a.shape == (rows, 20) for m in microbatches for a in m.values())
    given_ = sorted((tuple(e.tokens), tuple(e.trained[1:])) for e in examples)
    assert sorted(unpacked(microbatches)) == given_
    for m in microbatches:
        padding = m["segment_ids"] == 0
        assert not m["tokens"][padding].any() and not m["weights"][padding].any()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(1, 10), min_size=1, max_size=4), min_size=1, max_size=15))
def test_groups_stay_together_and_rows_do_not_overlap(groups):
    groups = [g for g in groups if fits(g, 2, 20)] or [[1]]
    places, _ = arrange(groups, [Shape(2, 20)])
    taken = set()
    for group, where in zip(groups, places, strict=True):
        assert len({p.microbatch for p in where}) == 1
        for length, p in zip(group, where, strict=True):
            slots = {(p.microbatch, p.row, t) for t in range(p.start, p.start + length)}
            assert p.start + length <= 20 and not slots & taken
            taken |= slots


def test_decreasing_lengths_waste_little():
    lengths = np.random.default_rng(0).integers(20, 150, 400)
    microbatches = pack([Example(np.ones(n, np.int32), np.ones(n, bool)) for n in lengths], 1, 256)
    assert len(microbatches) <= 1.04 * np.ceil(lengths.sum() / 256)


LENGTHS = st.one_of(
    st.tuples(st.just(8), st.just(4096), st.just(128), st.integers(400, 1000)),  # the paper's policy
    st.tuples(st.just(8), st.just(1024), st.just(128), st.integers(100, 250)),
    st.tuples(st.just(16), st.just(4096), st.just(512), st.integers(500, 1000)),
)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.floats(0.25, 0.5), st.integers(0, 2**31))
def test_less_than_a_twentieth_of_the_steps_tokens_is_padding(case, spread, seed):
    """In the mean of some steps, with lengths as solutions have them, on one device.

    Typical ones are at most a quarter of a row: of those a little over a third of it, two fit a row, and no
    order of them fills it.
    """
    rows, seq_len, batch, typical = case
    shapes, rng, padded, text = shapes_of(Rows.halves(None, rows), seq_len), np.random.default_rng(seed), 0, 0
    for _ in range(20):
        lengths = np.clip(rng.lognormal(np.log(typical), spread, batch), 50, seq_len).astype(int).tolist()
        _, found = arrange([[n] for n in lengths], shapes)
        assert {*found} <= {*shapes} and len(shapes) == 5
        padded, text = padded + sum(shape.size for shape in found), text + sum(lengths)
    assert 1 - text / padded < 0.05


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(1, 256), min_size=1, max_size=4), min_size=1, max_size=20))
def test_smaller_calls_hold_the_same_sequences(groups):
    shapes = shapes_of(Rows.halves(None, 4), 256)
    places, found = arrange(groups, shapes)
    taken = [np.zeros((shape.rows, shape.tokens), bool) for shape in found]
    for group, where in zip(groups, places, strict=True):
        assert len({slot.microbatch for slot in where}) == 1
        for length, slot in zip(group, where, strict=True):
            room = taken[slot.microbatch][slot.row, slot.start : slot.start + length]
            assert len(room) == length and not room.any()
            room[:] = True
    assert sum(map(np.sum, taken)) == sum(map(sum, groups))
    whole = 1 + max(slot.microbatch for where in arrange(groups, [Shape(4, 256)])[0] for slot in where)
    assert sum(shape.size for shape in found) <= (whole + 1) * shapes[0].size
    assert [*found] == sorted(found, key=lambda shape: -shape.size)


def test_where_each_call_gathers_the_weights_there_are_fewer():
    """28 rows of 32 in one call, where another costs as much as 8 rows: not in 16, 8 and 4."""
    shapes, groups = shapes_of(Rows.halves(None, 32), 4096), [[4096]] * 28
    apart = [shape.rows for shape in arrange(groups, shapes)[1]]
    together = [shape.rows for shape in arrange(groups, shapes, shapes[0].size // 4)[1]]
    assert (apart, together) == ([16, 8, 4], [32])
    few = [shape.rows for shape in arrange(groups[:8], shapes, shapes[0].size // 4)[1]]
    assert few == [8]  # a smaller one alone costs less in any case
    # More parts gather more for each token that they compute; those of `tensor` gather less of the weights.
    sizes = ((4, 1, 2, 1, 1), (1, 4, 2, 1, 1), (2, 4, 1, 1, 1), (1, 4, 1, 1, 4))
    meshes: list[Any] = [AbstractMesh(some, MESH_AXES) for some in sizes]
    assert [call_tokens(mesh) // 1024 for mesh in (None, *meshes)] == [0, 0, 4, 8, 16]


def test_calls_become_smaller_as_the_mesh_allows():
    sizes = [(s.rows, s.tokens) for s in shapes_of(Rows.halves(None, 8), 4096)]
    assert sizes == [(8, 4096), (4, 4096), (2, 4096), (1, 4096), (1, 2048)]
    assert [(s.rows, s.tokens) for s in shapes_of(Rows.halves(None, 2), 512)] == [
        (2, 512),
        (1, 512),
        (1, 256),
        (1, 128),
    ]
    kept = [Rows(8, frozenset({1, 2}))]  # of a mesh that divides 8 rows no further
    assert [(s.rows, s.tokens, s.own) for s in shapes_of(kept, 1024)] == [
        (8, 1024 >> k, frozenset({1, 2})) for k in range(4)
    ]
    assert len(shapes_of([Rows(8)], 100)) == 1
    split = shapes_of([Rows(8, context=3)], 3072)  # of which each device holds a third
    assert [s.tokens for s in split] == [3072, 1536, 768, 384]
    assert Rows.on(make_mesh(context=1), 8).context == 1


def test_a_group_that_no_microbatch_holds_is_refused():
    with pytest.raises(ValueError, match=r"\[21\]"):
        arrange([[21]], [Shape(2, 20)])


def test_shares_cover_everything_evenly():
    parts = [share(np.arange(130), i, 4) for i in range(4)]
    assert np.array_equal(np.concatenate(parts), np.arange(130))
    assert {len(p) for p in parts} == {32, 33}


def test_packed_gradient_equals_unpacked(tiny, examples):
    graphdef, params = nnx.split(tiny())
    config = TrainConfig()

    @jax.jit
    @jax.value_and_grad
    def gradient(params, m):
        return policy_loss(nnx.merge(graphdef, params), m, config)["loss"][0]

    def total(microbatches):
        return jax.tree.map(lambda *parts: sum(parts), *[gradient(params, m) for m in microbatches])

    together = total(pack(examples, 2, 32))
    apart = [rows_of([e].__getitem__, [Place(0, 0, 0)], [Shape(2, 32)])[0] for e in examples]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), together, total(apart))
