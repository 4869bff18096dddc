"""Several hosts search as one would: real processes on real files, killed and suspended ones among them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rstar_jax.evolve import joint_search
from rstar_jax.evolve.claims import Claims, Unit
from rstar_jax.evolve.joint_search import Team, clear
from tests.evolve import joint_hosts
from tests.evolve.joint_hosts import CONFIG, PROBLEMS
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


class Hosts:
    """Processes that search in a folder, forked by one that has imported all they need."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.evolve.joint_hosts"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, folder, count, *, start="a", pause_s=0.0):
        """The ids of processes."""
        return [int(word) for word in self._ask(f"{folder} {count} {start} {pause_s}")]

    def ended(self):
        """Their exit statuses, once all have ended."""
        return [int(word) for word in self._ask("ended")]

    def _ask(self, line):
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().split()

    def close(self):
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="module")
def hosts():
    found = Hosts()
    yield found
    found.close()


def all_here(folder: Path) -> None:
    for index in range(2):
        clear(folder, joint_hosts.team(folder, index, 2, "z"), joint_hosts.SIZE)


def until(happens, seconds: float = 60.0) -> None:
    give_up = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < give_up
        time.sleep(0.005)


@pytest.mark.parametrize("count", [2, 4])
def test_hosts_make_the_files_of_one_host(hosts, tmp_path, alone, count):
    folder = tmp_path / "search"
    folder.mkdir()
    hosts.start(folder, count, pause_s=0.001)
    assert hosts.ended() == [0] * count
    assert files(folder) == alone[0]
    assert Counter(p for _, p in log(folder, "began")) == {f"p{i}": 1 for i in range(PROBLEMS)}
    assert len({host for host, _ in log(folder, "stored")}) == count
    for index in range(count):  # each knows what all have found
        assert json.loads(Path(f"{folder}.a-{index}").read_text()) == alone[1]
    assert (folder / "claims").exists()
    all_here(folder)
    assert not (folder / "claims").exists()


def test_what_a_killed_host_had_others_take_over(hosts, tmp_path, alone):
    folder = tmp_path / "search"
    folder.mkdir()
    children = hosts.start(folder, 3, pause_s=0.01)
    until(lambda: Path(f"{folder}.log").exists() and len(log(folder, "stored")) > 5)
    os.kill(children[1], signal.SIGKILL)
    assert hosts.ended() == [0, -signal.SIGKILL, 0]
    all_here(folder)
    assert files(folder) == alone[0]
    began = Counter(p for _, p in log(folder, "began"))
    stored = {p for host, p in log(folder, "stored") if host == "a-1"}
    for problem, times in began.items():
        by = [host for host, p in log(folder, "began") if p == problem]
        assert times == 1 or (by[0] == "a-1" and problem not in stored and times == 2)
    assert set(began) == {f"p{i}" for i in range(PROBLEMS)} and len(stored) < PROBLEMS


def test_after_all_were_killed_fewer_hosts_search_what_is_not_there_at_once(hosts, tmp_path, alone):
    folder = tmp_path / "search"
    folder.mkdir()
    children = hosts.start(folder, 4, pause_s=0.01)
    until(lambda: Path(f"{folder}.log").exists() and len(log(folder, "stored")) > 10)
    for child in children:
        os.kill(child, signal.SIGKILL)
    hosts.ended()
    there = {name.split("-")[-1] for name in files(folder)}
    stored = {p for _, p in log(folder, "stored")}
    assert there and len(stored) < PROBLEMS
    children = hosts.start(folder, 2, start="b", pause_s=0.001)
    assert hosts.ended() == [0, 0]
    all_here(folder)
    assert files(folder) == alone[0]
    again = {p for host, p in log(folder, "began") if host.startswith("b")}
    assert not again & stored


def test_a_suspended_host_finds_that_it_has_lost_its_problems(hosts, tmp_path, alone):
    folder = tmp_path / "search"
    folder.mkdir()
    children = hosts.start(folder, 2, pause_s=0.01)
    until(lambda: Path(f"{folder}.log").exists() and len({h for h, _ in log(folder, "stored")}) == 2)
    os.kill(children[1], signal.SIGSTOP)
    until(lambda: Path(f"{folder}.a-0").exists())
    at_rest = len(log(folder, "began"))
    os.kill(children[1], signal.SIGCONT)
    assert hosts.ended() == [0, 0]
    assert len(log(folder, "began")) - at_rest <= CONFIG.batch  # of the turn that it was in
    all_here(folder)
    assert files(folder) == alone[0]


class Objects:
    """A bucket: objects by name, all that hosts without a common folder share."""

    def __init__(self):
        self.objects = dict[str, bytes]()

    def create(self, name, data):
        return self.objects.setdefault(name, data) is data

    def write(self, name, data):
        self.objects[name] = data

    def read(self, name):
        return self.objects.get(name)

    def names(self, prefix=""):
        return sorted(name for name in list(self.objects) if name.startswith(prefix))

    def remove(self, name):
        self.objects.pop(name, None)


def test_hosts_need_no_common_folder(tmp_path, alone):
    bucket, told, met = Objects(), [None] * 3, threading.Barrier(3)

    def host(index):
        folder = tmp_path / str(index)
        folder.mkdir()

        def gathered(value):
            told[index] = value
            met.wait()
            found = list(told)
            met.wait()
            return found

        def push():
            for path in folder.glob("trees-*"):
                with contextlib.suppress(FileNotFoundError):
                    bucket.write(path.name, path.read_bytes())

        def pull():
            for name in bucket.names("trees-"):
                if name.endswith(".parquet") and not (folder / name).exists():
                    (folder / name).write_bytes(bucket.read(name))

        world = World(rates=(0.4, 0.4, 0.2))
        team = Team(index, 3, f"host{index}", gathered, bucket, push, pull)
        mine = joint_hosts.shards(folder, index=index, count=3)
        joint_search.meet(mine, team)
        joint_search.grow(mine, world.functions().queues(), CONFIG, team, training=True)
        return mine

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(host, range(3)))
    assert files(tmp_path / "0") == alone[0]
    assert all([sorted(shards.solved), shards.trajectories] == alone[1] for shards in found)
    assert len(list((tmp_path / "2").glob("trees-*"))) < len(alone[0])  # nobody fetches all but the first


def test_the_first_host_tells_what_it_waits_for_until_it_takes_it_over(tmp_path, alone):
    """The other has told once that it has two trees of its six, and is dead."""
    bucket, prefix = Objects(), "claims/a/trees-0"
    mine = joint_hosts.shards(tmp_path)
    Claims(bucket, prefix, PROBLEMS, joint_hosts.SIZE, mine.lacking_by_block()).claim(Unit(3), "b")
    bucket.write(f"{prefix}.beat.b", json.dumps({"beat": 1, "done": 2, "trajectories": 1000}).encode())
    waits, shown = list[str](), list[tuple[int, int]]()
    joint_search.grow(
        mine,
        World(rates=(0.4, 0.4, 0.2)).functions().queues(),
        CONFIG,
        Team(0, 2, "a", lambda _: ["a", "b"], bucket, lease_s=0.2),
        training=True,
        on_progress=lambda done, trajectories, _: shown.append((done, trajectories)),
        on_wait=waits.append,
    )
    what = "4 that other hosts have under way"
    assert waits == [f"waiting for {what} (one that stops is replaced 0.2 s later)", ""]
    assert (PROBLEMS - 4) in [done for done, _ in shown] and min(found for _, found in shown) >= 1000
    told = json.loads(bucket.objects[f"{prefix}.beat.a"])
    assert told["done"] >= PROBLEMS - 6 and 0 < told["trajectories"] <= mine.own_trajectories
    assert files(tmp_path) == alone[0]
