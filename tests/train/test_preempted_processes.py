"""One of two processes of a training stops: told to, both save the same step, and end as preempted; by an
error of its own, it takes the other one along."""

import dataclasses
import re
import signal
import sys
from pathlib import Path

import pytest

from rstar_jax.errors import UserError
from rstar_jax.launch import signals
from rstar_jax.launch.processes import leaving_together
from rstar_jax.models import DecoderConfig, init_random
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import TrainConfig, train_policy
from rstar_jax.types import SftRow
from rstar_jax.weights import load_pretrained, save_pretrained
from tests.on_processes import ended, started

ROWS = [
    SftRow("p", f"{i}?", (f"<code>\n# Step 1: add\nx = {i}\n<end_of_step>",), 1.0, 1.0, 1) for i in range(8)
]
CONFIG = TrainConfig(epochs=2000, batch=8, seq_len=48, microbatch=2, checkpoint_every_s=0.0)


def main(processes: int, index: int, port: int, folder: Path, fails: int) -> None:
    """A process of the training. fails: the step after which the second one has an error; 0: none."""
    from rstar_jax import distributed
    from rstar_jax.distributed import watch
    from rstar_jax.sharding import make_mesh

    signals.install()
    # Where one fails, the other looks no more before its connection to that one breaks.
    watch.LOOK_S, watch._LEAVE_S = 600.0 if fails else 0.2, 30.0
    distributed.start(distributed.DistributedConfig(f"127.0.0.1:{port}", processes, index))
    policy = load_pretrained(folder / "base", mesh=make_mesh(data=2))
    config = dataclasses.replace(CONFIG, checkpoint_every_steps=2 if fails else 0)

    def on_step(done: int, *_: object) -> None:
        print("step", done, flush=True)
        if index and done == fails:
            raise UserError("of this host alone")

    status = 0
    try:
        with leaving_together():
            train_policy(
                policy,
                ROWS,
                Tokenizer.load(folder / "base", CODE_STEPS),
                "Question: {}\n".format,
                config,
                on_step=on_step,
                checkpoints=folder / "state",
            )
    except KeyboardInterrupt as stopped:
        print("stopped", str(stopped) or signals.message(stopped), flush=True)
        status = signals.status(stopped)
    except UserError as error:
        status = 2
        print(error, flush=True)
    signals.leave(status)


@pytest.fixture
def base(tmp_path):
    tokenizer = Tokenizer.train(
        [*(row.question for row in ROWS), *ROWS[0].steps, "Question: "], 300, CODE_STEPS
    )
    config = DecoderConfig(tokenizer.vocab_size, width=16, layers=1, heads=2, kv_heads=1, head_dim=8, mlp=32)
    save_pretrained(init_random(config, 0), tmp_path / "base", tokenizer_from=tokenizer)


def test_both_save_the_same_step(base, tmp_path):
    with started(__file__, tmp_path, 0, processes=2, devices=2) as running:
        told = running[1]
        while told.poll() is None and told.stdout.readline() != "step 3\n":
            pass
        told.send_signal(signal.SIGTERM)
        said = ended(running, timeout=240)
    assert [process.returncode for process in running] == [143, 143], said
    found = [re.search(r"stopped stopped; step (\d+) of 2000 is saved", out) for out, _ in said]
    assert all(found), said
    saved = {match[1] for match in found}
    assert len(saved) == 1 and (tmp_path / "state" / saved.pop() / "_CHECKPOINT_METADATA").exists()


def test_one_that_fails_after_a_save_waits_for_nobody(base, tmp_path):
    with started(__file__, tmp_path, 3, processes=2, devices=2) as running:
        said = ended(running, timeout=240)
    assert [process.returncode for process in running] == [2, 2], said
    assert "of this host alone" in "".join(said[0]), said


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), Path(sys.argv[4]), int(sys.argv[5]))
