"""A killed training goes on bit for bit; what is damaged is put aside; what is another's is refused."""

import dataclasses
import gc
import logging
import os
import resource
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import flax.nnx as nnx
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from rstar_jax.errors import UserError
from rstar_jax.models import DecoderConfig, init_random
from rstar_jax.train import Example, MetricsWriter, PolicyBatches, TrainConfig, fit, policy_loss, read_metrics
from rstar_jax.train.checkpoints import Checkpoints

# A save that failed leaves orbax a thread that complains when collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CONFIG = TrainConfig(
    epochs=5,
    batch=4,
    seq_len=32,
    microbatch=1,
    learning_rate=1e-2,
    warmup_fraction=0.2,
    checkpoint_every_steps=1,
)


class Killed(Exception):
    pass


def kill_at(step):
    def on_step(done, total, row):
        if done == step:
            raise Killed

    return on_step


def run(model, examples, config=CONFIG, *, folder=None, seed=0, **options):
    batches = PolicyBatches(examples, config, seed)
    total = batches.total_steps
    return fit(
        model,
        batches,
        policy_loss,
        config,
        total_steps=total,
        seed=seed,
        data=batches.digest(),
        checkpoints=folder,
        **options,
    )


def assert_same(a, b):
    jax.tree.map(
        np.testing.assert_array_equal,
        nnx.to_pure_dict(nnx.state(a, nnx.Param)),
        nnx.to_pure_dict(nnx.state(b, nnx.Param)),
    )


def without_time(summary):
    return dataclasses.replace(summary, seconds=0.0, device=0.0, device_awaited=0.0)


def test_killed_and_resumed_equals_unbroken(tiny, examples, tmp_path):
    unbroken = tiny()
    whole = run(unbroken, examples)
    assert whole.steps == 10
    metrics = MetricsWriter(tmp_path / "metrics", tensorboard=False)
    with pytest.raises(Killed):  # after step 4, before its checkpoint: step 4 is done twice
        run(tiny(), examples, folder=tmp_path / "state", metrics=metrics, on_step=kill_at(4))
    resumed, steps = tiny(seed=9), []
    summary = run(
        resumed,
        examples,
        folder=tmp_path / "state",
        metrics=metrics,
        on_step=lambda done, *_: steps.append(done),
    )
    assert steps == list(range(4, 11))
    assert_same(resumed, unbroken)
    assert without_time(summary) == without_time(whole)
    rows = read_metrics(tmp_path / "metrics" / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(10))


def test_killed_and_resumed_with_other_rows_a_call_learns_the_same(tiny, examples, tmp_path):
    unbroken, resumed = tiny(), tiny(seed=9)
    run(unbroken, examples)
    with pytest.raises(Killed):
        run(tiny(), examples, folder=tmp_path, on_step=kill_at(4))
    config = dataclasses.replace(CONFIG, microbatch=4)
    assert run(resumed, examples, config, folder=tmp_path).steps == 10
    parameters = (nnx.to_pure_dict(nnx.state(model, nnx.Param)) for model in (resumed, unbroken))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *parameters)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damaged_checkpoint_is_put_aside_and_the_one_before_used(tiny, examples, tmp_path, caplog, damage):
    unbroken = tiny()
    run(unbroken, examples)
    with pytest.raises(Killed):
        run(tiny(), examples, folder=tmp_path, on_step=kill_at(5))
    newest = tmp_path / "4"
    for file in newest.glob("state/**/d/*"):  # where the arrays are, some of them twice
        data = bytearray(file.read_bytes())
        if damage == "flip":
            data[len(data) // 2] ^= 4
            file.write_bytes(data)
        elif damage == "truncate":
            file.write_bytes(data[: len(data) // 2])
        else:
            file.unlink()
    resumed, steps = tiny(), []
    with caplog.at_level(logging.WARNING, "rstar_jax.train"):
        run(resumed, examples, folder=tmp_path, on_step=lambda done, *_: steps.append(done))
    assert steps[0] == 4  # step 3's checkpoint
    assert (tmp_path / "4.damaged").is_dir() and f"{newest}: damaged checkpoint" in caplog.text
    assert_same(resumed, unbroken)


def test_all_damaged_starts_again(tiny, examples, tmp_path):
    unbroken = tiny()
    run(unbroken, examples)
    with pytest.raises(Killed):
        run(tiny(), examples, folder=tmp_path, on_step=kill_at(3))
    for metadata in tmp_path.glob("*/meta/metadata"):
        metadata.write_text("{")
    resumed = tiny()
    run(resumed, examples, folder=tmp_path)
    assert len(list(tmp_path.glob("*.damaged"))) == 2
    assert_same(resumed, unbroken)


def test_checkpoints_of_another_training_are_refused(tiny, examples, tmp_path):
    with pytest.raises(Killed):
        run(tiny(), examples, folder=tmp_path, on_step=kill_at(2))
    with pytest.raises(UserError, match=r"another training \(.*learning_rate 0\.01 there, 0\.1 here"):
        run(tiny(), examples, dataclasses.replace(CONFIG, learning_rate=0.1), folder=tmp_path)
    with pytest.raises(UserError, match="data"):
        run(tiny(), examples[::-1], folder=tmp_path)


def test_checkpoints_of_another_model_are_refused(tiny, examples, tmp_path):
    with pytest.raises(Killed):
        run(tiny(), examples, folder=tmp_path, on_step=kill_at(2))
    config = tiny().config
    wide = init_random(dataclasses.replace(config, width=32, family="llama"), 0)
    there = "qwen2 of 1 layers, width 16, vocabulary 32"
    with pytest.raises(UserError, match=f"model '{there}' there, 'llama of 1 layers, width 32.* here"):
        run(wide, examples, folder=tmp_path)
    deep = init_random(dataclasses.replace(config, mlp=64), 0)
    with pytest.raises(UserError, match=r"\['down'\]: float32\[1, 32, 16\] there, float32\[1, 64, 16\] here"):
        run(deep, examples, folder=tmp_path)


def test_no_room_is_said_and_the_model_is_left_whole(tiny, examples, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    model = tiny()
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(UserError, match=r"cannot be saved .*Free some space"):
            run(model, examples, folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with warnings.catch_warnings():
        # orbax drops the writes that it had not begun; Python says "never awaited" when they are collected.
        warnings.simplefilter("ignore", RuntimeWarning)
        gc.collect()
    assert np.isfinite(np.asarray(model.embed[...])).all()


def test_a_save_that_fails_without_a_word_ends_the_training(tiny, examples, tmp_path, monkeypatch):
    """As asynchronous saves of orbax may (issue 605): the folder is not there, and nothing is raised."""
    monkeypatch.setattr(ocp.CheckpointManager, "save", lambda *_, **__: True)
    steps = []
    with pytest.raises(UserError, match=r"state cannot be saved \(step 1 was not written\)"):
        run(tiny(), examples, folder=tmp_path, on_step=lambda done, *_: steps.append(done))
    assert steps == [1, 2]  # it goes on while the save is under way


def test_a_save_holds_what_was_there_when_it_began(tmp_path):
    """Steps overwrite the very arrays while they are written."""
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    keeper, x = Checkpoints(tmp_path, {}), add(jax.numpy.zeros(1 << 22))
    keeper.save(1, {"x": x}, {})
    for _ in range(20):
        x = jax.block_until_ready(add(x))
    keeper.close()
    _, found, _ = Checkpoints(tmp_path, {}).restore({"x": x})
    assert np.unique(found["x"]).tolist() == [1.0]


def test_short_trainings_write_no_checkpoint(tiny, examples, tmp_path):
    run(tiny(), examples, dataclasses.replace(CONFIG, checkpoint_every_steps=0), folder=tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_sigkill_and_resume_equals_unbroken(tiny, examples, tmp_path):
    def start(*arguments):
        root = str(Path(__file__).parents[2])
        command = [sys.executable, __file__, *arguments]
        return subprocess.run(
            command, env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.PIPE, text=True
        )

    assert start(str(tmp_path / "state"), "3").returncode == -signal.SIGKILL
    first, digest = start(str(tmp_path / "state")).stdout.split()
    assert first in ("2", "3")  # killed at step 3, while what step 2 came to may still be on its way to disk
    unbroken = tiny()
    run(unbroken, examples)
    assert digest_of(unbroken) == int(digest)


def digest_of(model):
    return sum(int(np.asarray(v).view(np.uint32).sum(dtype=np.uint64)) for v in model.params().values())


def main(folder, die_at=0):
    """Trains, prints the first step done and a digest of the parameters; or kills itself at step `die_at`."""
    config = DecoderConfig(vocab_size=32, width=16, layers=1, heads=2, kv_heads=1, head_dim=8, mlp=32)
    rng = np.random.default_rng(0)
    examples = [Example(rng.integers(0, 32, n).astype(np.int32), np.arange(n) >= 3) for n in range(6, 14)]
    steps = []

    def on_step(done, total, row):
        steps.append(done)
        if done == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    model = init_random(config, 0)
    run(model, examples, folder=folder, on_step=on_step)
    print(steps[0], digest_of(model))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))


class Preempted(KeyboardInterrupt):
    pass


def preempt(number, frame):
    raise Preempted


@pytest.mark.parametrize(("told", "last"), [(1, 2), (3, 4), (10, 10)])  # a step is told of in the next one
def test_sigterm_saves_the_step_under_way(tiny, examples, tmp_path, told, last, capfd):
    unbroken, seldom = tiny(), dataclasses.replace(CONFIG, checkpoint_every_steps=0, checkpoint_every_s=0.0)
    whole = run(unbroken, examples, seldom)

    def on_step(done, total, row):
        if done == told:
            signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, preempt)
    try:
        with pytest.raises(Preempted) as stopped:
            run(tiny(), examples, seldom, folder=tmp_path, on_step=on_step)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert f"step {last} of 10 is saved" in str(stopped.value)
    assert "saving the state" in capfd.readouterr().err
    resumed, steps = tiny(seed=9), []
    summary = run(resumed, examples, seldom, folder=tmp_path, on_step=lambda done, *_: steps.append(done))
    assert steps == list(range(last + 1, 11))
    assert_same(resumed, unbroken)
    assert without_time(summary) == without_time(whole)
