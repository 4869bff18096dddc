"""While a step runs, the one before it is told of; never late for what is saved."""

import dataclasses

import pytest

from rstar_jax.errors import UserError
from rstar_jax.train import MetricsWriter, PolicyBatches, TrainConfig, fit, policy_loss, read_metrics
from rstar_jax.train.checkpoints import Checkpoints
from rstar_jax.train.step import TrainPrograms
from tests.train.test_checkpoints import Killed, assert_same, kill_at

CONFIG = TrainConfig(epochs=5, batch=8, seq_len=32, microbatch=2, learning_rate=1e-2)


def train(model, examples, config=CONFIG, **options):
    batches = PolicyBatches(examples, config, seed=0)
    return fit(model, batches, policy_loss, config, total_steps=batches.total_steps, **options)


@pytest.fixture
def events(monkeypatch):
    """What happens in a training, in order."""
    found, made, save = [], TrainPrograms.of, Checkpoints.save

    def of(*arguments):
        programs = made(*arguments)

        def update(*given):
            found.append("begun")
            return programs.update(*given)

        return dataclasses.replace(programs, update=update)

    def saved(self, step, *rest):
        found.append(f"saved {step}")
        return save(self, step, *rest)

    monkeypatch.setattr(TrainPrograms, "of", of)
    monkeypatch.setattr(Checkpoints, "save", saved)
    return found


def test_a_step_is_told_of_while_the_next_one_runs(tiny, examples, events):
    train(tiny(), examples, on_step=lambda step, *_: events.append(f"told {step}"))
    told = [one for step in range(1, 5) for one in ("begun", f"told {step}")]
    assert events == ["begun", *told, "told 5"]


def test_what_is_saved_was_told(tiny, examples, events, tmp_path):
    config = dataclasses.replace(CONFIG, checkpoint_every_steps=2)
    train(tiny(), examples, config, on_step=lambda n, *_: events.append(f"told {n}"), checkpoints=tmp_path)
    told = {step: events.index(f"told {step}") for step in range(1, 6)}
    assert list(told.values()) == sorted(told.values())
    for step in (2, 4):
        assert told[step] < events.index(f"saved {step}") < told[step + 1]


def test_what_on_step_raises_ends_it_and_rows_are_whole(tiny, examples, tmp_path):
    metrics = MetricsWriter(tmp_path, tensorboard=False)
    with pytest.raises(Killed):
        train(tiny(), examples, on_step=kill_at(3), metrics=metrics)
    assert [row["step"] for row in read_metrics(metrics.path)] == [0, 1, 2]


def test_a_trace_is_written_and_nothing_else_is_changed(tiny, examples, tmp_path, caplog):
    plain, traced = tiny(), tiny()
    train(plain, examples)
    metrics = MetricsWriter(tmp_path / "stage", tensorboard=False)
    train(traced, examples, dataclasses.replace(CONFIG, profile="1:3"), metrics=metrics)
    assert len(list((tmp_path / "stage" / "profile").glob("**/*.xplane.pb"))) == 1
    assert_same(plain, traced)
    never = MetricsWriter(tmp_path / "never", tensorboard=False)
    train(tiny(), examples, dataclasses.replace(CONFIG, profile="9:12"), metrics=never)
    assert "there are 5 steps: no trace" in caplog.text and not (tmp_path / "never" / "profile").exists()


def test_a_trace_that_cannot_be_written_ends_no_training(tiny, examples, tmp_path, caplog):
    (tmp_path / "profile").write_text("no folder")
    metrics = MetricsWriter(tmp_path, tensorboard=False)
    summary = train(tiny(), examples, dataclasses.replace(CONFIG, profile="1:3"), metrics=metrics)
    assert summary.steps == 5 and "train.profile: no trace in" in caplog.text


@pytest.mark.parametrize("steps", ["3", "5:5", "a:b", "-1:4", "7:3", ":"])
def test_steps_to_trace_that_mean_none_are_named(steps):
    with pytest.raises(UserError, match=rf"train\.profile: '{steps}' given, two step numbers"):
        TrainConfig(profile=steps)
