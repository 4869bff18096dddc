"""What a reward model makes of pairs that it did not learn, held to values read one by one."""

import dataclasses
from collections import defaultdict

import flax.nnx as nnx
import numpy as np
import pytest

from rstar_jax.models import DecoderConfig, from_policy, init_random
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import TrainConfig, pair_order
from rstar_jax.types import PreferencePair

CONFIG = TrainConfig(epochs=3, batch=2, seq_len=64, microbatch=2)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["x = 0", "print(x)"], 300, CODE_STEPS)


@pytest.fixture
def model(tokenizer):
    shape = {"width": 16, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 8, "mlp": 32}
    return from_policy(init_random(DecoderConfig(vocab_size=tokenizer.vocab_size, **shape), 1), seed=1)


def pairs():
    steps = [CODE_STEPS.render([f"x = {i}", "print(x)"])[0] for i in range(12)]
    made = [("a", (), 0, 1), ("a", (), 0, 2), ("a", (2,), 3, 4), ("b", (), 5, 6), ("b", (5,), 7, 8)]
    found = [
        PreferencePair(q, q, tuple(steps[i] for i in before), (steps[p],), (steps[n],), 1.0, 0.5, False, 1)
        for q, before, p, n in made
    ]
    return [*found, dataclasses.replace(found[0], positive=(steps[9], steps[10]), final=True)]


@pytest.mark.parametrize(("kind", "scale"), [("tanh", 25), ("raw", 100)])  # values lie far apart
def test_every_figure_is_that_of_values_read_alone(tokenizer, model, kind, scale):
    model.score[...] = model.score[...] * scale

    def value(pair, side):
        ids = tokenizer.encode_prompt(pair.question) + tokenizer.encode_steps((*pair.prefix, *side))
        return float(nnx.jit(lambda m, t: m.raw(t))(model, np.array([ids], np.int32))[0, -1])

    config, given = dataclasses.replace(CONFIG, ppm_value=kind), pairs()
    raw = np.array([(value(p, p.positive), value(p, p.negative)) for p in given])
    learnt, served = (np.tanh(raw),) * 2 if kind == "tanh" else (raw, np.tanh(raw / 5))
    margin, right = served[:, 0] - served[:, 1], raw[:, 0] > raw[:, 1]
    by_depth = defaultdict(list)
    for pair, won in zip(given, right, strict=True):
        by_depth["whole" if pair.final else str(len(pair.prefix) + 1)].append(won)
    size = np.minimum(np.abs(margin) * 2, 3).astype(int)
    sure = 1 / (1 + np.exp(-np.abs(learnt[:, 0] - learnt[:, 1])))
    apart = sum(
        np.mean(size == k) * abs(sure[size == k].mean() - right[size == k].mean()) for k in np.unique(size)
    )
    found = pair_order(model, given, tokenizer, str, config)
    assert (found.pairs, found.dropped) == (6, 0) and len(np.unique(size)) > 1
    assert found.accuracy == pytest.approx(right.mean()) and list(found.by_depth) == ["1", "2", "whole"]
    assert found.by_depth == {d: [len(won), pytest.approx(np.mean(won))] for d, won in by_depth.items()}
    assert found.margins == np.histogram(margin, 8, (-2, 2))[0].tolist()
    assert found.calibration == pytest.approx(apart, abs=1e-4)


def test_a_depth_at_which_all_are_too_long_is_left_out(tokenizer, model):
    given = pairs()
    long = dataclasses.replace(given[2], positive=given[2].positive * 9)
    found = pair_order(model, [*given[:2], long], tokenizer, str, CONFIG)
    assert (found.pairs, found.dropped, list(found.by_depth)) == (2, 1, ["1"])
