"""Held-out batches: measured as a training goes on, and without a trace in what it learns."""

import dataclasses

import flax.nnx as nnx
import jax
import numpy as np
import pytest

from rstar_jax.errors import UserError
from rstar_jax.train import (
    MetricsWriter,
    PolicyBatches,
    TrainConfig,
    fit,
    measure,
    policy_loss,
    read_metrics,
)
from tests.train.test_checkpoints import Killed, kill_at

# A read that failed leaves orbax's other readers an event loop that is closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CONFIG = TrainConfig(epochs=5, batch=8, seq_len=32, microbatch=2, learning_rate=1e-2)


@pytest.fixture
def held_out(examples):
    batches = PolicyBatches(examples[:3], dataclasses.replace(CONFIG, epochs=1), seed=0)
    return lambda model: measure(model, batches, policy_loss, CONFIG, total_steps=batches.total_steps)


def train(model, examples, config=CONFIG, **options):
    batches = PolicyBatches(examples[3:], config, seed=0)
    return fit(model, batches, policy_loss, config, total_steps=batches.total_steps, **options)


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


class Measured:
    """Stands for held-out figures: losses by turns; notes the parameters that it was shown."""

    def __init__(self, *losses):
        self.losses, self.shown = list(losses), []

    def __call__(self, model):
        self.shown.append(jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(model, nnx.Param))))
        return {"loss": self.losses.pop(0)}


def equal(model, params):
    return jax.tree.all(jax.tree.map(np.array_equal, nnx.to_pure_dict(nnx.state(model, nnx.Param)), params))


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_parameters_that_it_ends_with_are_those_of_keep(tiny, examples, tmp_path, keep):
    config, model = dataclasses.replace(CONFIG, keep=keep), tiny()
    losses = Measured(3.0, 1.0, float("nan"), 2.0, 1.0)
    summary = train(model, examples, config, held_out=losses, held_out_every=1, checkpoints=tmp_path)
    step = {"last": 5, "best": 2}[keep]
    assert summary.kept_step == step and summary.held_out == {"loss": 1.0}
    assert [equal(model, shown) for shown in losses.shown] == [n == step for n in range(1, 6)]
    assert (tmp_path / "best").exists() == (keep == "best")


def test_without_a_number_to_choose_by_the_last_are_kept(tiny, examples, tmp_path):
    config, model, losses = dataclasses.replace(CONFIG, keep="best"), tiny(), Measured(*[float("nan")] * 5)
    summary = train(model, examples, config, held_out=losses, held_out_every=1, checkpoints=tmp_path)
    assert summary.kept_step == 5 and np.isnan(summary.held_out["loss"]) and equal(model, losses.shown[4])


def test_a_killed_training_still_ends_with_the_best(tiny, examples, tmp_path):
    """Killed where the state that it goes on from is older than the best parameters on disk."""
    config, model = dataclasses.replace(CONFIG, keep="best"), tiny()
    with pytest.raises(Killed):
        losses = Measured(2.0, 3.0, 1.0)
        train(
            tiny(),
            examples,
            config,
            held_out=losses,
            held_out_every=1,
            checkpoints=tmp_path,
            on_step=kill_at(3),
        )
    assert sorted(p.name for p in tmp_path.glob("*")) == [
        "1",
        "best",
    ]  # step 3 was the best, and was not saved
    losses = Measured(4.0, 1.5, 4.0, 4.0)
    train(model, examples, config, held_out=losses, held_out_every=1, checkpoints=tmp_path)
    assert len(losses.losses) == 0 and equal(model, losses.shown[1])


def test_the_best_without_a_way_to_tell_or_keep_it_is_refused(tiny, examples, tmp_path, held_out):
    config = dataclasses.replace(CONFIG, keep="best")
    with pytest.raises(UserError, match=r"train\.keep: 'best' given, but no held-out data"):
        train(tiny(), examples, config, checkpoints=tmp_path)
    with pytest.raises(UserError, match=r"train\.keep: 'best' given, but no folder"):
        train(tiny(), examples, config, held_out=held_out)


def test_best_parameters_that_are_damaged_are_named(tiny, examples, tmp_path):
    def damage(step, *_):
        if step == 5:
            for file in (tmp_path / "best").glob("*/state/**/d/*"):
                file.unlink()

    config, losses = dataclasses.replace(CONFIG, keep="best"), Measured(1.0, 2.0, 3.0, 4.0, 5.0)
    with pytest.raises(UserError, match=r"best: the best parameters, of step 1, cannot be read"):
        train(
            tiny(), examples, config, held_out=losses, held_out_every=1, checkpoints=tmp_path, on_step=damage
        )


def test_the_average_is_what_is_measured_and_kept(tiny, examples, tmp_path):
    raw, averaged = Measured(*range(5)), Measured(*range(5))
    start = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(tiny(), nnx.Param)))
    train(tiny(), examples, held_out=raw, held_out_every=1)
    config, model = dataclasses.replace(CONFIG, ema=0.75, checkpoint_every_steps=1), tiny()
    with pytest.raises(Killed):
        train(tiny(), examples, config, checkpoints=tmp_path, on_step=kill_at(3))
    train(model, examples, config, held_out=averaged, held_out_every=1, checkpoints=tmp_path)
    mean = start
    for params in raw.shown:
        mean = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, mean, params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), averaged.shown[-1], mean
    )
    assert equal(model, averaged.shown[-1]) and not equal(model, raw.shown[-1])
