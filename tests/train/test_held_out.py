"""Held-out batches: measured as a training goes on, and without a trace in what it learns."""

import dataclasses

import flax.nnx as nnx
import jax
import numpy as np
import pytest

from rstar_jax.train import (
    MetricsWriter,
    PolicyBatches,
    TrainConfig,
    fit,
    measure,
    policy_loss,
    read_metrics,
)

CONFIG = TrainConfig(epochs=5, batch=8, seq_len=32, microbatch=2, learning_rate=1e-2)


@pytest.fixture
def held_out(examples):
    batches = PolicyBatches(examples[:3], dataclasses.replace(CONFIG, epochs=1), seed=0)
    return lambda model: measure(model, batches, policy_loss, CONFIG, total_steps=batches.total_steps)


def train(model, examples, **options):
    batches = PolicyBatches(examples[3:], CONFIG, seed=0)
    return fit(model, batches, policy_loss, CONFIG, total_steps=batches.total_steps, **options)


def test_it_is_measured_every_so_many_steps_and_at_the_end(tiny, examples, held_out, tmp_path):
    model, metrics = tiny(), MetricsWriter(tmp_path, tensorboard=False)
    summary = train(model, examples, metrics=metrics, held_out=held_out, held_out_every=2)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] + 1 for row in rows if "held_out_loss" in row] == [2, 4, 5]
    assert summary.held_out == held_out(model)  # of the model as it ends
    assert summary.held_out["loss"] == pytest.approx(rows[-1]["held_out_loss"])
    assert rows[1]["held_out_loss"] != rows[-1]["held_out_loss"]
    assert not any(name.startswith("held_out") for name in summary.metrics)  # means of what it learnt


def test_measuring_changes_nothing_that_is_learnt(tiny, examples, held_out):
    learnt = []
    for held in (None, held_out):
        train(model := tiny(), examples, held_out=held, held_out_every=1)
        learnt.append(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    jax.tree.map(np.testing.assert_array_equal, *learnt)


def test_figures_are_means_over_all_that_is_held_out(tiny, examples):
    """However it is cut into batches; an equal model compiles nothing anew."""
    model, found = tiny(), []
    for batch in (1, 8):
        config = dataclasses.replace(CONFIG, batch=batch, epochs=1)
        batches = PolicyBatches(examples, config, seed=0)
        found.append(measure(model, batches, policy_loss, CONFIG, total_steps=batches.total_steps))
    assert found[0] == pytest.approx(found[1], rel=1e-5) and 0 <= found[0]["accuracy"] <= 1


def test_a_second_measurement_compiles_nothing(tiny, held_out, heard):
    held_out(tiny(0))
    other = tiny(1)
    heard.clear()
    held_out(other)
    assert not heard
