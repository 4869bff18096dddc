"""SIGTERM in every phase of a command: it ends in time, says so, and what is whole is kept."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rstar_jax import records
from rstar_jax.types import Tree

SMALL = [
    "--config=quickstart",
    "--config.problems.train=4",
    "--config.problems.heldout=24",
    "--config.search.batch=4",
    "--config.rounds=(1,)",
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
        number = int(self._process.stdout.readline())
        there = self._process.stdout.readline()
        assert there == "there\n", err.read_text()
        os.kill(number, signal.SIGTERM)
        late = threading.Timer(25, os.kill, (number, signal.SIGKILL))
        late.start()
        status = int(self._process.stdout.readline())
        late.cancel()
        return status, err.read_text()

    def close(self):
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="module")
def commands():
    found = Commands()
    yield found
    found.close()


@pytest.mark.parametrize(
    "at",
    [
        "rstar_jax.weights.weight_files:WeightFiles.read",  # in threads
        "rstar_jax.weights.hashes:_read",  # as the main thread does
        "jax._src.compiler:backend_compile_and_load",
        "rstar_jax.evolve.shards:Shards._add",
    ],
)
def test_a_call_that_nothing_interrupts_ends_in_time(commands, tmp_path, at):
    argv = [*SMALL, "--config.stages=base", f"--workdir={tmp_path / 'run'}"]
    status, err = commands.terminated(tmp_path, argv, at, hang=True)
    assert status == 143 and "terminated" in err and "Traceback" not in err


def test_an_evaluation_keeps_its_finished_trees(commands, tmp_path):
    argv = [*SMALL, "--config.stages=base", f"--workdir={tmp_path / 'run'}"]
    status, err = commands.terminated(tmp_path, argv, "rstar_jax.evolve.shards:Shards._take", grace=20.0)
    assert status == 143 and err == "\nterminated; the same command goes on where it was.\n"
    stage = tmp_path / "run/base/evaluate"
    assert not (stage / "DONE.json").exists()
    assert len(records.read_rows(next(stage.glob("*.tree")), Tree)) == 1
