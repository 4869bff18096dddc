"""The PQM: values read where steps end, shared steps once, an order learnt by regression."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from rstar_jax.curate import StepValues
from rstar_jax.curate.value_tokens import ValueEncoder
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


def ways(tokenizer: Tokenizer, rows: list[StepValues] = ROWS) -> list[pqm.Way]:
    encoder = ValueEncoder(tokenizer, PROMPT)
    return [pqm.way_of(**encoder.arrays(row, Counter())) for row in rows]


def batches_of(some: list[pqm.Way], config: TrainConfig = CONFIG, rows: Rows | None = None) -> pqm.PqmBatches:
    def sizes(most: int) -> tuple[Rows, ...]:
        return (rows,) if rows else Rows.sizes(None, 2, most)

    return pqm.PqmBatches(some.__getitem__, [np.arange(len(some))], config, 0, sizes)


def test_a_value_stands_where_its_step_ends(tokenizer: Tokenizer) -> None:
    for row, way in zip(ROWS, ways(tokenizer), strict=True):
        for k in range(1, len(row.steps) + 1):
            end = len(tokenizer.encode_solution(PROMPT(row.question), row.steps[:k])[0]) - 1
            assert (way.ends[k - 1], way.values[k - 1]) == (end, row.values[k - 1])
            np.testing.assert_array_equal(way.weights, row.weights)


def test_a_host_makes_its_own_rows(tokenizer: Tokenizer) -> None:
    config = dataclasses.replace(CONFIG, batch=2)
    some = ways(tokenizer)
    wholes = batches_of(some, config, Rows(2))
    parts = [batches_of(some, config, Rows(2, frozenset([own]))) for own in (0, 1)]
    for step in range(wholes.total_steps):
        for own, part in enumerate(parts):
            found = zip(wholes(step).microbatches, part(step).microbatches, strict=True)
            for name, array, mine in (
                (n, array, mine[n]) for all_rows, mine in found for n, array in all_rows.items()
            ):
                np.testing.assert_array_equal(mine[own], array[own], err_msg=name)
                assert not mine[1 - own].any()


def learnt(batches: pqm.PqmBatches) -> list[tuple[float, float]]:
    """Values and weights of all steps that are learnt in an epoch."""
    found = [m for step in range(batches.total_steps) for m in batches(step).microbatches]
    return sorted(
        (float(m["values"][at]), float(m["weights"][at]))
        for m in found
        for at in zip(*m["weights"].nonzero(), strict=True)
    )


def test_of_a_way_too_long_only_the_steps_beyond_a_row_are_lost(tokenizer: Tokenizer) -> None:
    """Steps that others share are learnt in the first way that has them, however long it is."""
    rows = [
        way("add", "print 17", "print it once more, and then again", values=(0.5, 1.0, 0.75)),
        way("add", "print 17", "stop", values=(0.5, 1.0, -1.0), weights=(0.0, 0.0, 1.0)),
    ]
    some = ways(tokenizer, rows)
    room = int(some[0].ends[2])
    assert int(some[1].ends[2]) < room
    batches = batches_of(some, dataclasses.replace(CONFIG, seq_len=room))
    assert batches.dropped == 1 and learnt(batches) == [(-1.0, 1.0), (0.5, 1.0), (1.0, 1.0)]
    whole = batches_of(some, dataclasses.replace(CONFIG, seq_len=2 * room))
    assert whole.dropped == 0 and learnt(whole) == [(-1.0, 1.0), (0.5, 1.0), (0.75, 1.0), (1.0, 1.0)]


def test_a_step_of_two_values_is_learnt_in_two_trees_and_of_one_with_both_weights(
    tokenizer: Tokenizer,
) -> None:
    rows = [way("add", values=(0.5,)), way("add", values=(-0.5,)), way("add", values=(0.5,), weights=(2.0,))]
    batches = batches_of(ways(tokenizer, rows))
    assert sorted(batches.groups.examples.sizes.tolist()) == [1, 2]
    assert learnt(batches) == [(-0.5, 1.0), (0.5, 3.0)]


def test_it_learns_the_values(tokenizer: Tokenizer) -> None:
    model = made(tokenizer)
    config = dataclasses.replace(CONFIG, epochs=150, batch=8, weight_decay=0.0)
    summary = train_pqm(model, ROWS, tokenizer, PROMPT, config)
    assert summary.metrics["sign"] == 1.0 and summary.metrics["distance"] < 0.2 < summary.first_loss
    for row, way in zip(ROWS, ways(tokenizer), strict=True):
        found = np.tanh(np.asarray(model.raw(way.tokens[None], np.arange(len(way.tokens))[None])))[
            0, way.ends
        ]
        np.testing.assert_allclose(found, row.values, atol=0.4)


def test_what_nothing_can_be_learnt_from_is_refused(tokenizer: Tokenizer) -> None:
    model = made(tokenizer)
    with pytest.raises(UserError, match="no values of steps given"):
        train_pqm(model, [], tokenizer, PROMPT, CONFIG)
    same = [way("add", values=(1.0,)), way("add", "print", values=(-1.0, 1.0), weights=(0.0, 1.0))]
    with pytest.raises(UserError, match=r"all values are 1.0\. Steps of at least two values are needed"):
        train_pqm(model, same, tokenizer, PROMPT, CONFIG)
    with pytest.raises(UserError, match="all 8 steps that have values are longer"):
        train_pqm(model, ROWS, tokenizer, PROMPT, dataclasses.replace(CONFIG, seq_len=8))


def test_squared_error_by_hand() -> None:
    terms = LOSSES["squared_error"](
        np.array([0.5, -0.5, 0.9, 0.0]), np.array([1.0, 0.5, 0.0, -1.0]), np.array([1.0, 2.0, 1.0, 0.0])
    )
    sums = {name: (float(total), float(count)) for name, (total, count) in terms.items()}
    assert sums["loss"] == pytest.approx((0.25 + 2 * 1.0 + 0.81, 4.0))
    assert sums["distance"] == pytest.approx((0.5 + 2 * 1.0 + 0.9, 4.0))
    assert sums["sign"] == (1.0, 2.0)  # a target of 0 has no side, a weight of 0 does not count
