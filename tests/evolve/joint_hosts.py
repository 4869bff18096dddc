"""Processes that search one set of problems together, scripted, on real files: for test_joint_search.py."""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rstar_jax.evolve import joint_search
from rstar_jax.evolve.joint_search import Team
from rstar_jax.evolve.shards import Shards, Source
from rstar_jax.search import SearchConfig
from rstar_jax.stores import store
from tests.search.scripted import World, problems

CONFIG = SearchConfig(rollouts=2, candidates=2, batch=5)
PROBLEMS, SIZE, LEASE_S = 48, 6, 1.0


def shards(folder: Path, **hosts: int) -> Shards:
    """The files of the search in a folder."""
    return Shards(folder, "trees-0", problems(PROBLEMS), Source(1), size=SIZE, **hosts)


def team(folder: Path, index: int, count: int, start: str) -> Team:
    """Hosts that tell each other by files beside the folder. start: which start of them all it is."""
    calls = iter(range(1000))

    def told(value: Any, of: list[int]) -> list[Any]:
        place = Path(f"{folder}.{start}.{next(calls)}")
        place.mkdir(exist_ok=True)
        if index in of:
            temporary = place / f".{index}"
            temporary.write_text(json.dumps(value))
            temporary.rename(place / str(index))
        while not all((place / str(host)).exists() for host in of):
            time.sleep(0.005)
        return [json.loads((place / str(host)).read_text()) for host in of]

    return Team(
        index,
        count,
        f"{start}-{index}",
        gathered=lambda value: told(value, list(range(count))),
        shared=lambda value: told(value, [0])[0],
        store=store(folder),
        lease_s=LEASE_S,
    )


def search(folder: Path, index: int, count: int, start: str, pause_s: float) -> None:
    """One host's part; FOLDER.log tells who began and who stored what."""
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    world = World(rates=(0.4, 0.4, 0.2))

    def propose(leaves):
        time.sleep(pause_s)
        for leaf in leaves:
            if not leaf.steps:
                os.write(log, f"began {start}-{index} {leaf.problem.id}\n".encode())
        return World.propose(world, leaves)

    world.propose = propose
    mine, hosts = shards(folder, index=index, count=count), team(folder, index, count, start)
    joint_search.meet(mine, hosts)
    joint_search.grow(
        mine,
        world.functions().queues(),
        CONFIG,
        hosts,
        training=True,
        on_stored=lambda ids: os.write(log, f"stored {start}-{index} {','.join(ids)}\n".encode()),
    )
    assert mine.done == PROBLEMS
    Path(f"{folder}.{start}-{index}").write_text(json.dumps([sorted(mine.solved), mine.trajectories]))


@contextlib.contextmanager
def started(folder: Path, count: int, start: str = "a", pause_s: float = 0.0) -> Iterator[list[int]]:
    """The ids of processes that search in a folder."""
    children = []
    for index in range(count):
        child = os.fork()
        if not child:
            status = 1
            try:
                search(folder, index, count, start, pause_s)
                status = 0
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(status)
        children.append(child)
    yield children
    for child in children:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, 9)
            os.waitpid(child, 0)
