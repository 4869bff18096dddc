"""A policy's loss on solutions that it does not learn: of what it writes of each, however they are packed."""

import dataclasses

import flax.nnx as nnx
import jax
import numpy as np
import pytest

from rstar_jax.errors import UserError
from rstar_jax.models import DecoderConfig, from_policy, init_random
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import TrainConfig, held_out_pairs, held_out_solutions, pair_order
from rstar_jax.types import PreferencePair, SftRow

CONFIG = TrainConfig(epochs=3, batch=2, seq_len=64, microbatch=1)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["x = 0", "print(x)"], 300, CODE_STEPS)


def row(text, steps=2):
    written = CODE_STEPS.render(
        [f"x = {i}" for i in range(steps - 1)] + ["print(x)"], output=text, answer=text
    )
    return SftRow("p", text, tuple(written), 0.0, 0.0, 1)


def decoder(tokenizer, seed=0):
    config = DecoderConfig(
        vocab_size=tokenizer.vocab_size, width=16, layers=1, heads=2, kv_heads=1, head_dim=8, mlp=32
    )
    return init_random(config, seed)


def test_figures_are_means_over_the_tokens_that_a_policy_writes(tokenizer):
    rows, model = [row("7"), row("a longer one"), row("x" * 200)], decoder(tokenizer)
    measured, count, tokens = held_out_solutions(model, rows, tokenizer, str.upper, CONFIG)
    nll, right = [], []
    for one in rows[:2]:
        ids, trained = tokenizer.encode_solution(one.question.upper(), one.steps)
        logits = np.asarray(nnx.jit(lambda m, t: m.logits(m.hidden(t)))(model, np.array([ids])))[0]
        logp = np.asarray(jax.nn.log_softmax(logits[:-1]))
        learnt = np.flatnonzero(trained[1:])
        nll += [-logp[i, ids[i + 1]] for i in learnt]
        right += [logp[i].argmax() == ids[i + 1] for i in learnt]
    assert (count, tokens) == (2, len(nll))  # the third is longer than a row
    assert measured(model) == pytest.approx({"loss": np.mean(nll), "accuracy": np.mean(right)}, rel=1e-4)


def test_where_nothing_fits_nothing_is_measured(tokenizer):
    none = (None, 0, 0)
    assert held_out_solutions(decoder(tokenizer), [], tokenizer, str, CONFIG) == none
    assert held_out_solutions(decoder(tokenizer), [row("x" * 200)], tokenizer, str, CONFIG) == none
    assert held_out_pairs(from_policy(decoder(tokenizer), seed=1), [], tokenizer, str, CONFIG) is None


def test_pairs_too_long_are_not_measured(tokenizer):
    pairs = [PreferencePair("p", "q", (), (f"a{i}",), (f"b{i}",), 1.0, 1.0, False, 1) for i in range(3)]
    model = from_policy(decoder(tokenizer), seed=1)
    long = dataclasses.replace(pairs[0], positive=("a" * 99,))
    for config in (CONFIG, dataclasses.replace(CONFIG, long="error")):  # which is of what is learnt
        measured = held_out_pairs(model, [*pairs, long], tokenizer, str, config)
        found = measured(model)
        assert found == held_out_pairs(model, pairs, tokenizer, str, config)(model)
        order = pair_order(model, pairs, tokenizer, str, config)
        assert (found["loss"], found["accuracy"]) == (order.loss, order.accuracy)
    with pytest.raises(UserError, match=r"held-out pairs: .* all 1 preference pairs are longer"):
        held_out_pairs(model, [long], tokenizer, str, CONFIG)
