"""One search by several hosts: each grows trees of the problems that it has a lease on (`leases.py`). What
they make may be other rows than trees (`make_rows`)."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic

from rstar_jax import distributed, mirror, records, stores
from rstar_jax.evolve.blocks import Blocks, Row
from rstar_jax.evolve.claims import Claims
from rstar_jax.evolve.leases import LEASE_S, Leases
from rstar_jax.evolve.shards import TREE, OnProgress, OnStored, Shards, joined
from rstar_jax.queues import Part, Queue, Request
from rstar_jax.search import Queues, SearchConfig, SearchRequest, search_queue
from rstar_jax.stores import Store

FOLDER = "claims"  # in that of a stage, until it is done
_PATIENCE = 1 / 60  # of a lease's time, until the first host says what it waits for


@dataclasses.dataclass(frozen=True)
class Team:
    """The hosts that do a stage together. index, count, name: of this one (`distributed.Host`).

    gathered: every host's value, in order. store: of the stage's folder.
    push, pull: have others see what lies in this host's folder, and see what lies in theirs, where the folder
    is not one that all of them mount.
    """

    index: int
    count: int
    name: str
    gathered: Callable[[Any], list[Any]]
    store: Store
    push: Callable[[], None] = lambda: None
    pull: Callable[[], None] = lambda: None
    lease_s: float = LEASE_S


def team_of(folder: Path) -> Team:
    """Return the hosts of this run, as those who do the stage in a folder."""
    host = distributed.here()
    return Team(
        host.index,
        host.count,
        host.name,
        gathered=distributed.gathered,
        store=stores.store(folder),
        push=mirror.push,
        pull=mirror.pull,
    )


@dataclasses.dataclass(frozen=True)
class _TeamDisk:
    """Rows on disk as `leases.Disk`, wherever the folder is: of others' files those that are needed are
    fetched one by one."""

    blocks: Blocks[Any]
    team: Team

    def lacking(self, places: Sequence[int], look: bool) -> list[int]:
        if look:
            self._fetch(places)
        return self.blocks.lacking(places, look)

    def join(self, block: int) -> None:
        self._fetch(self.blocks.block(block))
        self.blocks.join(block)

    def made(self) -> bytes:
        self.team.push()  # what is told of can be read
        return self.blocks.packed(mine=True).encode()

    def _fetch(self, places: Sequence[int]) -> None:
        for path in (self.blocks.shard(places[0] // self.blocks.size), *map(self.blocks.single, places)):
            if path.exists():
                if path.suffix == ".parquet":
                    return
            elif (data := self.team.store.read(path.name)) is not None:
                with records.replacing(path) as temporary:
                    temporary.write_bytes(data)


class JointSearch(Generic[Request, Row]):
    """A host's part of a search; `turn` after turn until it returns False.

    search: a queue of problems, or of what else makes rows. request: makes one of a place. store: puts a tree
    on disk. batch: trees that grow at a time. waited_s: without anything to do, while others had, up to now.

        leases.fill -> take -> search.submit -> poll -> store -> leases.stored
                                      `-- cancel <- leases.lost
    """

    def __init__(
        self,
        search: Queue[Request, Row],
        leases: Leases,
        request: Callable[[int], Request],
        store: Callable[[int, Row], None],
        batch: int,
    ) -> None:
        self._search, self._leases, self._request, self._store = search, leases, request, store
        self._batch, self._places = batch, dict[int, int]()  # by ticket, of what is started
        self.waited_s = 0.0

    def turn(self) -> bool:
        """Go on with what this host has; returns False once all trees of all hosts are on disk."""
        leases, places = self._leases, self._places
        if lost := set(leases.lost()):
            self._search.cancel(tickets := [t for t, place in places.items() if place in lost])
            for ticket in tickets:
                del places[ticket]
        room = leases.share(self._batch) - len(places)
        leases.fill(room)
        taken = leases.take(room)
        places.update(zip(self._search.submit([self._request(p) for p in taken]), taken, strict=True))
        leases.give_back()
        if places:
            self.waited_s = 0.0
        else:
            if leases.all_done():
                return False
            self.waited_s += leases.wait()
        for ticket, told in self._search.poll(block=not self._search.cooperative):
            if not isinstance(told, Part):
                place = places.pop(ticket)
                self._store(place, told)
                leases.stored(place)
        return True

    def close(self) -> None:
        """Leave what is under way."""
        self._search.cancel(list(self._places))


def meet(blocks: Blocks[Any], team: Team) -> None:
    """Have hosts that each have read a share of a stage's files tell each other what they found. Claims of
    hosts that were at work here before are gone after that: none of them is any more."""
    for told in team.gathered(blocks.packed()) if team.count > 1 else ():
        blocks.learn(told)
    blocks.found = blocks.done


def clear(folder: Path, team: Team, size: int, suffix: str = TREE) -> None:
    """Remove what a stage's hosts leave beside its shards, each host its share. All have to be here by then:
    claims; single rows of a host that wrote on when it was believed to be dead; and what dead ones were
    writing. size: of the shards. suffix: of single rows."""
    if team.count > 1 and team.index == 0:
        for path in folder.glob(f"*{suffix}"):
            if (place := joined(path, size, suffix)) and place[0].exists():
                path.unlink()
        for path in folder.glob(".*.part"):
            path.unlink()
    if team.index == 0:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    for name in team.store.names(f"{FOLDER}/"):
        if zlib.crc32(name.encode()) % team.count == team.index:
            team.store.remove(name)


def grow(
    shards: Shards,
    queues: Queues,
    config: SearchConfig,
    team: Team,
    *,
    training: bool = False,
    on_progress: OnProgress | None = None,
    on_begun: Callable[[str, str], None] | None = None,
    on_stored: OnStored | None = None,
    on_wait: Callable[[str], None] = lambda _: None,
) -> None:
    """`Shards.grow` by all hosts of a team, each of which calls this: returns once all trees are on disk and
    every host's `shards` knows of them. Shards of which the hosts have told each other (`meet`).
    on_begun: called with the names of a block and a problem before this host searches it. on_wait: as of
    `make_rows`.

    Raises UserError as `Shards.grow`, and where the store cannot be read or written.
    """
    search, source = search_queue(queues), shards.source
    found = shards.trajectories

    def request(place: int) -> SearchRequest:
        problem = shards.problems[place]
        if on_begun is not None:
            on_begun(shards.shard(place // shards.size).stem, problem.id)
        return SearchRequest(problem, config, source.round, source.tree_index, training)

    def stored(place: int) -> None:
        if on_stored is not None:
            on_stored([shards.problems[place].id])

    def tell(done: int, trajectories: int) -> None:
        if on_progress is not None:
            # Others are as fast as this host: it expects its part of what is left.
            to_come = -(-(shards.places - done) // team.count)
            stats = search.stats(problems=search.stats().problems_done + to_come)
            on_progress(done, found + stats.trajectories + trajectories, stats.left)

    make_rows(
        shards,
        search,
        request,
        config.batch,
        team,
        on_turn=tell,
        on_stored=stored,
        on_wait=on_wait,
        found=lambda: shards.own_trajectories,
    )


def make_rows(
    blocks: Blocks[Row],
    queue: Queue[Request, Row],
    request: Callable[[int], Request],
    batch: int,
    team: Team,
    *,
    on_turn: Callable[[int, int], None],
    on_stored: Callable[[int], None],
    on_wait: Callable[[str], None],
    found: Callable[[], int] = lambda: 0,
) -> None:
    """Have the hosts of a team make all rows that are not on disk, as `grow` does of trees.

    queue: makes rows. request: what it is asked for the row of a place. batch: rows under way at a time.
    on_turn: called with the rows that are on disk, and what others found (`found`, trajectories for one).
    on_stored: with a place whose row this host has put on disk. on_wait: on the first host, with what it
    waits for once nothing is left to do but what others have; with "" when it goes on. found: counts what is
    in the rows that this host has read or written.
    """
    lacking = blocks.lacking_by_block()
    if not lacking.any():
        return
    hosts = team.gathered(team.name)
    prefix = f"{FOLDER}/{hosts[0]}/{blocks.name}"  # nobody of an earlier start claims there
    claims = Claims(team.store, prefix, blocks.places, blocks.size, lacking)
    leases = Leases(claims, _TeamDisk(blocks, team), hosts, team.index, lease_s=team.lease_s)
    before = blocks.own_done, found()

    def store(place: int, row: Row) -> None:
        blocks.add(place, row)
        leases.tell(blocks.own_done - before[0], found() - before[1])
        on_stored(place)

    joint, awaited = JointSearch(queue, leases, request, store, batch), ""
    with leases.alive(), contextlib.closing(joint):
        while joint.turn():
            elsewhere, found_elsewhere = leases.elsewhere
            on_turn(done := min(blocks.done + elsewhere, blocks.places), found_elsewhere)
            before_turn, awaited = awaited, ""
            is_long = joint.waited_s > team.lease_s * _PATIENCE
            if is_long and not team.index and leases.others_at_work():
                awaited = _awaited(blocks.places - done, team.lease_s)
            if awaited != before_turn:
                on_wait(awaited)
    if awaited:
        on_wait("")
    for told in leases.made():
        blocks.learn(told.decode())
    if team.index == 0:  # who goes on with the rows
        team.pull()


def _awaited(left: int, lease_s: float) -> str:
    """Say what a host waits for that has nothing to do. left: rows that are not known to be on disk."""
    what = f"{left:,} that other hosts have under way" if left else "other hosts"
    return f"waiting for {what} (one that stops is replaced {lease_s:g} s later)"
