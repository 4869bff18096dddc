"""Several hosts search as one would: real processes on real files, killed and suspended ones among them."""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from rstar_jax.evolve.joint_search import clear
from tests.evolve import joint_hosts
from tests.evolve.joint_hosts import CONFIG, PROBLEMS, started
from tests.search.scripted import World


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The files that one host makes, by name; and what it finds."""
    folder = tmp_path_factory.mktemp("alone")
    shards = joint_hosts.shards(folder)
    shards.grow(World(rates=(0.4, 0.4, 0.2)).functions().queues(), CONFIG, training=True)
    assert not (folder / "claims").exists()
    return files(folder), [sorted(shards.solved), shards.trajectories]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def log(folder: Path, what: str) -> list[tuple[str, str]]:
    lines = [line.split() for line in Path(f"{folder}.log").read_text().splitlines()]
    return [(host, problem) for said, host, problem in lines if said == what]


def ended(children: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def all_here(folder: Path) -> None:
    for index in range(2):
        clear(folder, joint_hosts.team(folder, index, 2, "z"), joint_hosts.SIZE)


def until(happens, seconds: float = 60.0) -> None:
    give_up = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < give_up
        time.sleep(0.005)


@pytest.mark.parametrize("count", [2, 4])
def test_hosts_make_the_files_of_one_host(tmp_path, alone, count):
    folder = tmp_path / "search"
    folder.mkdir()
    with started(folder, count, pause_s=0.001) as children:
        assert ended(children) == [0] * count
    assert files(folder) == alone[0]
    assert Counter(p for _, p in log(folder, "began")) == {f"p{i}": 1 for i in range(PROBLEMS)}
    assert len({host for host, _ in log(folder, "stored")}) == count
    for index in range(count):  # each knows what all have found
        assert json.loads(Path(f"{folder}.a-{index}").read_text()) == alone[1]
    assert (folder / "claims").exists()
    all_here(folder)
    assert not (folder / "claims").exists()


def test_what_a_killed_host_had_others_take_over(tmp_path, alone):
    folder = tmp_path / "search"
    folder.mkdir()
    with started(folder, 3, pause_s=0.01) as children:
        until(lambda: Path(f"{folder}.log").exists() and len(log(folder, "stored")) > 5)
        os.kill(children[1], signal.SIGKILL)
        assert ended(children) == [0, -signal.SIGKILL, 0]
    all_here(folder)
    assert files(folder) == alone[0]
    began = Counter(p for _, p in log(folder, "began"))
    stored = {p for host, p in log(folder, "stored") if host == "a-1"}
    for problem, times in began.items():
        hosts = [host for host, p in log(folder, "began") if p == problem]
        assert times == 1 or (hosts[0] == "a-1" and problem not in stored and times == 2)
    assert set(began) == {f"p{i}" for i in range(PROBLEMS)} and len(stored) < PROBLEMS


def test_after_all_were_killed_fewer_hosts_search_what_is_not_there_at_once(tmp_path, alone):
    folder = tmp_path / "search"
    folder.mkdir()
    with started(folder, 4, pause_s=0.01) as children:
        until(lambda: Path(f"{folder}.log").exists() and len(log(folder, "stored")) > 10)
        for child in children:
            os.kill(child, signal.SIGKILL)
        ended(children)
    there = {name.split("-")[-1] for name in files(folder)}
    stored = {p for _, p in log(folder, "stored")}
    assert there and len(stored) < PROBLEMS
    with started(folder, 2, start="b", pause_s=0.001) as children:
        assert ended(children) == [0, 0]
    all_here(folder)
    assert files(folder) == alone[0]
    again = {p for host, p in log(folder, "began") if host.startswith("b")}
    assert not again & stored


def test_a_suspended_host_finds_that_it_has_lost_its_problems(tmp_path, alone):
    folder = tmp_path / "search"
    folder.mkdir()
    with started(folder, 2, pause_s=0.01) as children:
        until(lambda: Path(f"{folder}.log").exists() and len({h for h, _ in log(folder, "stored")}) == 2)
        os.kill(children[1], signal.SIGSTOP)
        until(lambda: Path(f"{folder}.a-0").exists())
        at_rest = len(log(folder, "began"))
        os.kill(children[1], signal.SIGCONT)
        assert ended(children) == [0, 0]
    assert len(log(folder, "began")) - at_rest <= CONFIG.batch  # of the turn that it was in
    all_here(folder)
    assert files(folder) == alone[0]
