"""kill -9 at any moment of a search: no finished tree is lost or doubled, and it ends as an unbroken one."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rstar_jax import parquet
from rstar_jax.types import Tree

KILLS = 50
SEED = 6


class Searches:
    """Processes that search in a folder."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.evolve.killable_search"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def search(self, folder, shuffle=0, *, fatal=0, seconds=0.0):
        """(exit status, operations on files) of a process that searches there."""
        self._process.stdin.write(f"{folder} {shuffle} {fatal} {seconds}\n")
        self._process.stdin.flush()
        status, operations = self._process.stdout.readline().split()
        return int(status), int(operations)

    def close(self):
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="module")
def killable():
    found = Searches()
    yield found
    found.close()


def told(folder):
    """What the processes that searched in a folder began, and what they stored: (index, problem) each."""
    lines = Path(f"{folder}.log").read_text().splitlines() if Path(f"{folder}.log").exists() else []
    pairs = {"began": [], "stored": []}
    for line in lines:
        what, index, problem = line.split()
        pairs[what].append((int(index), problem))
    return pairs["began"], pairs["stored"]


def rows(folder):
    """Every file of trees by name, with its trees; each can be read, whatever happened."""
    stage = folder / "round1/search"
    return {path.name: parquet.read_rows(path, Tree) for path in sorted(stage.glob("trees-*"))}


def on_disk(folder):
    """(index, problem) of every tree on disk, those left over beside their shard counted once."""
    return {(t.tree_index, t.problem.id) for trees in rows(folder).values() for t in trees}


def test_a_search_that_is_killed_and_goes_on_ends_as_an_unbroken_one(killable, tmp_path):
    killable.search(tmp_path / "first")
    began = time.monotonic()
    status, operations = killable.search(tmp_path / "unbroken")
    seconds = time.monotonic() - began
    whole = rows(tmp_path / "unbroken")
    assert status == 0 and list(whole) == [
        *(f"trees-0-0000{i}.parquet" for i in range(3)),
        *(f"trees-1-0000{i}.parquet" for i in range(len(whole) - 3)),
    ]
    assert len(whole) > 3 and operations > 100  # some problems have a second tree
    draw, case, kills = random.Random(SEED), 0, 0
    while kills < KILLS:
        folder, killed, case = tmp_path / str(case), 0, case + 1
        while True:
            there, before, fate = on_disk(folder), len(told(folder)[0]), {}
            if killed < 1 + (case % 4 == 0):  # some twice
                fate = {"fatal": draw.randint(1, operations)}
                if case % 5 == 0:
                    fate = {"seconds": draw.uniform(0, seconds)}
            status, _ = killable.search(folder, draw.randrange(1000), **fate)
            where = f"seed {SEED}, case {case}, {fate}"
            assert status in (0, -9), where
            again = told(folder)[0][before:]
            assert len(set(again)) == len(again) and not there & set(again), where
            assert there | set(told(folder)[1]) <= on_disk(folder), where
            if status == 0:
                break
            killed += 1
        kills += killed
        assert rows(folder) == whole, where
        assert {p.name for p in (folder / "round1/search").iterdir()} == {*whole, "DONE.json"}, where
    print(f"seed {SEED}: {kills} kills in {case} searches of {operations} operations on files")
