"""Rows on disk, a block of them in a file: a row counts once it is there, and is never made again.

    NAME-000017.tree      row 17, from when it was made until its block is complete
    NAME-00002.parquet    a shard: the rows of a block of consecutive places, in their order

Both are Parquet files, whole or absent (`records`). A block's rows are joined into its shard once all are
there, and go after it is. Whatever moment a process is killed at, every row that was made lies in a file of
its own, in its shard, or in both, where the shard holds.
"""

from __future__ import annotations

import abc
import base64
import logging
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from rstar_jax import parquet, records

Row = TypeVar("Row")


class Blocks(abc.ABC, Generic[Row]):
    """Rows of one `kind`, one for each of so many `places`, `size` of them in a shard.

    name: what their files' names begin with. suffix: of the file of a single row. What the folder holds of
    them is read when this is made; damaged files, and those that belong elsewhere (`require`), are moved
    aside. index, count: of the hosts that make one of these at a time and tell each other (`packed`,
    `learn`); each reads its share.
    done: how many rows are on disk. found: how many were before this host began. own_done: without what
    others told.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        places: int,
        *,
        kind: type[Row],
        suffix: str,
        size: int,
        index: int = 0,
        count: int = 1,
    ) -> None:
        self.done = self.own_done = 0
        self.name, self.places, self.size = name, places, size
        self._folder, self._kind, self._suffix, self._alone = folder, kind, suffix, count == 1
        self._counts = np.zeros(places, np.int32)  # of each row on disk its `counted`; 0: none
        self._known = np.zeros(places, bool)  # those that others told of
        names = {path.name for path in folder.iterdir()} if folder.exists() else set[str]()
        for number in range(index, self._blocks, count):
            self._find(number, self.block(number), names)
        self.found = self.done

    @abc.abstractmethod
    def counted(self, row: Row) -> int:
        """Return what is known of a row on disk without reading it, as a number above 0 that hosts tell each
        other."""

    @abc.abstractmethod
    def require(self, path: Path, rows: Sequence[Row], places: Sequence[int]) -> None:
        """Raise records.Damaged where a file's rows are not those of these places."""

    def noted(self, place: int, counted: int, is_own: bool) -> None:
        """Take note of a row on disk. is_own: this host has read or written it."""
        self._counts[place] = counted
        self.done += 1
        self.own_done += is_own

    def there(self) -> Iterator[int]:
        """Yield the places whose rows are on disk."""
        return map(int, np.flatnonzero(self._counts))

    def rows(self) -> Iterator[Row]:
        """All rows in order, once all are there; in memory is one shard at a time."""
        for number in range(self._blocks):
            yield from parquet.read_rows(self.shard(number), self._kind)

    def add(self, place: int, row: Row) -> None:
        """Put a row on disk. Raises UserError where it cannot be written."""
        parquet.write_rows(self.single(place), self._kind, [row])
        self._take(place, row)

    def add_block(self, number: int, rows: Sequence[Row]) -> None:
        """Put those rows of a block on disk that are not there, in order, and with it its shard. Raises
        UserError as `add`."""
        block, new = self.block(number), iter(rows)
        there = [self.single(place) for place in block if self._counts[place]]
        whole = [
            parquet.read_rows(self.single(place), self._kind)[0] if self._counts[place] else next(new)
            for place in block
        ]
        parquet.write_rows(self.shard(number), self._kind, whole)
        for place, row in zip(block, whole, strict=True):
            self._take(place, row)
        for single in there:
            single.unlink(missing_ok=True)

    def join(self, number: int) -> None:
        """Make a block's shard of its rows, if all are known to be there. Raises UserError as `add`."""
        block, shard = self.block(number), self.shard(number)
        if self._alone and not self._counts[block.start : block.stop].all():
            return
        singles = [self.single(place) for place in block]
        try:
            parquet.join_rows(shard, self._kind, singles)
        except records.Damaged:
            # Another host that this one is believed dead by, or believed to be dead, was faster.
            if self._alone or not shard.exists() or self._read(shard, block) is None:
                raise
        for single in singles:
            single.unlink(missing_ok=True)

    # What several hosts tell each other.

    def packed(self, mine: bool = False) -> str:
        """Say which rows are on disk, with what is known of each. mine: without what others told."""
        counts = np.where(self._known, 0, self._counts) if mine else self._counts
        return base64.b64encode(zlib.compress(counts.astype("<i4").tobytes(), 1)).decode()

    def learn(self, packed: str) -> None:
        """Hear which rows are on disk, of whoever `packed` it."""
        counts = np.frombuffer(zlib.decompress(base64.b64decode(packed)), "<i4")
        for place in np.flatnonzero((counts > 0) & (self._counts == 0)):
            self.noted(int(place), int(counts[place]), False)
            self._known[place] = True

    def lacking_by_block(self) -> np.ndarray:
        """Return of each block how many of its rows are not on disk: [blocks] int."""
        lacking = np.zeros((self._blocks, self.size), int)
        lacking.reshape(-1)[: self.places] = self._counts == 0
        return lacking.sum(axis=1)

    def lacking(self, places: Sequence[int], look: bool) -> list[int]:
        """Return which places of a block have no row. look: whether others may have put some on disk."""
        if look and places:
            number = places[0] // self.size
            paths = (self.shard(number), *map(self.single, places))
            self._find(number, places, {path.name for path in paths if path.exists()})
        return [place for place in places if not self._counts[place]]

    @property
    def _blocks(self) -> int:
        return -(-self.places // self.size)

    def block(self, number: int) -> range:
        """Return the places of a block."""
        return range(number * self.size, min((number + 1) * self.size, self.places))

    def single(self, place: int) -> Path:
        """Name the file of one row."""
        return self._folder / f"{self.name}-{place:06d}{self._suffix}"

    def shard(self, number: int) -> Path:
        """Name the file of a block's rows."""
        return self._folder / f"{self.name}-{number:05d}.parquet"

    def _find(self, number: int, places: Sequence[int], names: set[str]) -> None:
        """Takes what there is of some places of a block; beside its shard the single files are left over."""
        block, shard = self.block(number), self.shard(number)
        whole = self._read(shard, block) if shard.name in names else None
        if whole is not None:
            for place, row in zip(block, whole, strict=True):
                self._take(place, row)
        for place in places:
            single = self.single(place)
            if single.name not in names:
                continue
            if whole is not None:
                single.unlink(missing_ok=True)
            elif found := self._read(single, [place]):
                self._take(place, found[0])
        if whole is None and len(places) == len(block) and self._counts[block.start : block.stop].all():
            self.join(number)

    def _take(self, place: int, row: Row) -> None:
        if not self._counts[place]:
            self.noted(place, self.counted(row), True)

    def _read(self, path: Path, places: Sequence[int]) -> list[Row] | None:
        """A file's rows; None if it was moved aside as damaged or of something else."""
        try:
            rows = parquet.read_rows(path, self._kind)
            self.require(path, rows, places)
            return rows
        except records.Damaged as error:
            aside = records.quarantine(path)
            logging.warning("%s It was moved to %s and is made again.", error, aside.name)
            return None
