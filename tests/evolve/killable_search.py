"""Starts processes that search a stage, scripted, on real files, and kills them: for test_kills.py.

Reads lines "FOLDER SHUFFLE FATAL SECONDS"; for each a process is forked (so that this one alone pays for
the imports) that searches in FOLDER, and its exit status and how many operations on files it did are printed.
SHUFFLE seeds the order in which results come. FATAL: at which operation it kills itself, 0: none. SECONDS:
how long until it is killed from outside, 0: never. FOLDER.log tells what it began and what it stored.
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rstar_jax import parquet
from rstar_jax.evolve.shards import Shards, Source
from rstar_jax.evolve.stages import Workdir
from rstar_jax.search import SearchConfig
from tests.search.fake_queues import shuffled
from tests.search.scripted import World, problems

CONFIG = SearchConfig(rollouts=2, candidates=2, batch=5)
AUDITED = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")


@dataclasses.dataclass(frozen=True)
class Options:
    """Of a run."""

    seed: int = 0


class Files:
    """Counts a process's operations on files under a folder, and kills it at one of them."""

    def __init__(self, folder: str, fatal: int, draw: random.Random):
        self.folder, self.fatal, self.draw, self.done = folder, fatal, draw, 0
        fsync, write = os.fsync, pq.write_table

        def fsync_counted(descriptor: int) -> None:
            self.step()
            fsync(descriptor)

        def write_counted(table: Any, where: Path, **options: Any) -> None:
            if self.done + 1 == self.fatal:  # in the middle of it
                write(table, where, **options)
                os.truncate(where, draw.randrange(where.stat().st_size))
            self.step()
            write(table, where, **options)

        os.fsync, pq.write_table = fsync_counted, write_counted
        sys.addaudithook(self.audit)

    def audit(self, event: str, arguments: tuple) -> None:
        if event in AUDITED and str(arguments[0]).startswith(self.folder + "/"):
            self.step()

    def step(self) -> None:
        self.done += 1
        if self.done == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def search(folder: Path, shuffle: int) -> None:
    """A stage with a second tree for what stays unsolved, as `search_stages.search` has it."""
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    world, stored = World(rates=(0.4, 0.4, 0.2)), parquet.write_rows

    def propose(leaves):
        for leaf in leaves:
            if not leaf.steps:
                os.write(log, f"began {leaf.tree_index} {leaf.problem.id}\n".encode())
        return World.propose(world, leaves)

    def write_rows(path: Path, kind: type, rows: Any) -> int:
        stored(path, kind, rows)
        for tree in rows:
            os.write(log, f"stored {tree.tree_index} {tree.problem.id}\n".encode())
        return len(rows)

    parquet.write_rows, world.propose = write_rows, propose

    def work(stage: Path) -> dict[str, Any]:
        unsolved = problems(6)
        for index in range(2):
            shards = Shards(stage, f"trees-{index}", unsolved, Source(1, index), size=2)
            shards.grow(shuffled(world.functions(), shuffle), CONFIG, training=True)
            unsolved = [problem for problem in unsolved if problem.id not in shards.solved]
        return {}

    with Workdir(folder, Options()) as workdir:
        workdir.stage("round1/search", work)


def main() -> None:
    for line in sys.stdin:
        folder, shuffle, fatal, seconds = line.split()
        sys.stdout.flush()
        told, tell = os.pipe()
        child = os.fork()
        if not child:
            status = 1
            try:
                files = Files(folder, int(fatal), random.Random(int(shuffle)))
                search(Path(folder), int(shuffle))
                os.write(tell, str(files.done).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(tell)
        if float(seconds):
            time.sleep(float(seconds))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), os.read(told, 20).decode() or 0, flush=True)
        os.close(told)


if __name__ == "__main__":
    main()
