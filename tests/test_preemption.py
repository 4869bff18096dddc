"""SIGTERM in every phase of a command: it ends in time, says so, and what is whole is kept."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rstar_jax import parquet
from rstar_jax.problems.suite import FAMILIES
from rstar_jax.problems.worked import FlawRates, sample_solution
from rstar_jax.types import Tree

SMALL = [
    "--config=quickstart",
    "--config.problems.train=4",
    "--config.problems.heldout=24",
    "--config.search.batch=4",
    "--config.rounds=(1,)",
    "--config.stages=base",
]


WARM = [
    "--config=sft:lora",
    "--config.heldout=",
    "--config.samples=0",
    "--config.train.policy.batch=1",
    "--config.train.policy.seq_len=256",
    "--config.train.policy.checkpoint_every_steps=1",
    "--config.decode.context=384",
]


class Commands:
    """A process that forks one for each command (`interrupted.py`)."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.interrupted"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def terminated(self, folder, argv, at, *, hang=False, grace=1.0):
        """(exit status, what it said on standard error) of a command that is sent SIGTERM at a place."""
        folder.mkdir(exist_ok=True)
        err = folder / "err"
        case = {"argv": argv, "at": at, "hang": hang, "grace": grace, "err": str(err), "out": os.devnull}
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        number, there = int(self._told("process")), self._told("came")
        late = threading.Timer(25, os.kill, (number, signal.SIGKILL))
        if there == "there":
            os.kill(number, signal.SIGTERM)
            late.start()
        status = int(self._told("status"))
        late.cancel()
        assert there == "there", err.read_text()
        return status, err.read_text()

    def _told(self, what):
        word, value = self._process.stdout.readline().split()
        assert word == what
        return value

    def close(self):
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="module")
def commands():
    found = Commands()
    yield found
    found.close()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Solutions to learn from."""
    draw, path = random.Random(0), tmp_path_factory.mktemp("given") / "rows.jsonl"
    given = [sample_solution(family, draw, FlawRates())[:2] for family in list(FAMILIES)[:4]]
    path.write_text("\n".join(json.dumps({"question": q, "steps": steps}) for q, steps in given))
    return path


# Where a round, or a warm start, is sent SIGTERM, and never comes back from.
PHASES = {
    "loading weights, in threads": (SMALL, "rstar_jax.weights.weight_files:WeightFiles.read"),
    "hashing weights": (SMALL, "rstar_jax.weights.hashes:_read"),
    "compiling": (SMALL, "jax._src.compiler:backend_compile_and_load"),
    "storing a tree": (SMALL, "rstar_jax.parquet:write_rows"),
    "uploading": (SMALL, "rstar_jax.stores:BucketStore.put"),
    "a step of training": (WARM, "jax:device_get"),
    "waiting for a checkpoint": (WARM, "rstar_jax.train.checkpoints:Checkpoints.wait"),
    "writing a model": (WARM, "rstar_jax.weights.weight_files:write_file"),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_call_that_nothing_interrupts_ends_in_time(commands, rows, tmp_path, phase):
    config, at = PHASES[phase]
    where = f"memory://bucket/{tmp_path.name}" if phase == "uploading" else tmp_path / "run"
    more = [f"--config.rows={rows}"] if config == WARM else []
    status, err = commands.terminated(tmp_path, [*config, *more, f"--workdir={where}"], at, hang=True)
    assert status == 143 and "terminated" in err and "Traceback" not in err


def test_an_evaluation_keeps_its_finished_trees(commands, tmp_path):
    argv = [*SMALL, f"--workdir={tmp_path / 'run'}"]
    status, err = commands.terminated(tmp_path, argv, "rstar_jax.evolve.shards:Shards._take", grace=20.0)
    assert status == 143 and err == "\nterminated; the same command goes on where it was.\n"
    stage = tmp_path / "run/base/evaluate"
    assert not (stage / "DONE.json").exists()
    assert len(parquet.read_rows(next(stage.glob("*.tree")), Tree)) == 1


def test_a_save_under_way_is_ended_and_gone_on_from(commands, rows, tmp_path):
    argv = [*WARM, f"--config.rows={rows}", f"--workdir={tmp_path / 'run'}"]
    save = "rstar_jax.train.checkpoints:Checkpoints.save"
    status, err = commands.terminated(tmp_path, argv, save, grace=20.0)
    assert status == 143 and err.endswith("of 8 is saved; the same command goes on from there.\n")
    saved = [path.parent.name for path in tmp_path.glob("run/policy/checkpoints/*/_CHECKPOINT_METADATA")]
    assert saved and f"step {max(saved)} of 8" in err
    status, _ = commands.terminated(tmp_path, argv, "rstar_jax.train.checkpoints:Checkpoints._read")
    assert status == 143  # there was one to be read


def test_waiting_for_hosts_that_do_not_come_ends_in_time(commands, tmp_path):
    place = ("coordinator=127.0.0.1:9", "processes=2", "process=1")
    argv = [*SMALL, *(f"--config.distributed.{given}" for given in place), f"--workdir={tmp_path / 'run'}"]
    status, err = commands.terminated(tmp_path, argv, "rstar_jax.distributed.roll_call:call")
    assert status == 143 and "terminated" in err and "Traceback" not in err
