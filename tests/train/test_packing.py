"""Packing keeps every token once, in order, and changes nothing of what the model computes."""

import flax.nnx as nnx
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax.train import Example, TrainConfig, policy_loss
from rstar_jax.train.packing import Place, fits, pack, place, rows_of, share


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
    places = place(groups, 2, 20)
    taken = set()
    for group, where in zip(groups, places, strict=True):
        assert len({p.microbatch for p in where}) == 1
        for length, p in zip(group, where, strict=True):
            slots = {(p.microbatch, p.row, t) for t in range(p.start, p.start + length)}
            assert p.start + length <= 20 and not slots & taken
            taken |= slots


def test_first_fit_decreasing_wastes_little():
    lengths = np.random.default_rng(0).integers(20, 150, 400)
    microbatches = pack([Example(np.ones(n, np.int32), np.ones(n, bool)) for n in lengths], 1, 256)
    assert len(microbatches) <= 1.04 * np.ceil(lengths.sum() / 256)


def test_a_group_that_no_microbatch_holds_is_refused():
    with pytest.raises(ValueError, match=r"\[21\]"):
        place([[21]], 2, 20)


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
    apart = [rows_of([e].__getitem__, [Place(0, 0, 0)], 2, 32)[0] for e in examples]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), together, total(apart))
