"""Synthesis by two processes, real ones: what one process makes, also where they were killed and go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rstar_jax import launch, records
from rstar_jax.evolve import synthesise
from rstar_jax.evolve.synthesis import SynthesiseSettings, Written
from rstar_jax.settings import from_config
from rstar_jax.types import Tree
from tests.evolve import test_synthesise
from tests.evolve.test_synthesise import END, NEW, Model
from tests.served.server import Server

COUNT, SAMPLES = 24, 4
seeds = test_synthesise.seeds


class Steady(Model):
    """Writes by the prompt alone, in whatever order problems are asked for."""

    def __call__(self, body, k):
        if body["stop"] == [END.strip()]:
            number = zlib.crc32(body["prompt"].encode()) % len(NEW)
            return " on and on" * 100 if number % 10 == 8 else f" {NEW[number].question}{END}"
        return super().__call__(body, k)


@pytest.fixture
def server():
    made = Server(Steady())

    async def behave(_):
        await asyncio.sleep(0.02)

    made.behave = behave
    with made.running():
        yield made


@pytest.fixture
def options(server, seeds):
    return [
        *(f"--config.seeds={seeds}", f"--config.policy={server.address}", f"--config.count={COUNT}"),
        *(f"--config.samples={SAMPLES}", "--config.agree=2", "--config.verify.workers=1"),
        *("--config.served.slots=2", "--config.batch=4"),
    ]


def alone(options: list[str], workdir: Path) -> dict[str, Any]:
    """One process's report."""
    config = launch.override(launch.load("synthesise").get_config(), options)
    return synthesise.run(from_config(SynthesiseSettings, config.to_dict()), workdir)["synthesis"]


def started(stack: contextlib.ExitStack, workdir: Path, options: list[str]) -> list[subprocess.Popen[str]]:
    """Two processes of one synthesis; the second's errors go where the first's do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "rstar_jax.launch", "--config=synthesise", f"--workdir={workdir}"),
                *(f"--config.distributed.coordinator=localhost:{port}", "--config.distributed.processes=2"),
                *(f"--config.distributed.process={index}", *options),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    for process in both:
        stack.callback(process.wait)
        stack.callback(process.kill)
    return both


def ended(both: list[subprocess.Popen[str]]) -> str:
    """What the first prints; the other prints nothing."""
    out = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert not out[1]
    return out[0]


def until(happens: Callable[[], bool], both: list[subprocess.Popen[str]]) -> None:
    give_up = time.monotonic() + 300
    while not happens():
        assert time.monotonic() < give_up and all(process.poll() is None for process in both)
        time.sleep(0.002)


def trees(folder: Path) -> list[Tree]:
    """All that are on disk, by the names of their files."""
    paths = sorted([*folder.glob("*.tree"), *folder.glob("*.parquet")])
    return [tree for path in paths for tree in records.read_rows(path, Tree)]


def result(workdir: Path) -> list[object]:
    """Everything that a synthesis found, but for what it took."""
    written = [row for path in sorted(workdir.glob("written/*")) if path.suffix == ".parquet"
               for row in records.read_rows(path, Written)]  # fmt: skip
    solved = [
        (tree.problem, [(node.parent, node.text, node.status, node.answer) for node in tree.nodes])
        for tree in trees(workdir / "solved")
    ]
    report = json.loads((workdir / "report.json").read_text())["synthesis"]
    counts = {stage: {key: report[stage].get(key) for key in ("written", "lost", "kept", "solved", "votes",
              "examples", "dropped")} for stage in report}  # fmt: skip
    return [written, solved, (workdir / "problems/problems.jsonl").read_bytes(), counts]


def left_over(workdir: Path) -> list[Path]:
    names = ("claims", "answers", "*.tree", "*.problem", "*.part", "*.journal", "*.damaged*")
    return [path for name in names for path in workdir.rglob(name)]


def asked(server: Server) -> Counter[tuple[str, int]]:
    return Counter((met.body["prompt"], met.body["seed"]) for met in server.met)


def test_two_processes_make_what_one_makes(server, options, tmp_path):
    with contextlib.ExitStack() as stack:
        out = ended(started(stack, tmp_path / "two", options))
    assert "2 hosts" in out and "kept. Lost:" in out
    assert set(asked(server).values()) == {1} and not left_over(tmp_path / "two")
    server.met.clear()
    report = alone(options, tmp_path / "one")
    assert report["problems"]["kept"] > 1
    assert result(tmp_path / "two") == result(tmp_path / "one")
    two = json.loads((tmp_path / "two/report.json").read_text())["synthesis"]["solved"]["served"]
    one = report["solved"]["served"]
    assert (two["requests"], two["tokens_out"]) == (one["requests"], one["tokens_out"])


def test_after_a_kill_nothing_is_solved_again_that_was_there(server, options, tmp_path):
    solved = tmp_path / "two/solved"
    with contextlib.ExitStack() as stack:
        both = started(stack, tmp_path / "two", options)
        until(lambda: len([*solved.glob("*.tree")]) >= 3, both)
        both[1].send_signal(signal.SIGKILL)
        both[0].terminate()  # who waits long enough is told that a host is lost
        assert both[0].wait(60) == 143 and both[1].wait() == -signal.SIGKILL
    there = {tree.problem.question for tree in trees(solved)}
    assert there and not (solved / "DONE.json").exists()
    met = len(server.met)
    with contextlib.ExitStack() as stack:
        ended(started(stack, tmp_path / "two", options))
    after = [one.body["prompt"] for one in server.met[met:]]
    assert after and not [prompt for prompt in after for question in there if question in prompt]
    # In flight, two of each process, when they were stopped.
    assert sum(times - 1 for times in asked(server).values()) <= 4
    assert not left_over(tmp_path / "two")
    alone(options, tmp_path / "one")
    assert result(tmp_path / "two") == result(tmp_path / "one")
