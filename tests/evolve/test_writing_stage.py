"""Problems that several hosts write: those of one host, none asked for twice, by any number after a kill."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rstar_jax import parquet
from rstar_jax.evolve import joint_search
from rstar_jax.evolve.joint_search import Team
from rstar_jax.evolve.synthesis import Written
from rstar_jax.evolve.writing_stage import WrittenProblems, _alone, _together
from rstar_jax.queues import Batched
from rstar_jax.stores import store

COUNT, SIZE = 43, 8


class Broken(Exception):
    """Stands for a kill."""


class Writer:
    """A policy that all hosts ask. asked: places in order. settled: ids. most: answers before it breaks."""

    def __init__(self, most: int = 1000) -> None:
        self.asked, self.begun, self.settled_ids, self._most = list[int](), list[str](), list[str](), most
        self._lock = threading.Lock()

    def queue(self) -> Batched[int, Written]:
        return Batched(self._write)

    def _write(self, places: Any) -> list[Written]:
        with self._lock:
            self.asked += places
            if len(self.asked) > self._most:
                raise Broken
        return [Written(f"new-{i}", f"Question {i}?", ("a",), "too long" * (i % 5 == 0)) for i in places]

    def begins(self, trees: str, block: str, problem_id: str) -> None:
        self.begun.append(f"{block} {problem_id}")

    def settled(self, trees: str, problem_ids: Any) -> None:
        self.settled_ids += problem_ids


def write(folder: Path, hosts: int, writer: Writer, most: int = 5, start: str = "a") -> list[BaseException]:
    """Have hosts write in a folder; returns what they failed by."""
    folder.mkdir(exist_ok=True)
    told, met = [None] * hosts, threading.Barrier(hosts)
    synthesis: Any = SimpleNamespace(progress=SimpleNamespace(update=lambda done=None, *, doing="": None))

    def host(index: int) -> None:
        def gathered(value: Any) -> list[Any]:
            told[index] = value
            met.wait(10)
            found = list(told)
            met.wait(10)
            return found

        team = Team(index, hosts, f"{start}{index}", gathered, store(folder), lease_s=1.0)
        blocks = WrittenProblems(folder, COUNT, size=SIZE, index=index, count=hosts)
        joint_search.meet(blocks, team)
        if hosts == 1:
            _alone(synthesis, blocks, writer.queue(), most, writer)
        else:
            _together(synthesis, blocks, writer.queue(), most, writer, team)
        assert blocks.done == COUNT
        gathered(None)
        joint_search.clear(folder, team, SIZE, ".problem")

    with ThreadPoolExecutor(hosts) as pool:
        futures = [pool.submit(host, index) for index in range(hosts)]
        return [error for future in futures if (error := future.exception()) is not None]


def files(folder: Path) -> dict[str, list[Written]]:
    return {path.name: parquet.read_rows(path, Written) for path in folder.glob("*")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The files that one host makes, by name."""
    folder = tmp_path_factory.mktemp("alone") / "written"
    writer = Writer()
    assert not write(folder, 1, writer)
    assert sorted(writer.asked) == [*range(COUNT)] and not writer.begun
    found = files(folder)
    assert sorted(found) == [f"written-{number:05d}.parquet" for number in range(6)]
    assert [row.id for name in sorted(found) for row in found[name]] == [f"new-{i}" for i in range(COUNT)]
    return found


@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_write_the_files_of_one(tmp_path, alone, hosts):
    writer = Writer()
    assert not write(tmp_path / "written", hosts, writer)
    assert sorted(writer.asked) == [*range(COUNT)]
    assert files(tmp_path / "written") == alone
    assert set(writer.begun) == {f"written-{i // SIZE:05d} new-{i}" for i in range(COUNT)}
    assert sorted(writer.settled_ids) == sorted(f"new-{i}" for i in range(COUNT))


@pytest.mark.parametrize("hosts", [1, 3])
def test_what_broken_hosts_have_written_is_not_asked_for_again(tmp_path, alone, hosts):
    folder = tmp_path / "written"
    assert write(folder, 2, Writer(most=23))
    there = {row.id for path in folder.glob("written-*") for row in parquet.read_rows(path, Written)}
    assert 5 < len(there) < COUNT and [*folder.glob("*.problem")]
    writer = Writer()
    assert not write(folder, hosts, writer, start="b")
    assert sorted(writer.asked) == [i for i in range(COUNT) if f"new-{i}" not in there]
    assert files(folder) == alone


def test_damaged_problems_and_those_of_others_are_written_again(tmp_path, alone, caplog):
    folder = tmp_path / "written"
    assert not write(folder, 1, Writer())
    (folder / "written-00001.parquet").write_bytes(b"PAR1")
    parquet.write_rows(folder / "written-00005.parquet", Written, [Written("new-3", "x", (), "")] * 3)
    writer = Writer()
    assert not write(folder, 2, writer)
    assert sorted(writer.asked) == [*range(8, 16), 40, 41, 42]
    aside = [path for path in folder.glob("*damaged*") if path.unlink() is None]
    assert len(aside) == 2 and files(folder) == alone
    assert "not of the problems that belong here" in caplog.text


def test_what_is_left_beside_a_whole_block_goes_at_the_end(tmp_path):
    folder = tmp_path / "written"
    assert not write(folder, 1, Writer())
    names = [path.name for path in folder.iterdir()]
    late = [WrittenProblems(tmp_path / "late", COUNT, size=SIZE).single(place).name for place in (9, 42)]
    for name in (*late, ".written-000011.problem.host-1.part"):
        (folder / name).write_bytes(b"late")
    team = Team(0, 2, "z", lambda value: [value], store(folder))
    joint_search.clear(folder, team, SIZE, ".problem")
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
