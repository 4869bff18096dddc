"""A training with all options that have a state, killed (SIGKILL) at random moments and within saves, ends
with the bits of an unbroken one: parameters, their average, moments, and the best ones on disk."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rstar_jax.train import TrainConfig, read_metrics

KILLS, STEPS = 20, 40  # at most; those within saves among them
POISONED = {14: float("nan"), 24: 1e3}  # losses by whose factors a step is not finite, and a spike
CONFIG = TrainConfig(
    epochs=STEPS,
    batch=8,
    seq_len=32,
    microbatch=4,
    optimizer="adamw8bit",
    learning_rate=1e-2,
    b1=0.8,
    ema=0.8,
    spike=20.0,
    keep="best",
    profile="10:16",
    checkpoint_every_s=0.0,
    checkpoint_every_steps=2,
)
# What Python tells of where the training is killed, and the steps that may be the first after that: a save
# begins; all is written, and gets its name; the best parameters get theirs, as the state before may still be
# written; the state that tells of them begins.
SAVING = (
    ("os.mkdir", "state/4.orbax", (3,)),
    ("os.rename", "state/4.orbax", (3,)),
    ("os.rename", "best/5.orbax", (3, 5)),
    ("os.mkdir", "state/5.orbax", (5,)),
)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What a process tells that forks one training after another, so that it alone pays for the imports."""
    folder = tmp_path_factory.mktemp("kills")
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"}
    told = subprocess.run(
        [sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True, timeout=3000
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return folder, json.loads(told.stdout.splitlines()[-1])


def test_killed_at_any_moment_it_learns_the_same_bits(killed):
    folder, began_at = killed
    assert len(began_at) > 12 and max(began_at) > 10, began_at
    # Killed within a save, it goes on from the one before.
    after = zip(began_at[1:], SAVING, strict=False)
    assert all(step in steps for step, (*_, steps) in after)
    assert (folder / "broken.bin").read_bytes() == (folder / "unbroken.bin").read_bytes()
    assert [row["step"] for row in read_metrics(folder / "broken" / "metrics.jsonl")] == list(range(STEPS))


def test_each_option_has_done_something(killed):
    rows = read_metrics(killed[0] / "unbroken" / "metrics.jsonl")
    assert rows[-1]["skipped"] == len(POISONED)
    measured = [row["held_out_loss"] for row in rows if "held_out_loss" in row]
    assert len(measured) == STEPS // 5 and 0 < measured.index(min(measured)) < len(measured) - 1
    assert any((killed[0] / "unbroken" / "profile").glob("**/*.xplane.pb"))


def train(folder, tell, result, die=None):
    """A training in this process. tell: called with each step. die: event and part of a path at which it is
    killed."""
    import jax
    import numpy as np

    from rstar_jax.models import DecoderConfig, init_random
    from rstar_jax.train import Example, MetricsWriter, PolicyBatches, measure, policy_loss, steadiness
    from tests.train.test_steadiness import train as fit

    steadiness._AT_LEAST = 8  # steps before there are spikes
    jax.config.update("jax_compilation_cache_dir", str(folder.parent / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if die:
        die_at(*die)
    shape = DecoderConfig(vocab_size=32, width=16, layers=1, heads=2, kv_heads=1, head_dim=8, mlp=32)
    rng = np.random.default_rng(0)
    examples = [Example(rng.integers(0, 32, n).astype(np.int32), np.arange(n) >= 3) for n in range(6, 14)]
    held_out, model = PolicyBatches(examples[:3], CONFIG, 0), init_random(shape, 0)

    def measured(model):
        found = measure(model, held_out, policy_loss, CONFIG, total_steps=1)
        return {"loss": abs(found["loss"] - 2.8)}  # the best is neither the first nor the last

    fit(
        model,
        examples,
        POISONED,
        CONFIG,
        checkpoints=folder / "state",
        metrics=MetricsWriter(folder, tensorboard=False),
        on_step=lambda step, *_: tell(step),
        held_out=measured,
        held_out_every=5,
    )
    arrays = [np.asarray(array) for _, array in sorted(model.params().items())]
    saved = [array for kept in (folder / "state", folder / "state" / "best") for array in newest(kept)]
    result.write_bytes(b"".join(array.tobytes() for array in [*arrays, *saved]))


def newest(folder):
    """The arrays of the newest checkpoint in a folder: parameters, their average, moments."""
    import jax
    import orbax.checkpoint as ocp

    if steps := [int(path.name) for path in folder.glob("*") if path.name.isdigit()]:
        return jax.tree.leaves(ocp.StandardCheckpointHandler().restore(folder / str(max(steps)) / "state"))
    return []


def die_at(event, part):
    """Have this process killed when Python tells of this audit event of a path with this part."""

    def die(told, arguments):
        if told == event and part in str(arguments[0]):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)


def forked(work):
    """A process that calls `work` with a function to tell it numbers; its id, and where they are read."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.close(read)
            work(lambda number: os.write(write, bytes([number])))
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    return child, os.fdopen(read, "rb", buffering=0)  # an end of the process ends it


def main(folder):
    import orbax.checkpoint  # noqa: F401

    import rstar_jax.train.loop
    import rstar_jax.train.policy  # noqa: F401
    import tests.train.test_steadiness  # noqa: F401

    def begun(name, **options):
        return forked(lambda tell: train(folder / name, tell, folder / f"{name}.bin", **options))

    child, _ = begun("unbroken")
    assert os.waitpid(child, 0)[1] == 0
    rng, began_at, ended = random.Random(0), [], None
    while ended != 0:
        kills = len(began_at)
        die = SAVING[kills][:2] if kills < len(SAVING) else None
        child, steps = begun("broken", die=die)
        is_killed = len(SAVING) <= kills < KILLS
        after = rng.randrange(6) if kills > len(SAVING) else 1  # steps, then some time
        seen = [steps.read(1) for _ in range(after if is_killed else 1)]
        if is_killed:
            time.sleep(rng.uniform(0, 0.02 if after else 1.0))
            os.kill(child, signal.SIGKILL)
        began_at.append(seen[0][0] if seen and seen[0] else 0)
        ended = os.waitpid(child, 0)[1]
        assert ended == 0 or os.WTERMSIG(ended) == signal.SIGKILL
    print(json.dumps(began_at))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
