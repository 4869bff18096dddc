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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rstar_jax import launch, parquet
from rstar_jax.evolve import synthesise
from rstar_jax.evolve.synthesis import SynthesiseSettings, Written
from rstar_jax.settings import from_config
from rstar_jax.types import Tree
from tests.evolve.test_synthesise import END, NEW, SEEDS, Model
from tests.served.server import Server

COUNT, SAMPLES, SLOTS = 24, 4, 2


class Steady(Model):
    """Writes by the prompt alone, in whatever order problems are asked for."""

    def __call__(self, body, k):
        if body["stop"] == [END.strip()]:
            number = zlib.crc32(body["prompt"].encode()) % len(NEW)
            return " on and on" * 100 if number % 10 == 8 else f" {NEW[number].question}{END}"
        return super().__call__(body, k)


@pytest.fixture(scope="module")
def server():
    made = Server(Steady())

    async def behave(_):
        await asyncio.sleep(0.02)

    made.behave = behave
    with made.running():
        yield made


@pytest.fixture(scope="module")
def options(server, tmp_path_factory):
    path = tmp_path_factory.mktemp("seeds") / "seeds.jsonl"
    rows = ({"id": p.id, "question": p.question, "answer": p.answer} for p in SEEDS)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return [
        *(f"--config.seeds={path}", f"--config.policy={server.address}", f"--config.count={COUNT}"),
        *(f"--config.samples={SAMPLES}", "--config.agree=2", "--config.verify.workers=1"),
        *(f"--config.served.slots={SLOTS}", "--config.batch=4"),
    ]


@pytest.fixture(scope="module")
def alone(options, tmp_path_factory):
    """The folder of one process."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    config = launch.override(launch.load("synthesise").get_config(), options)
    report = synthesise.run(from_config(SynthesiseSettings, config.to_dict()), workdir)
    assert report["synthesis"]["problems"]["kept"] > 1
    return workdir


@contextlib.contextmanager
def started(workdir: Path, options: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes of one synthesis, which are killed at the end."""
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
    try:
        yield both
    finally:
        for process in both:
            process.kill()
            process.communicate()


def killed(workdir: Path, options: list[str], happens: Callable[[], bool]) -> None:
    """Two processes, of which the second is killed once something happens, and the first then told to end:
    it would hear after a minute that a host is lost."""
    with started(workdir, options) as both:
        give_up = time.monotonic() + 300
        while not happens():
            assert time.monotonic() < give_up and [process.poll() for process in both] == [None, None]
            time.sleep(0.002)
        both[1].send_signal(signal.SIGKILL)
        both[0].terminate()
        assert [process.wait(120) for process in both] == [143, -signal.SIGKILL]


def ended(workdir: Path, options: list[str]) -> str:
    """Two processes to their end; what the first prints. The other prints nothing."""
    with started(workdir, options) as both:
        printed = [process.communicate(timeout=300)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0] and not printed[1]
        return printed[0]


def rows(folder: Path, single: str, kind: type) -> list[Any]:
    """All that are on disk."""
    paths = sorted([*folder.glob(single), *folder.glob("*.parquet")])
    return [row for path in paths for row in parquet.read_rows(path, kind)]


def trees(workdir: Path) -> list[Tree]:
    return rows(workdir / "solved", "*.tree", Tree)


def result(workdir: Path) -> list[Any]:
    """Everything that a synthesis found, but for what it took."""
    solved = [(tree.problem, [(n.parent, n.text, n.status, n.answer) for n in tree.nodes]) for tree in
              trees(workdir)]  # fmt: skip
    report = json.loads((workdir / "report.json").read_text())["synthesis"]
    names = ("written", "lost", "dropped", "kept", "solved", "votes", "examples")
    counts = {stage: {name: found.get(name) for name in names} for stage, found in report.items()}
    kept = (workdir / "problems/problems.jsonl").read_bytes()
    return [rows(workdir / "written", "*.problem", Written), solved, kept, counts]


def left_over(workdir: Path) -> list[Path]:
    names = ("claims", "answers", "*.tree", "*.problem", "*.part", "*.journal", "*.damaged*")
    return [path for name in names for path in workdir.rglob(name)]


def asked(server: Server) -> tuple[Counter[Any], Counter[Any]]:
    """How often each problem was asked for, and each step of a solution."""
    counts = Counter[Any](), Counter[Any]()
    for met in server.met:
        counts[met.body["stop"] != [END.strip()]][met.body["prompt"], met.body["seed"]] += 1
    return counts


def served(workdir: Path) -> list[dict[str, int]]:
    """Return what the stages asked the server, by kind."""
    found = json.loads((workdir / "report.json").read_text())["synthesis"]
    counts = [found[stage]["served"] for stage in ("written", "solved")]
    return [{name: count[name] for name in ("requests", "tokens_out")} for count in counts]


def test_two_processes_make_what_one_makes(server, options, alone, tmp_path):
    server.met.clear()
    out = ended(tmp_path / "run", options)
    assert "2 hosts" in out and f"{COUNT} asked for" in out
    problems, steps = asked(server)
    assert (
        [*problems.values()] == [1] * COUNT and {*steps.values()} == {1} and not left_over(tmp_path / "run")
    )
    assert result(tmp_path / "run") == result(alone) and served(tmp_path / "run") == served(alone)


def test_after_kills_nothing_is_made_again_that_was_there(server, options, alone, tmp_path):
    server.met.clear()
    run = tmp_path / "run"
    killed(run, options, lambda: len([*run.glob("written/*.problem")]) >= 3)
    there = rows(run / "written", "*.problem", Written)
    assert 3 <= len(there) < COUNT and not (run / "written/DONE.json").exists()
    killed(run, options, lambda: len([*run.glob("solved/*.tree")]) >= 3)
    solved, met = {tree.problem.question for tree in trees(run)}, len(server.met)
    assert len(solved) >= 3 and not (run / "solved/DONE.json").exists()
    ended(run, options)
    after = [one.body["prompt"] for one in server.met[met:]]
    assert after and not [prompt for prompt in after for question in solved if question in prompt]
    for counts in asked(server):  # again what was in flight, of both, when they were stopped
        assert sum(times - 1 for times in counts.values()) <= 2 * SLOTS
    assert len(asked(server)[0]) == COUNT and not left_over(run) and result(run) == result(alone)
