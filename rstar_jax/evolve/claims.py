"""Claims of hosts on problems, written down as objects in a store that one host alone can create.

    NAME-00012.000001              block 12 is claimed for the first time; holds its host's name
    NAME-00012.000002              by whoever took it over, as that host was judged to be dead
    NAME-00012.done                the trees of the block lie on disk, without those of its parts
    NAME-00012.0064-0080.000000    a part that a host gave back: its places 64 to 79; nobody's yet
    NAME-00012.0064-0080.000001    the part is claimed for the first time, and so on; a part may have parts
    NAME-00012.join.000001         whoever makes one shard of a block that had parts, once all are done

                 claim (1)         finish                                       claim      finish
    block: free ----------> claimed ------> done;  with parts, all of them done -----> joining -----> done
                            |     ^  claim (2, 3, ...): its host is dead
                            `-----'

Nothing is ever taken back, so that a listing of the names, however old, says too little and nothing wrong.
It is no picture of one moment: what it shows done may have parts that it misses and the next one shows.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from rstar_jax.stores import Store

_JOIN = "join"
_FORM = re.compile(r"(\d{5,})(?:\.(\d+-\d+|join))?\.(\d{6}|done)")  # 00012.0064-0080.000001, 00012.done


class Unit(NamedTuple):
    """One claim's object: a block, a part of it ("0064-0080", without the last), or the joining of its
    parts."""

    block: int
    part: str = ""

    @property
    def is_join(self) -> bool:
        """Tell whether it is the joining of a block's parts, which holds no problem."""
        return self.part == _JOIN

    @property
    def is_part(self) -> bool:
        """Tell whether it is some places of a block."""
        return self.part not in ("", _JOIN)

    def span(self) -> tuple[int, int]:
        """Return the first place of a part in its block, and the one after its last."""
        first, _, stop = self.part.partition("-")
        return int(first), int(stop)


@dataclasses.dataclass
class _Standing:
    """epoch: number of the unit's last claim; 0: given back, and nobody's."""

    epoch: int = 0
    is_done: bool = False


class Claims:
    """The claims on blocks of `size` of so many `problems`, as one host knows them.

    prefix: what all of the objects' names begin with. lacking: of each block, how many of its trees are not
    on disk; those that lack none are nobody's business.
    """

    def __init__(self, store: Store, prefix: str, problems: int, size: int, lacking: np.ndarray) -> None:
        self.store, self.prefix, self.size = store, prefix, size
        self._problems, self._lacking = problems, lacking
        self._units: dict[Unit, _Standing] = {}
        self._parts: dict[int, list[Unit]] = {}  # by block
        self._owners: dict[tuple[Unit, int], str] = {}
        self._seen = set[str]()  # names that were listed before
        self.free = lacking > 0  # blocks that nobody has claimed, as far as is known

    def refresh(self) -> bool:
        """List what there is; return whether there is something that was not listed before."""
        start = len(self.prefix) + 1
        names = set(self.store.names(f"{self.prefix}-"))
        new, self._seen = names - self._seen, names
        for name in new:
            found = _FORM.fullmatch(name, start)
            if found is not None:
                done = found[3] == "done"
                self._note(Unit(int(found[1]), found[2] or ""), 0 if done else int(found[3]), done)
        return bool(new)

    def claim(self, unit: Unit, host: str) -> bool:
        """Claim a unit that is free, given back or a dead host's; False if somebody was faster."""
        epoch = self.epoch(unit) + 1
        mine = self.store.create(self._name(unit, f"{epoch:06d}"), host.encode())
        self._note(unit, epoch, False)
        return mine or self.owner(unit) == host  # a bucket that was asked twice refuses the second time

    def offer(self, block: int, first: int, stop: int) -> None:
        """Give back some places of a block, as a part of it."""
        unit = Unit(block, f"{first:04d}-{stop:04d}")
        self.store.create(self._name(unit, f"{0:06d}"), b"")
        self._note(unit, 0, False)

    def finish(self, unit: Unit) -> None:
        """Say that a unit's own trees are on disk, or its shard."""
        self.store.create(self._name(unit, "done"), b"")
        self._note(unit, 0, True)

    def epoch(self, unit: Unit) -> int:
        """Return the number of a unit's last claim that is known."""
        return self._units[unit].epoch if unit in self._units else 0

    def is_lost(self, unit: Unit, epoch: int) -> bool:
        """Ask whether somebody has claimed a unit after its claim of this number."""
        return self.store.read(self._name(unit, f"{epoch + 1:06d}")) is not None

    def owner(self, unit: Unit) -> str:
        """Return the host of a unit's last claim that is known."""
        key = unit, self.epoch(unit)
        if key not in self._owners:
            self._owners[key] = (self.store.read(self._name(unit, f"{key[1]:06d}")) or b"").decode()
        return self._owners[key]

    def is_split(self, block: int) -> bool:
        """Return whether a block has parts."""
        return block in self._parts

    def parts(self, block: int) -> int:
        """Count the parts of a block that are known."""
        return len(self._parts.get(block, ()))

    def cover(self, unit: Unit) -> np.ndarray:
        """Return the places of a unit, among all problems, that are in no smaller part."""
        return self._covers(unit.block)[unit]

    def given_back(self) -> list[Unit]:
        """List the parts that nobody has claimed."""
        return [u for u in self._open() if u.is_part and self.epoch(u) == 0]

    def joins(self) -> list[Unit]:
        """List the joinings that can be done and that nobody has claimed."""
        ready = (block for block in self._parts if self._is_complete(block))
        return [unit for block in ready if not self.epoch(unit := Unit(block, _JOIN))]

    def under_way(self) -> list[Unit]:
        """List what is claimed and not done, in order."""
        return sorted(unit for unit in self._open() if self.epoch(unit) > 0)

    def all_done(self) -> bool:
        """Return whether every tree is on disk, in its shard."""
        if self.free.any() or any(True for _ in self._open()):
            return False
        return all(self._is_done(Unit(block, _JOIN)) for block in self._parts)

    def left(self) -> int:
        """Count the problems of all that is not done; those of a unit that is under way count whole."""
        left = int(self._lacking[self.free].sum())
        for unit in self._open():
            if not unit.part and not self.is_split(unit.block):
                left += int(self._lacking[unit.block])
        for block in self._parts:
            left += sum(len(places) for u, places in self._covers(block).items() if not self._is_done(u))
        return left

    def _open(self) -> Iterable[Unit]:
        return (unit for unit, standing in self._units.items() if not standing.is_done)

    def _is_done(self, unit: Unit) -> bool:
        return unit in self._units and self._units[unit].is_done

    def _is_complete(self, block: int) -> bool:
        return all(map(self._is_done, (Unit(block), *self._parts[block])))

    def _covers(self, block: int) -> dict[Unit, np.ndarray]:
        first = block * self.size
        places = np.arange(first, min(first + self.size, self._problems))
        # The largest first: a part lies on top of what it is a part of.
        parts = sorted(self._parts.get(block, ()), key=lambda unit: unit.span()[0] - unit.span()[1])
        units, of = [Unit(block), *parts], np.zeros(len(places), int)
        for number, part in enumerate(parts, start=1):
            start, stop = part.span()
            of[start:stop] = number
        return {unit: places[of == number] for number, unit in enumerate(units)}

    def _note(self, unit: Unit, epoch: int, done: bool) -> None:
        standing = self._units.get(unit)
        if standing is None:
            standing = self._units[unit] = _Standing()
            if unit.is_part:
                self._parts.setdefault(unit.block, []).append(unit)
            elif not unit.is_join:
                self.free[unit.block] = False
        standing.epoch = max(standing.epoch, epoch)
        standing.is_done |= done

    def _name(self, unit: Unit, what: str) -> str:
        part = f".{unit.part}" if unit.part else ""
        return f"{self.prefix}-{unit.block:05d}{part}.{what}"
