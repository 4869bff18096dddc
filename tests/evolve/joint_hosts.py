"""Processes that search one set of problems together, scripted, on real files: for test_joint_search.py."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
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

    def gathered(value: Any) -> list[Any]:
        place = Path(f"{folder}.{start}.{next(calls)}")
        place.mkdir(exist_ok=True)
        temporary = place / f".{index}"
        temporary.write_text(json.dumps(value))
        temporary.rename(place / str(index))
        while not all((place / str(host)).exists() for host in range(count)):
            time.sleep(0.005)
        return [json.loads((place / str(host)).read_text()) for host in range(count)]

    return Team(
        index,
        count,
        f"{start}-{index}",
        gathered=gathered,
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


def main() -> None:
    """Read lines "FOLDER COUNT START PAUSE_S"; fork so many hosts that search there and print their ids; then
    print the exit status of each as it ends, after another line."""
    for line in sys.stdin:
        folder, count, start, pause_s = line.split()
        children = []
        for index in range(int(count)):
            child = os.fork()
            if not child:
                status = 1
                try:
                    search(Path(folder), index, int(count), start, float(pause_s))
                    status = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(status)
            children.append(child)
        print(*children, flush=True)
        sys.stdin.readline()
        print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)


if __name__ == "__main__":
    main()
