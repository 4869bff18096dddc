"""Hosts that claim problems in a world of scripted time, for test_leases.py and test_claims_at_scale.py."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np

from rstar_jax.evolve.claims import Claims
from rstar_jax.evolve.joint_search import JointSearch
from rstar_jax.evolve.leases import Leases
from rstar_jax.queues import Queue

LEASE_S = 60.0


class Killed(BaseException):
    """Stands for the end of a host's process."""


class World:
    """What all hosts see: objects by name, trees on disk, and time. counts: of requests by kind; "listed": of
    names. started: (host, place) in order."""

    def __init__(self, problems: int, size: int):
        self.problems, self.size = problems, size
        self.objects, self.counts = dict[str, bytes](), Counter[str]()
        self.singles, self.shards = set[int](), set[int]()
        self.started, self.now = list[tuple[str, int]](), 0.0

    def block(self, number: int) -> range:
        return range(number * self.size, min((number + 1) * self.size, self.problems))

    def on_disk(self) -> Counter[int]:
        """How often each tree is there."""
        found = Counter(self.singles)
        for number in self.shards:
            found.update(self.block(number))
        return found


class Host:
    """A host at work: store, disk, clock and search of its own, all views of one world.

    pace: problems that it ends in a turn; a generator draws which. fatal: after how many more operations on
    store or disk it is killed; 0: never. index: where in the list of hosts it is.
    """

    def __init__(self, world: World, index: int, count: int, batch: int, draw: Any, pace: int = 3):
        self.world, self.name, self.draw, self.pace = world, f"host{index}", draw, pace
        self.fatal, self.offset, self.is_dead, self.is_finished = 0, 1000.0 * index, False, False
        self.known, self.mine, self.beaten = set(world.on_disk()), set[int](), -1e9
        lacking = [
            sum(p not in self.known for p in world.block(n)) for n in range(-(-world.problems // world.size))
        ]
        self.claims = Claims(self, "claims/x/trees-0", world.problems, world.size, np.array(lacking))
        self.leases = Leases(
            self.claims, self, [f"host{i}" for i in range(count)], index, lease_s=LEASE_S, clock=self
        )
        self.search = Search(self)
        self.joint = JointSearch(self.search, self.leases, lambda p: p, self.put, batch)

    def turn(self) -> None:
        """Beat if it is time, and take a turn of the search."""
        try:
            if self.world.now - self.beaten >= self.leases.beat_s:
                self.beaten = self.world.now
                self.leases.beat()
            self.is_finished = not self.joint.turn()
        except Killed:
            self.is_dead = True

    # As a store.

    def _operation(self, kind: str) -> None:
        self.world.counts[kind] += 1
        self.fatal -= 1
        if self.fatal == 0:
            raise Killed

    def create(self, name, data):
        self._operation("create")
        return self.world.objects.setdefault(name, data) is data

    def write(self, name, data):
        self._operation("write")
        self.world.objects[name] = data

    def read(self, name):
        self._operation("read")
        return self.world.objects.get(name)

    def names(self, prefix=""):
        self._operation("names")
        found = [name for name in self.world.objects if name.startswith(prefix)]
        self.world.counts["listed"] += len(found)
        return found

    def remove(self, name):
        raise NotImplementedError

    # As a disk.

    def put(self, place, tree):
        self._operation("put")
        self.world.singles.add(place)
        self.known.add(place)
        self.mine.add(place)

    def lacking(self, places, look):
        if look:
            shard = places and places[0] // self.world.size in self.world.shards
            self.known |= {p for p in places if shard or p in self.world.singles}
            self.mine |= {p for p in places if shard or p in self.world.singles}
        return [p for p in places if p not in self.known]

    def join(self, number):
        block = self.world.block(number)
        assert number in self.world.shards or all(p in self.world.singles for p in block)
        self.world.shards.add(number)
        self._operation("join")
        self.world.singles -= set(block)

    def made(self):
        return json.dumps(sorted(self.mine)).encode()

    # As a clock.

    def monotonic(self):
        return self.world.now + self.offset

    def sleep(self, seconds):
        """Time goes on by itself."""


class Search(Queue):
    """Ends a few of the problems that are open at every poll."""

    cooperative = True

    def __init__(self, host: Host):
        super().__init__()
        self.host = host

    def places(self) -> set[int]:
        return set(self._open.values())

    def _begin(self, entries):
        self.host.world.started += [(self.host.name, place) for place in entries.values()]

    def _work(self, block):
        open_ = list(self._open)
        for ticket in self.host.draw.sample(open_, min(self.host.pace, len(open_))):
            self._finish(ticket, self._open[ticket])
