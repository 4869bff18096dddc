"""The PQM: values read where steps end, shared steps once, an order learnt by regression."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from rstar_jax.curate import StepValues
from rstar_jax.errors import UserError
from rstar_jax.losses import LOSSES
from rstar_jax.models import DecoderConfig, RewardModel, from_policy, init_random
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.prompts import PROMPTS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import TrainConfig, pqm, train_pqm
from rstar_jax.train.host_rows import Rows

CONFIG = TrainConfig(epochs=1, batch=4, seq_len=96, microbatch=2, learning_rate=1e-2)
PROMPT = PROMPTS["finetuned"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["# Step 1: add 8 and 9", "print(8 + 9)"], 300, CODE_STEPS)


def way(*steps: str, values: tuple[float, ...], weights: tuple[float, ...] = ()) -> StepValues:
    written = [f"\n# {step}\n<end_of_step>" for step in steps]
    texts = (f"<code>{written[0]}", *written[1:])
    return StepValues("p", "8 + 9?", texts, values, weights or (1.0,) * len(steps), 1)


ROWS = [
    way("add", "print 17", values=(0.5, 1.0)),
    way("add", "print 18", values=(0.5, -1.0), weights=(0.0, 1.0)),
    way("subtract", "print", "stop", values=(-0.75, -1.0, -1.0)),
    way("add 9", values=(0.25,)),
    way("double", values=(-1.0,)),
]


def made(tokenizer: Tokenizer) -> RewardModel:
    return from_policy(init_random(DecoderConfig(tokenizer.vocab_size, 16, 1, 2, 1, 8, 32), 0))


def examples(tokenizer: Tokenizer) -> list[pqm.ValuedExample]:
    return [pqm._example(row, tokenizer, PROMPT) for row in ROWS]


def test_a_value_stands_where_its_step_ends(tokenizer: Tokenizer) -> None:
    for row, example in zip(ROWS, examples(tokenizer), strict=True):
        for k in range(1, len(row.steps) + 1):
            end = len(tokenizer.encode_solution(PROMPT(row.question), row.steps[:k])[0]) - 1
            assert (example.values[end], example.weights[end]) == (row.values[k - 1], row.weights[k - 1])
        assert example.weights.sum() == sum(row.weights)


def test_the_loss_of_packed_rows_is_that_of_each_alone(tokenizer: Tokenizer) -> None:
    model, some = made(tokenizer), examples(tokenizer)
    batches = pqm.PqmBatches(some, dataclasses.replace(CONFIG, batch=8), 0, Rows(2))
    assert batches.total_steps == 1
    batch = batches(0)
    assert batch.examples == len(ROWS) and batch.tokens == sum(len(e.tokens) for e in some)
    packed = np.zeros(2)
    for microbatch in batch.microbatches:
        terms = pqm.pqm_loss(model, {k: jax.numpy.asarray(v) for k, v in microbatch.items()}, CONFIG)
        packed += [float(x) for x in terms["loss"]]
    alone = np.zeros(2)
    for row, example in zip(ROWS, some, strict=True):
        raw = model.raw(example.tokens[None], np.arange(len(example.tokens))[None])
        at = np.flatnonzero(example.values)
        errors = (np.tanh(np.asarray(raw)[0, at]) - np.array(row.values)) ** 2
        alone += [float((errors * row.weights).sum()), sum(row.weights)]
    np.testing.assert_allclose(packed, alone, rtol=1e-5)


def test_a_host_makes_its_own_rows(tokenizer: Tokenizer) -> None:
    some = examples(tokenizer)
    whole = pqm.PqmBatches(some, CONFIG, 0, Rows(2))(0).microbatches
    for own in (0, 1):
        part = pqm.PqmBatches(some, CONFIG, 0, Rows(2, frozenset([own])))(0).microbatches
        for all_rows, mine in zip(whole, part, strict=True):
            for name, array in all_rows.items():
                np.testing.assert_array_equal(mine[name][own], array[own])
                assert not mine[name][1 - own].any()


def test_it_learns_the_values(tokenizer: Tokenizer) -> None:
    model = made(tokenizer)
    config = dataclasses.replace(CONFIG, epochs=150, batch=8, weight_decay=0.0)
    summary = train_pqm(model, ROWS, tokenizer, PROMPT, config)
    assert summary.metrics["sign"] == 1.0 and summary.metrics["distance"] < 0.2 < summary.first_loss
    for row, example in zip(ROWS, examples(tokenizer), strict=True):
        raw = model.raw(example.tokens[None], np.arange(len(example.tokens))[None])
        found = np.tanh(np.asarray(raw)[0, np.flatnonzero(example.values)])
        np.testing.assert_allclose(found, row.values, atol=0.4)


def test_what_nothing_can_be_learnt_from_is_refused(tokenizer: Tokenizer) -> None:
    model = made(tokenizer)
    with pytest.raises(UserError, match="no values of steps given"):
        train_pqm(model, [], tokenizer, PROMPT, CONFIG)
    same = [way("add", values=(1.0,)), way("add", "print", values=(-1.0, 1.0), weights=(0.0, 1.0))]
    with pytest.raises(UserError, match=r"all values are 1.0\. Steps of at least two values are needed"):
        train_pqm(model, same, tokenizer, PROMPT, CONFIG)
    with pytest.raises(UserError, match="all 5 rows of values are longer"):
        train_pqm(model, ROWS, tokenizer, PROMPT, dataclasses.replace(CONFIG, seq_len=8))


def test_squared_error_by_hand() -> None:
    terms = LOSSES["squared_error"](
        np.array([0.5, -0.5, 0.9, 0.0]), np.array([1.0, 0.5, 0.0, -1.0]), np.array([1.0, 2.0, 1.0, 0.0])
    )
    sums = {name: (float(total), float(count)) for name, (total, count) in terms.items()}
    assert sums["loss"] == pytest.approx((0.25 + 2 * 1.0 + 0.81, 4.0))
    assert sums["distance"] == pytest.approx((0.5 + 2 * 1.0 + 0.9, 4.0))
    assert sums["sign"] == (1.0, 2.0)  # a target of 0 has no side, a weight of 0 does not count
