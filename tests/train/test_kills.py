"""A training that is killed (SIGKILL) at random moments, and within a save, ends with the bits of an unbroken
one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rstar_jax.train import read_metrics

KILLS, STEPS = 20, 80
SAVING = ("os.mkdir", "os.rename")  # a save begins; all is written, and gets its name


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What a process tells that forks one training after another, so that it alone pays for the imports."""
    folder = tmp_path_factory.mktemp("kills")
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"}
    told = subprocess.run(
        [sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True, timeout=1200
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return folder, json.loads(told.stdout.splitlines()[-1])


def test_killed_at_random_moments_it_learns_the_same_bits(killed):
    folder, told = killed
    assert told["kills"] == KILLS and max(told["went_on_at"]) > 5
    assert (folder / "broken.bin").read_bytes() == (folder / "unbroken.bin").read_bytes()
    assert [row["step"] for row in read_metrics(folder / "broken" / "metrics.jsonl")] == list(range(STEPS))


@pytest.mark.parametrize("event", SAVING)
def test_killed_within_a_save_it_goes_on_from_the_one_before(killed, event):
    folder, told = killed
    assert told[event] == 3  # which was done, and is done again
    assert (folder / f"{event}.bin").read_bytes() == (folder / "unbroken.bin").read_bytes()


def train(folder, tell, result, die=None):
    """A training in this process. tell: called with each step. die: event of step 3's save at which it is
    killed."""
    import jax
    import numpy as np

    from rstar_jax.models import DecoderConfig, init_random
    from rstar_jax.train import Example, MetricsWriter, PolicyBatches, TrainConfig, fit, policy_loss

    jax.config.update("jax_compilation_cache_dir", str(folder.parent / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if die:
        die_within_a_save(die)
    config = DecoderConfig(vocab_size=32, width=16, layers=1, heads=2, kv_heads=1, head_dim=8, mlp=32)
    options = TrainConfig(
        epochs=STEPS, batch=8, seq_len=32, microbatch=4, learning_rate=1e-2, checkpoint_every_steps=1
    )
    rng = np.random.default_rng(0)
    examples = [Example(rng.integers(0, 32, n).astype(np.int32), np.arange(n) >= 3) for n in range(6, 14)]
    batches, model = PolicyBatches(examples, options, 0), init_random(config, 0)
    fit(
        model,
        batches,
        policy_loss,
        options,
        total_steps=batches.total_steps,
        checkpoints=folder / "state",
        metrics=MetricsWriter(folder, tensorboard=False),
        on_step=lambda step, *_: tell(step),
    )
    arrays = [np.asarray(array) for _, array in sorted(model.params().items())]
    result.write_bytes(b"".join(array.tobytes() for array in arrays))


def die_within_a_save(event):
    """Have this process killed when Python tells of this audit event of what step 3 is written to."""

    def die(told, arguments):
        if told == event and "/3.orbax" in str(arguments[0]):
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

    def begun(name, **options):
        return forked(lambda tell: train(folder / name, tell, folder / f"{name}.bin", **options))

    rng, told = random.Random(0), {"kills": 0, "went_on_at": []}
    child, _ = begun("unbroken")
    assert os.waitpid(child, 0)[1] == 0
    while True:
        child, steps = begun("broken")
        if told["kills"] < KILLS:
            after = rng.randrange(6)  # steps, then some time
            first = [steps.read(1) for _ in range(after)][:1]
            time.sleep(rng.uniform(0, 0.05 if after else 1.0))
            os.kill(child, signal.SIGKILL)
            told["went_on_at"] += [one[0] for one in first if one]
        ended = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(ended):
            assert ended == 0
            break
        told["kills"] += 1
    for event in SAVING:
        child, _ = begun(event, die=event)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        child, steps = begun(event)
        told[event] = steps.read(1)[0]
        assert os.waitpid(child, 0)[1] == 0
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
