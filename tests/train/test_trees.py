"""Trees of token sequences: nothing is lost, nothing repeats, and a model reads each sequence as if alone."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.losses import LOSSES
from rstar_jax.models import DecoderConfig, from_policy, init_random
from rstar_jax.models.config import Rope
from rstar_jax.train import TrainConfig, ppm_loss
from rstar_jax.train.host_rows import Rows
from rstar_jax.train.ppm import PpmBatches
from rstar_jax.train.pqm import PqmBatches, Way, pqm_loss
from rstar_jax.train.tree_packing import Outline
from rstar_jax.train.tree_rows import Groups, Ragged, Steps, by_question, shapes
from rstar_jax.train.trees import divided, token_tree

VOCAB = 24
CONFIG = TrainConfig(epochs=1, batch=64, seq_len=96, microbatch=4)
BASE = DecoderConfig(vocab_size=VOCAB, width=16, layers=2, heads=4, kv_heads=2, head_dim=8, mlp=32)
# What of attention differs between families.
FAMILIES = {
    "grouped": BASE,
    "window": dataclasses.replace(BASE, window=7, sliding=(True, False), attention_softcap=5.0),
    "long texts": dataclasses.replace(
        BASE,
        max_positions=128,
        rope=Rope(
            kind="longrope",
            original_max_position_embeddings=20,
            short_factor=(1.0,) * 4,
            long_factor=(1.0, 2.0, 3.0, 4.0),
        ),
    ),
}


def sequences(seed: int, count: int = 12) -> list[np.ndarray]:
    """Sequences of 4 to 32 tokens that go on from each other, or end within each other."""
    rng = np.random.default_rng(seed)
    found = [rng.integers(1, VOCAB, 12).astype(np.int32)]
    while len(found) < count:
        one = found[rng.integers(len(found))]
        more = rng.integers(1, VOCAB, rng.integers(0, 8))
        found.append(np.r_[one[: rng.integers(4, len(one) + 1)], more].astype(np.int32)[:32])
    return found


def test_a_tree_has_each_sequence_and_no_token_twice() -> None:
    for seed in range(30):
        some = sequences(seed)
        tree = token_tree(some)
        for ids, last in zip(some, tree.lasts, strict=True):
            path = tree.path(int(last))
            np.testing.assert_array_equal(tree.tokens[path], ids)
            np.testing.assert_array_equal(tree.depths[path], np.arange(len(ids)))
        assert len(tree.tokens) == len({tuple(ids[:n]) for ids in some for n in range(1, len(ids) + 1)})


def test_items_that_do_not_fit_one_tree_are_divided_by_what_they_share() -> None:
    rng = np.random.default_rng(0)
    trunks = rng.integers(1, VOCAB, (3, 40)).astype(np.int32)
    items = [[np.r_[trunk, rng.integers(1, VOCAB, 5)].astype(np.int32)] for trunk in trunks for _ in range(4)]
    order = rng.permutation(len(items))
    groups = divided([items[i] for i in order], room=60, most=100)
    assert sorted(sorted(int(order[i]) // 4 for i in group) for group in groups) == [
        [0] * 4,
        [1] * 4,
        [2] * 4,
    ]
    for room, most in ((60, 3), (50, 100), (10**6, 5)):
        groups = divided(items, room, most)
        assert sorted(i for group in groups for i in group) == list(range(len(items)))
        for group in groups:
            assert len(group) <= most
            assert len(token_tree([ids for i in group for ids in items[i]]).tokens) <= room


def test_steps_learn_each_group_once_an_epoch_and_none_is_empty() -> None:
    rng = np.random.default_rng(0)
    for sizes in (rng.integers(1, 9, 50), np.array([8, 8, 1]), np.array([8, 1, 1, 1, 8, 8]), np.array([3])):
        starts = np.r_[0, np.cumsum(sizes)]
        groups = Groups(Ragged(starts, starts), Ragged(np.zeros((starts[-1], 1), np.int32), starts))
        steps = Steps(groups, dataclasses.replace(CONFIG, batch=8, epochs=3), seed=1)
        epochs = np.array_split(np.array([steps(i) for i in range(steps.total)], object), 3)
        for epoch in epochs:
            assert sorted(g for chosen in epoch for g in chosen) == list(range(len(sizes)))
            assert all(0 < sizes[chosen.astype(int)].sum() <= 16 for chosen in epoch)
        assert len(sizes) < 9 or [*epochs[0][0]] != [*epochs[1][0]]
        np.testing.assert_array_equal(steps(1 % steps.total), steps(1 % steps.total))


def test_examples_come_by_question_whatever_their_order() -> None:
    for some in (np.array(list("bacab")), np.array([7, -1, 9, -1, 7])):
        assert [q.tolist() for q in by_question(some)] == [[0, 4], [1, 3], [2]]


def test_it_is_told_how_many_questions_are_trees() -> None:
    told: list[tuple[int, int]] = []
    Groups.of(
        130,
        lambda number: [(Outline(np.zeros(1, int), np.full(1, 5)), [(number,)])],
        1,
        lambda *at: told.append(at),
    )
    assert told == [(1, 130), (65, 130), (129, 130)]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    made = from_policy(init_random(FAMILIES[request.param], 0))
    made.score[...] = made.score[...] * 10
    return made


def alone(model: Any, some: list[np.ndarray]) -> jax.Array:
    """Values before tanh [S, 32] of each sequence in a row of its own."""
    rows = np.zeros((len(some), 32), np.int32)
    for row, ids in zip(rows, some, strict=True):
        row[: len(ids)] = ids
    return model.raw(rows, None, jnp.asarray([[1] * len(s) + [0] * (32 - len(s)) for s in some]))


# Rows so short that trees are cut.
CUT = dataclasses.replace(CONFIG, seq_len=40, microbatch=8)


def same(model: Any, batches: list[dict[str, Any]], loss: Any, wanted: Any) -> None:
    """Hold loss and gradients of microbatches to those of another way to compute them."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def total(params: Any) -> jax.Array:
        made = nnx.merge(graph, params, rest)
        found = [loss(made, batch, CONFIG)["loss"] for batch in batches]
        return sum(t for t, _ in found) / sum(n for _, n in found)

    def expected(params: Any) -> jax.Array:
        total, count = wanted(nnx.merge(graph, params, rest))["loss"]
        return total / count

    (one, by_one), (other, by_other) = (jax.jit(jax.value_and_grad(f))(params) for f in (total, expected))
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), by_one, by_other)


def pairs_of(rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    return [tuple(rng.choice(count, 2, replace=False).tolist()) for _ in range(10)]


def test_losses_and_gradients_of_pairs_are_those_of_sequences_alone(model: Any) -> None:
    long_from = 20 if model.decoder.config.rope.kind == "longrope" else None
    questions = [sequences(seed) for seed in range(3)]
    some = [ids for question in questions for ids in question]
    rng = np.random.default_rng(0)
    pairs = [(12 * q + p, 12 * q + n) for q in range(3) for p, n in pairs_of(rng, 12)]
    weights = rng.random(len(pairs)).astype(np.float32)
    batches = PpmBatches(
        lambda i: (some[pairs[i][0]], some[pairs[i][1]]),
        by_question(np.array([p // 12 for p, _ in pairs])),
        weights,
        CUT,
        0,
        long_from=long_from,
    )
    (step,) = (batches(i) for i in range(batches.total_steps))
    assert batches.dropped == 0 and step.examples == len(pairs)
    assert step.tokens == sum(int((m["segment_ids"] > 0).sum()) for m in step.microbatches)
    if long_from is None:
        least = sum(
            len(token_tree([some[i] for p in pairs[q : q + 10] for i in p]).tokens) for q in (0, 10, 20)
        )
        assert step.tokens > least

    def wanted(model: Any) -> Any:
        values = jnp.tanh(alone(model, some)[np.arange(len(some)), [len(s) - 1 for s in some]])
        return LOSSES["bradley_terry"](*values[np.array(pairs).T], weights)

    same(model, list(step.microbatches), ppm_loss, wanted)


def test_losses_and_gradients_of_values_are_those_of_ways_alone(model: Any) -> None:
    long_from = 20 if model.decoder.config.rope.kind == "longrope" else None
    rng, ways = np.random.default_rng(0), []
    for ids in [*sequences(0), *sequences(1)]:
        ends = np.r_[
            np.sort(rng.choice(np.arange(2, len(ids) - 1), min(2, len(ids) - 3), False)), len(ids) - 1
        ]
        weights = np.r_[(rng.random(len(ends) - 1) > 0.5) * 1.0, 1.0].astype(np.float32)
        ways.append(Way(ids, ends, rng.uniform(-1, 1, len(ends)).astype(np.float32), weights))
    batches = PqmBatches(
        ways.__getitem__,
        by_question(np.repeat([0, 1], 12)),
        CUT,
        0,
        functools.partial(Rows.sizes, None, CUT.microbatch),
        long_from=long_from,
    )
    (step,) = (batches(i) for i in range(batches.total_steps))
    assert step.examples == 24 and step.tokens < sum(len(way.tokens) for way in ways)

    def wanted(model: Any) -> Any:
        rows, places = zip(*[(i, end) for i, way in enumerate(ways) for end in way.ends], strict=True)
        values = jnp.tanh(alone(model, [way.tokens for way in ways])[np.array(rows), np.array(places)])
        told = (np.concatenate([getattr(way, name) for way in ways]) for name in ("values", "weights"))
        return LOSSES["squared_error"](values, *told)

    same(model, list(step.microbatches), pqm_loss, wanted)


def test_a_pair_that_no_row_holds_together_is_learnt_in_two() -> None:
    rng = np.random.default_rng(0)
    some = [rng.integers(1, VOCAB, n).astype(np.int32) for n in (60, 70, 20, 97)]
    pairs = [(0, 1), (2, 0), (3, 2)]
    batches = PpmBatches(
        lambda i: (some[pairs[i][0]], some[pairs[i][1]]), [np.arange(3)], np.ones(3), CONFIG, 0
    )
    assert batches.dropped == 1 and batches.groups.outlines[0].tolist() == [[0, 60], [1, 69], [0, 20]]
    (microbatch,) = batches(0).microbatches
    flat, at = microbatch["tokens"].reshape(-1), microbatch["pair_weights"] > 0
    read = {
        (int(flat[p]), int(flat[n]))
        for p, n in zip(microbatch["positive"][at], microbatch["negative"][at], strict=True)
    }
    assert read == {(int(some[p][-1]), int(some[n][-1])) for p, n in pairs[:2]}


def test_rows_that_a_step_does_not_fill_are_not_computed() -> None:
    some = [np.full(90, i, np.int32) for i in range(1, 15)]
    pairs = [(2 * i, 2 * i + 1) for i in range(7)]
    batches = PpmBatches(
        lambda i: (some[pairs[i][0]], some[pairs[i][1]]),
        [np.array([i]) for i in range(7)],
        np.ones(7),
        CONFIG,
        0,
    )
    assert [len(m["tokens"]) for m in batches(0).microbatches] == [4, 4, 4, 2]
    for asked, sizes in {(8, 8): range(8, 0, -1), (8, 3): (8, 4), (6, 8): (6, 3), (1, 8): (1,)}.items():
        assert [rows.count for rows in Rows.sizes(None, *asked)] == list(sizes)
    assert [shapes(steps) for steps in (1, 500, 10**6)] == [2, 3, 8]
