"""Bad steps change nothing, are counted, and end a training where they do not end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.errors import UserError
from rstar_jax.train import MetricsWriter, PolicyBatches, TrainConfig, fit, policy_loss, read_metrics
from rstar_jax.train.steadiness import WINDOW, judge, unsteadiness, window
from rstar_jax.train.step import TrainPrograms
from tests.train.test_checkpoints import Killed, assert_same, kill_at, without_time

CONFIG = TrainConfig(epochs=8, batch=8, seq_len=32, microbatch=2, learning_rate=1e-2)


def poisoned_loss(model, batch, config):
    terms = policy_loss(model, batch, config)
    total, count = terms["loss"]
    return terms | {"loss": (total * batch["poison"].sum(), count)}


def train(model, examples, poison, config=CONFIG, **options):
    """`poison`: step, from 0 -> what its loss is multiplied with."""
    learnt = PolicyBatches(examples, config, seed=0)

    def batches(step):
        batch, factor = learnt(step), np.full(1, poison.get(step, 1.0), np.float32)
        return dataclasses.replace(
            batch, microbatches=[{**piece, "poison": factor} for piece in batch.microbatches]
        )

    return fit(model, batches, poisoned_loss, config, total_steps=learnt.total_steps, **options)


@pytest.mark.parametrize("factor", [np.nan, np.inf])
@pytest.mark.parametrize("options", [{}, {"ema": 0.5, "spike": 6.0}])
def test_a_step_that_is_not_finite_changes_no_bit(tiny, examples, factor, options):
    from flax import nnx

    config = dataclasses.replace(CONFIG, **options)
    graphdef, params, frozen = nnx.split(tiny(), nnx.Param, ...)
    params = nnx.to_pure_dict(params)
    run = TrainPrograms.of(graphdef, params, poisoned_loss, config)
    state, sums = run.init(params), None
    told = []
    for poison in (1.0, factor, 1.0):
        piece = {**PolicyBatches(examples, config, seed=0)(0).microbatches[0], "poison": np.full(1, poison)}
        sums = run.zeros(params, frozen, piece) if sums is None else sums
        before = jax.tree.map(np.array, (params, state))
        sums = run.accumulate(params, frozen, sums, piece)
        hyper = {"learning_rate": 1e-2, "total_steps": 9.0, "warmup_fraction": 0.0, "step": 1}
        params, state, sums, values = run.update(params, state, sums, hyper)
        same = jax.tree.map(lambda a, b: np.array_equal(a, b, equal_nan=True), before, (params, state))
        told.append((float(values["skipped"]), all(jax.tree.leaves(same))))
    assert told == [(0.0, False), (1.0, True), (0.0, False)]


def test_skipped_steps_are_counted_also_over_a_kill(tiny, examples, tmp_path):
    poison, config = {2: np.nan, 4: np.inf}, dataclasses.replace(CONFIG, checkpoint_every_steps=3)
    unbroken, resumed = tiny(), tiny(seed=9)
    whole = train(unbroken, examples, poison, config)
    metrics = MetricsWriter(tmp_path / "metrics", tensorboard=False)
    options = {"checkpoints": tmp_path / "state", "metrics": metrics}
    with pytest.raises(Killed):
        train(tiny(), examples, poison, config, on_step=kill_at(5), **options)
    summary = train(resumed, examples, poison, config, **options)
    rows = read_metrics(metrics.path)
    assert [row["skipped"] for row in rows] == [0, 0, 1, 1, 2, 2, 2, 2]
    assert rows[2]["loss"] is None and np.isfinite(rows[3]["loss"])
    assert without_time(summary) == without_time(whole)
    assert (summary.skipped, summary.steps) == (2, 8) and np.isfinite(summary.last_loss)
    assert "2 of 8 steps" in unsteadiness(summary.skipped, summary.steps) and not unsteadiness(0, 8)
    assert_same(resumed, unbroken)


def test_too_many_in_a_row_end_it_and_the_last_state_stays(tiny, examples, tmp_path):
    poison = {1: np.nan, **dict.fromkeys(range(3, 8), np.nan)}
    config = dataclasses.replace(CONFIG, bad_steps=2, checkpoint_every_steps=1)
    with pytest.raises(UserError, match=r"step 6 of 8: the loss is nan.* 3 steps in a row .*bad_steps: 2"):
        train(tiny(), examples, poison, config, checkpoints=tmp_path)
    assert (tmp_path / "5").is_dir()
    steps = []  # of a command that has more patience
    with pytest.raises(UserError, match=r"step 8 of 8.*5 steps in a row"):
        more = dataclasses.replace(config, bad_steps=4)
        train(tiny(), examples, poison, more, checkpoints=tmp_path, on_step=lambda *a: steps.append(a[0]))
    assert steps[0] == 6


def test_a_spike_is_skipped_and_no_healthy_step(tiny, examples):
    config = dataclasses.replace(CONFIG, epochs=WINDOW // 2 + 8, spike=40.0)
    assert train(tiny(), examples, {WINDOW // 2 + 3: 1e3}, config).skipped == 1
    spikes, none = tiny(), tiny()
    assert train(spikes, examples, {}, config).skipped == 0
    train(none, examples, {}, dataclasses.replace(config, spike=0.0))
    assert_same(spikes, none)


def test_spikes_lie_above_the_median_of_enough_steps():
    rng = np.random.default_rng(0)
    figures = rng.normal([[2.0], [0.5]], 0.1, (2, WINDOW)).astype(np.float32)
    few = window().at[:, : WINDOW // 2 - 1].set(figures[:, : WINDOW // 2 - 1])

    def counts(loss, norm, recent):
        return bool(judge(jnp.float32(loss), jnp.float32(norm), recent, 6.0)[0])

    assert counts(9.0, 9.0, few) and not counts(np.nan, 0.5, few) and not counts(2.0, np.inf, few)
    full = jnp.asarray(figures)
    assert counts(2.3, 0.8, full) and counts(0.0, 0.0, full)
    assert not counts(3.0, 0.5, full) and not counts(2.0, 1.5, full)
    spiked = full.at[:, :12].set(1e6)  # spikes in the window do not hide the next one
    assert not counts(3.0, 0.5, spiked)
    _, kept = judge(jnp.float32(np.nan), jnp.float32(1.0), full, 6.0)
    _, moved = judge(jnp.float32(7.0), jnp.float32(1.0), full, 6.0)
    np.testing.assert_array_equal(kept, full)
    assert moved[:, -1].tolist() == [7.0, 1.0]
