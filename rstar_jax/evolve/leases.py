"""The problems that a host may search, for as long as it shows that it lives.

    claims.py   objects that one host alone can create: who has which block
    leases.py   when a host claims, beats, gives back and takes over; what it has to stop
    joint_search.py   a search that asks for its problems here

A host claims the next block before it runs out of problems. Every `lease_s / 6` seconds it rewrites one small
object with a higher number, its beat. Whoever has seen no new beat for `lease_s` seconds of its own clock (no
two clocks need agree) judges that host dead and may claim its blocks once more. A host that finds a later
claim on its block has lost it, and stops: it looks at every beat, and before anything else where its own last
beat is that long ago, as after it was suspended.

As blocks run out (or where there are few for so many hosts), each host starts no more problems than its share
of all that is left, and gives back those that it has not started, in parts that others claim as blocks.

What is read and written while all go on is a few objects for each block, and for each beat. Nobody lists
what there is but where a claim fails or nothing is free (`tests/evolve/test_claims_at_scale.py` counts).
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from rstar_jax.evolve.claims import Claims, Unit
from rstar_jax.search.scheduler import Clock

LEASE_S = 60.0
_BEATS = 6  # in the time of a lease
_WATCHED = 8  # owners that a host without work looks after; with others they are all looked after
_FIRST_NAP_S = 0.05
_PIECES = 16  # a block is given back in no more parts than so many


class Disk(Protocol):
    """A host's view of the trees of one search on disk."""

    def lacking(self, places: Sequence[int], look: bool) -> list[int]:
        """Return which of these problems have no tree. look: whether others may have put some there."""
        ...

    def join(self, block: int, /) -> None:
        """Make a block's shard of its trees, which are all there."""
        ...

    def made(self) -> bytes:
        """Say what this host has put there."""
        ...


class Leases:
    """A host's claims in one search: call `fill`, `take`, `stored` and `lost` from the search's thread.

    hosts: the names of all, of which this one is number `index`. `alive` beats in a thread of its own for the
    time of a block; without it, call `beat` every `beat_s` seconds. elsewhere: trees and trajectories that
    other hosts made, as the first of them knows by their last beats.

    Problems:   free --fill--> waiting --take--> started --stored--> on disk
                                  `--give_back--> another's       `--lost--> another's
    """

    def __init__(
        self,
        claims: Claims,
        disk: Disk,
        hosts: Sequence[str],
        index: int,
        *,
        lease_s: float = LEASE_S,
        clock: Clock = time,
    ) -> None:
        self.claims, self._disk, self._clock, self._lease_s = claims, disk, clock, lease_s
        self._hosts, self._host, self._index, self._count = hosts, hosts[index], index, len(hosts)
        self.beat_s = lease_s / _BEATS
        self._held: dict[Unit, set[int]] = {}  # places that are not on disk
        self._epochs: dict[Unit, int] = {}  # of the claims by which they are held
        self._unit_of: dict[int, Unit] = {}
        self._waiting = deque[int]()
        self._order: deque[int] | None = None  # free blocks, as this host will try them
        self._seen: dict[str, tuple[bytes | None, float]] = {}  # beats of others, and since when they are so
        self._lost_claims = set[tuple[Unit, int]]()
        self._left = claims.left()
        # Blocks for so many hosts: what waits is given back at once.
        self._few = int(claims.free.sum()) < 2 * len(hosts)
        self._look_at, self._nap = 0.0, _FIRST_NAP_S
        self._beats, self._beaten = 0, clock.monotonic()
        self._told = self.elsewhere = (0, 0)
        self._failure: BaseException | None = None
        self._beating, self._lock = threading.Lock(), threading.Lock()

    # What the search asks.

    def share(self, batch: int) -> int:
        """Return how many problems to have started: somewhat more than grow at a time, and no more than this
        host's share of all that are left."""
        return min(batch + max(1, batch // 8), max(1, -(-self._left // self._count)))

    def fill(self, wanted: int) -> None:
        """Claim until so many problems wait, if there are any to claim."""
        now = self._clock.monotonic()
        while len(self._waiting) < wanted and (self.claims.free.any() or now >= self._look_at):
            unit = self._claim()
            if unit is None:
                self._look_at = now + self._nap
                self._nap = min(2 * self._nap, self.beat_s / 2)
                return
            self._nap = _FIRST_NAP_S

    def take(self, most: int) -> list[int]:
        """Return places of problems to start, most urgent first."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def give_back(self) -> None:
        """Let others have what waits, once blocks run out."""
        if not self._few or not self._waiting:
            return
        by_unit: dict[Unit, list[int]] = {}
        while self._waiting:
            place = self._waiting.popleft()
            by_unit.setdefault(self._unit_of[place], []).append(place)
        size = max(1, min(-(-self.claims.size // _PIECES), self.share(self.claims.size)))
        for unit, places in by_unit.items():
            for start in range(0, len(places), size):
                piece = places[start : start + size]
                first = unit.block * self.claims.size
                span = piece[0] - first, piece[-1] + 1 - first
                if unit.is_part and span == unit.span():  # it is as small as it can be
                    self._waiting.extend(piece)
                    continue
                self._let_go(unit, piece)
                self.claims.offer(unit.block, *span)
            self._settle(unit)

    def stored(self, place: int) -> None:
        """Hear that a problem's tree is on disk."""
        if (unit := self._unit_of.get(place)) is not None:
            self._let_go(unit, [place])
            self._settle(unit)

    def lost(self) -> list[int]:
        """Return places of problems that are another host's now: not to be gone on with, and no longer
        waiting. Raises what went wrong in the thread that beats."""
        if self._failure is not None:
            raise self._failure
        if self._clock.monotonic() - self._beaten > self._lease_s:
            self.beat()
        if not self._lost_claims:
            return []
        with self._lock:
            claims, self._lost_claims = self._lost_claims, set[tuple[Unit, int]]()
        units = [unit for unit, epoch in claims if self._epochs.get(unit) == epoch]
        gone = [place for unit in units for place in self._held.pop(unit)]
        for unit in units:
            del self._epochs[unit]
        for place in gone:
            del self._unit_of[place]
        waiting = set(gone)
        self._waiting = deque(place for place in self._waiting if place not in waiting)
        return gone

    def all_done(self) -> bool:
        """Return whether nothing is left to do for anybody: once a second listing brings nothing new, as one
        may show a block done and miss the parts that were given back before."""
        while not self._held and self.claims.all_done():
            if not self._refresh():
                return True
        return False

    def others_at_work(self) -> bool:
        """Return whether other hosts have something under way, as far as is known here."""
        return any(unit not in self._held for unit in self.claims.under_way())

    def wait(self) -> float:
        """Sleep until it is time to look again for something to do; return how many seconds that are."""
        seconds = max(0.0, min(self._look_at - self._clock.monotonic(), self.beat_s))
        self._clock.sleep(seconds)
        return seconds

    # Beats.

    def tell(self, done: int, trajectories: int) -> None:
        """Have beats tell of so many trees that this host made, and their trajectories."""
        self._told = done, trajectories

    def beat(self) -> None:
        """Show that this host lives, and look whether it has lost anything."""
        with self._beating:
            held, now = list(self._epochs.items()), self._clock.monotonic()
            self._beats += 1
            told = {"beat": self._beats, "done": self._told[0], "trajectories": self._told[1]}
            self.claims.store.write(self._of("beat", self._host), json.dumps(told).encode())
            gone = {(unit, epoch) for unit, epoch in held if self.claims.is_lost(unit, epoch)}
            with self._lock:
                self._lost_claims |= gone
            self._beaten = now
            if not self._few:
                self._few = self.claims.store.read(f"{self.claims.prefix}.few") is not None
            if not self._index:
                self.elsewhere = self._others()

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Beat for the time of a block."""
        ended = threading.Event()

        def beats() -> None:
            try:
                while not ended.wait(self.beat_s):
                    self.beat()
            except BaseException as error:  # told by `lost`, in the thread of the search
                self._failure = error

        self.beat()
        thread = threading.Thread(target=beats, name="leases", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def made(self) -> Iterator[bytes]:
        """Yield what each host has put on disk (`Disk.made`), once all is done."""
        for host in self._hosts:
            if (told := self.claims.store.read(self._of("made", host))) is not None:
                yield told

    def _others(self) -> tuple[int, int]:
        done = trajectories = 0
        for host in self._hosts:
            if host != self._host:
                told = json.loads(self.claims.store.read(self._of("beat", host)) or b"{}")
                done += told.get("done", 0)
                trajectories += told.get("trajectories", 0)
        return done, trajectories

    # What is claimed, and from whom.

    def _claim(self) -> Unit | None:
        """Claim something and hold it: a free block; what was given back; a joining, which is done at once;
        what a dead host had. None: there is nothing."""
        while self.claims.free.any():
            if (unit := self._try(self._free())) is not None:
                return unit
            self._order = deque()
        if not self._few:
            self._few = True
            self.claims.store.create(f"{self.claims.prefix}.few", b"")
        self._refresh()
        return self._try(_from(self.claims.given_back(), self._index, self._count)) or (
            self._try(_from(self._joins(), self._index, self._count))
            or self._try(unit for unit in self._watched() if self._is_dead(self.claims.owner(unit)))
        )

    def _free(self) -> Iterator[Unit]:
        """Yield the next free block of this host's share of those that are free: once its share is claimed,
        or somebody else was faster at it, of those that are free by then."""
        while self._order and not self.claims.free[self._order[0]]:
            self._order.popleft()
        if not self._order:
            if self._order is not None:
                self._refresh()
            blocks = np.flatnonzero(self.claims.free)
            start = len(blocks) * self._index // self._count
            stop = max(start + 1, len(blocks) * (self._index + 1) // self._count)
            self._order = deque(blocks[start:stop].tolist())
        if self._order:
            yield Unit(self._order.popleft())

    def _joins(self) -> list[Unit]:
        """Return the joinings that can be done: of blocks that two listings show to have the same parts."""
        before = {unit: self.claims.parts(unit.block) for unit in self.claims.joins()}
        if before:
            self._refresh()
        return [unit for unit in self.claims.joins() if before.get(unit) == self.claims.parts(unit.block)]

    def _watched(self) -> list[Unit]:
        """Return some of what others have under way: each host without work looks after others."""
        units = [unit for unit in self.claims.under_way() if unit not in self._held]
        return _from(units, self._index, self._count)[:_WATCHED]

    def _is_dead(self, host: str) -> bool:
        beat, now = self.claims.store.read(self._of("beat", host)), self._clock.monotonic()
        before, since = self._seen.get(host, (b"never", now))
        if beat != before:
            self._seen[host] = beat, now
            return False
        return now - since >= self._lease_s

    def _try(self, units: Iterable[Unit]) -> Unit | None:
        """Claim the first of these that nobody else is faster at."""
        for unit in units:
            if self.claims.claim(unit, self._host):
                self._hold(unit)
                return unit
        return None

    def _hold(self, unit: Unit) -> None:
        if unit.is_join:
            self._disk.join(unit.block)
            self.claims.finish(unit)
            return
        epoch = self.claims.epoch(unit)
        places = self._disk.lacking(self.claims.cover(unit).tolist(), look=epoch > 1 or unit.is_part)
        self._held[unit], self._epochs[unit] = set(places), epoch
        self._unit_of.update(dict.fromkeys(places, unit))
        self._waiting.extend(places)
        self._settle(unit)

    def _refresh(self) -> bool:
        is_new = self.claims.refresh()
        self._left = self.claims.left()
        return is_new

    def _let_go(self, unit: Unit, places: Iterable[int]) -> None:
        for place in places:
            self._held[unit].discard(place)
            del self._unit_of[place]

    def _settle(self, unit: Unit) -> None:
        """Say of a unit that all its trees are on disk, once they are."""
        if self._held[unit]:
            return
        if not unit.part and not self.claims.is_split(unit.block):
            self._disk.join(unit.block)
        # First what was made, then that it was: who finds all done finds all that was made.
        self.claims.store.write(self._of("made", self._host), self._disk.made())
        self.claims.finish(unit)
        del self._held[unit], self._epochs[unit]

    def _of(self, what: str, host: str) -> str:
        return f"{self.claims.prefix}.{what}.{host}"


def _from(units: list[Unit], index: int, count: int) -> list[Unit]:
    """Turn a list so that each of several hosts begins elsewhere."""
    start = len(units) * index // count
    return units[start:] + units[:start]
