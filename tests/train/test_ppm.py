"""The PPM: sequences encoded once, pairs read at the right place, an order learnt."""

import dataclasses
from collections import Counter

import flax.nnx as nnx
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.data.pair_tokens import PairEncoder
from rstar_jax.errors import UserError
from rstar_jax.models import DecoderConfig, from_policy, init_random
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.prompts import PROMPTS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import TrainConfig, fit, measure, ppm, ppm_loss, saturation, train_ppm
from rstar_jax.types import PreferencePair
from tests.train.conftest import ppm_batches

CONFIG = TrainConfig(epochs=1, batch=8, seq_len=32, microbatch=2, learning_rate=1e-2)


def sequences(count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 32, n).astype(np.int32) for n in rng.integers(5, 12, count)]


def node(first):
    """The four pairs of two preferred and two other continuations."""
    return [(first + p, first + n, 0.25) for p in (0, 1) for n in (2, 3)]


def test_a_tree_of_each_question_is_read_at_the_last_tokens():
    tokens = sequences(12)
    tokens[1] = np.r_[tokens[0], tokens[1][:3]]  # goes on from another
    config = dataclasses.replace(CONFIG, seq_len=64)
    batches = ppm_batches(tokens, [node(0), node(4), node(8)], config)
    assert batches.total_steps == 2
    found = []
    for step in range(2):
        batch = batches(step)
        assert batch.examples in (4, 8)
        assert batch.tokens == sum((m["segment_ids"] > 0).sum() for m in batch.microbatches)
        for m in batch.microbatches:
            for i in np.flatnonzero(m["pair_weights"]):
                both = []
                for last in (m["positive"][i], m["negative"][i]):
                    row, place = divmod(int(last), 64)
                    assert place == 63 or m["ends"][row, place] > place
                    above = [j for j in range(place + 1) if m["ends"][row, j] > place]
                    assert m["positions"][row, above].tolist() == list(range(len(above)))
                    assert len({*m["segment_ids"][row, above].tolist()}) == 1
                    both.append(tuple(m["tokens"][row, above]))
                found.append(tuple(both))
    expected = [(tuple(tokens[p]), tuple(tokens[n])) for i in (0, 4, 8) for p, n, _ in node(i)]
    assert sorted(found) == sorted(expected)
    begun = [{tuple(t[:n]) for t in tokens[i : i + 4] for n in range(1, len(t) + 1)} for i in (0, 4, 8)]
    assert sum(batches(s).tokens for s in range(2)) == sum(map(len, begun))


def read(model, tokens):
    """The value before tanh at the end of each sequence, every one in a row of its own."""
    padded = np.zeros((len(tokens), 16), np.int32)
    for row, t in zip(padded, tokens, strict=True):
        row[: len(t)] = t
    values = nnx.jit(lambda model, tokens: model.raw(tokens))(model, padded)
    return np.asarray(values)[np.arange(len(tokens)), [len(t) - 1 for t in tokens]]


def test_packed_loss_equals_that_of_sequences_alone(tiny):
    tokens, model = sequences(8), from_policy(tiny())
    model.score[...] = model.score[...] * 50
    (batch,) = ppm_batches(tokens, [node(0), node(4)], dataclasses.replace(CONFIG, microbatch=4))(
        0
    ).microbatches
    for kind, squash in (("tanh", np.tanh), ("raw", lambda x: x)):
        values = squash(read(model, tokens))
        pairs = node(0) + node(4)
        expected = -0.25 * np.mean([np.log(1 / (1 + np.exp(values[n] - values[p]))) for p, n, _ in pairs])
        config = dataclasses.replace(CONFIG, ppm_value=kind)
        terms = nnx.jit(ppm_loss, static_argnums=2)(model, batch, config)
        np.testing.assert_allclose(terms["loss"][0] / terms["loss"][1], expected, rtol=1e-4)
        assert terms["accuracy"] == (sum(values[p] > values[n] for p, n, _ in pairs), 8)


def test_measuring_tells_the_share_of_pairs_in_the_right_order_and_learns_nothing(tiny):
    tokens, model = sequences(12), from_policy(tiny())
    values, before = read(model, tokens), np.asarray(model.score[...])
    nodes = [[(p, n, weight) for p, n, _ in node(i)] for i, weight in ((0, 1.0), (4, 0.25), (8, 0.5))]
    told = []
    config = dataclasses.replace(CONFIG, batch=4, epochs=3)
    batches = ppm_batches(tokens, nodes, ppm.once(config))
    terms = measure(model, batches, ppm_loss, config, total_steps=batches.total_steps, on_step=told.append)
    pairs = [pair for one in nodes for pair in one]
    assert terms["accuracy"] == pytest.approx(np.mean([values[p] > values[n] for p, n, _ in pairs]))
    losses = [(w * np.log1p(np.exp(np.tanh(values[n]) - np.tanh(values[p]))), w) for p, n, w in pairs]
    expected = 0.25 * sum(loss for loss, _ in losses) / sum(w for _, w in losses)
    assert terms["loss"] == pytest.approx(expected, rel=1e-4)
    assert told == [1, 2, 3]  # each pair once, whatever the epochs
    np.testing.assert_array_equal(np.asarray(model.score[...]), before)


def test_a_question_too_large_is_divided_and_long_pairs_are_dropped():
    tokens = [np.full(n, i, np.int32) for i, n in enumerate((30, 30, 30, 30, 33, 5))]
    batches = ppm_batches(tokens, [node(0), [(5, 4, 1.0), (4, 5, 1.0)]], CONFIG)
    assert batches.groups.examples.sizes.tolist() == [1] * 4 and batches.dropped == 2
    with pytest.raises(UserError, match="all 2 preference pairs are longer"):
        ppm_batches(tokens, [[(5, 4, 1.0), (4, 5, 1.0)]], CONFIG)


@pytest.mark.parametrize("kind", ["tanh", "raw"])
def test_learns_an_order_and_applies_it_to_new_pairs(tiny, kind):
    """Good continuations end in token 1, bad ones in 2."""
    rng = np.random.default_rng(0)

    def data(count):
        tokens, nodes = [], []
        for i in range(count):
            prefix = rng.integers(3, 32, rng.integers(3, 8))
            tokens += [np.r_[prefix, rng.integers(3, 32, 3), end].astype(np.int32) for end in (1, 1, 2, 2)]
            nodes.append(node(4 * i))
        return tokens, nodes

    config = dataclasses.replace(CONFIG, epochs=10, batch=16, ppm_value=kind)
    model = from_policy(tiny())
    tokens, nodes = data(20)
    batches = ppm_batches(tokens, nodes, config)
    summary = fit(model, batches, ppm_loss, config, total_steps=batches.total_steps)
    assert summary.metrics["accuracy"] == 1.0 and summary.examples == 800
    tokens, nodes = data(10)
    values = read(model, tokens)
    assert all(values[p] > values[n] for node in nodes for p, n, _ in node)


def test_text_pairs_share_prompt_and_prefix():
    tokenizer = Tokenizer.train(["# Step 1: add 8 and 9"], 300, CODE_STEPS)

    def pair(positive, negative):
        return PreferencePair(
            "p", "8 + 9?", ("<code>\n# Step 1\n<end_of_step>",), (positive,), (negative,), 1, 0.25, False, 1
        )

    steps = [
        "\n# a\n<end_of_step>",
        "\n# bb\n<end_of_step>",
        "\n# ccc\n<end_of_step>",
        "\n# dddd\n<end_of_step>",
    ]
    pairs = [pair(p, n) for p in steps[:2] for n in steps[2:]]
    prompt, asked = PROMPTS["finetuned"]("8 + 9?"), []
    encoder = PairEncoder(tokenizer, lambda question: asked.append(question) or prompt)
    sides = [ppm.sides_of(**encoder.arrays(pair, Counter())) for pair in pairs]
    for one, both in zip(pairs, sides, strict=True):
        for ids, side in zip(both, (one.positive, one.negative), strict=True):
            assert ids.tolist() == tokenizer.encode_solution(prompt, (*one.prefix, *side))[0]
    assert asked == ["8 + 9?"]
    model = from_policy(init_random(DecoderConfig(tokenizer.vocab_size, 16, 1, 2, 1, 8, 32), 0))
    config = dataclasses.replace(CONFIG, epochs=2, seq_len=256)
    summary = train_ppm(model, pairs, tokenizer, PROMPTS["finetuned"], config)
    tokens = {tuple(ids[:n]) for both in sides for ids in both for n in range(1, len(ids) + 1)}
    assert (summary.steps, summary.examples, summary.tokens) == (2, 8, 2 * len(tokens))


def test_no_pairs_is_an_error():
    with pytest.raises(UserError, match="no preference pairs given"):
        train_ppm(None, [], None, PROMPTS["finetuned"], CONFIG)


class Fixed:
    """A reward model that gives told values, whatever it reads."""

    def __init__(self, *values):
        self.values = jnp.asarray([values])

    def raw(self, tokens, positions, segment_ids, ends, remat):
        return self.values


def terms_of(values, config=CONFIG):
    row, first, second = np.zeros((1, len(values)), np.int32), np.array([0]), np.array([1])
    batch = {
        "tokens": row,
        "positions": row,
        "segment_ids": row,
        "ends": row,
        "positive": first,
        "negative": second,
    }
    return ppm_loss(Fixed(*values), {**batch, "pair_weights": np.array([2.0])}, config)


@pytest.mark.parametrize(
    ("values", "share"), [((0.1, 0.2), 0), ((-9.0, -8.0), 1), ((9.0, -8.0), 1), ((-9.0, 0.0), 0)]
)
def test_pairs_that_tanh_cannot_tell_apart_are_counted(values, share):
    total, count = terms_of(values)["saturated"]
    assert total / count == share
    assert bool(saturation({"saturated": float(total / count)})) == (share > 0.5)


def test_values_are_held_about_zero_by_the_square_of_their_sum():
    plain = terms_of((-3.0, -1.0))["loss"]
    held = terms_of((-3.0, -1.0), dataclasses.replace(CONFIG, ppm_center=0.1))["loss"]
    assert held[1] == plain[1] == 2
    np.testing.assert_allclose(held[0] - plain[0], 0.1 * 16 * 2, rtol=1e-5)
    opposite = terms_of((2.0, -2.0), dataclasses.replace(CONFIG, ppm_center=0.1))["loss"]
    assert opposite[0] == terms_of((2.0, -2.0))["loss"][0]
