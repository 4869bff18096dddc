"""Answers on disk before anyone sees them, so that after a kill no answered request is sent again.

A folder of segments, 000000.journal and so on, each of about SEGMENT_BYTES; one line for each answer, only
ever appended:

    KEY(16 hex) GROUP(16 hex) CRC32(8 hex) [first, [[text, stop, logprob, tokens, fault], ...]]

`first` is the place of its first continuation among those that the request asked for. What a killed process
was writing ends in no newline and is cut off; a line whose checksum differs is passed over. A line is handed
to the system before its answer is used, so that a killed process loses none; it is synced every SYNC_S
seconds, so that a host that loses power loses those seconds, which are asked again.

A group's answers go together: those of a tree are of no use once it is on disk (`settle`). A segment whose
groups are all settled is removed, so that what lies there is that of the trees under way, however long the
stage is. In memory are 24 bytes for each answer of earlier processes that is left, and the groups of each
segment. This process asks nothing twice, and looks up none of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import threading
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rstar_jax import records
from rstar_jax.served.requests import Continuation

SYNC_S = 1.0
SEGMENT_BYTES = 64 << 20
_HEAD = 43  # bytes before the JSON
_NONE = np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64)


class Journal:
    """The answers in a folder, which is made if it is not there. For one writing and one reading thread.

    others: folders of other hosts' journals, whose answers count, too; nothing there is changed, and
    they may go at any time. answers: how many earlier processes left in all. Raises UserError where it cannot
    be read or written.
    """

    def __init__(self, folder: Path, others: Iterable[Path] = ()) -> None:
        self.folder = folder
        self._lock, self._unsynced, self._closed = threading.Lock(), False, False
        self._groups: dict[int, set[int]] = {}  # by segment, those that are not settled
        try:
            folder.mkdir(parents=True, exist_ok=True)
            numbers = [int(path.stem) for path in _segments(folder)]
            found = [path for other in others for path in _segments(other)]
            self._others = {-1 - place: path for place, path in enumerate(found)}
            read = [self._read(number) for number in (*self._others, *numbers)]
            self._begin(numbers[-1] + 1 if numbers else 0)
        except OSError as error:
            raise records.writing_failed(folder, error) from error
        keys, places, segments = (np.concatenate(parts) for parts in zip(_NONE, *read, strict=True))
        order = np.argsort(keys, kind="stable")
        self._keys, self._places, self._segments = keys[order], places[order], segments[order]
        self.answers = len(keys)

    def _path(self, number: int) -> Path:
        return self._others[number] if number < 0 else self.folder / f"{number:06d}.journal"

    def _begin(self, number: int) -> None:
        """Begin a segment, into which answers go from now on."""
        self._file = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._newest, self._size, self._groups[number] = number, 0, set()

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read a segment of an earlier process; return the key of each answer, its place, and the segment."""
        keys, places, at, damaged = array("Q"), array("q"), 0, 0
        path, groups = self._path(number), self._groups.setdefault(number, set())
        with self._open(number) as file:
            for line in file:
                if not line.endswith(b"\n"):
                    if number >= 0:
                        os.truncate(path, at)
                    break
                if _holds(line):
                    keys.append(int(line[:16], 16))
                    groups.add(int(line[17:33], 16))
                    places.append(at)
                else:
                    damaged += 1
                at += len(line)
        if damaged:
            logging.warning(
                "%s: %s of its lines are damaged; what they answered is asked again.", path, damaged
            )
        return np.array(keys, np.uint64), np.array(places, np.int64), np.full(len(keys), number, np.int64)

    def get(self, key: int) -> list[tuple[int, list[Continuation]]]:
        """Return the answers of a request that earlier processes left: the place of the first continuation of
        each, and the continuations."""
        first, last = (int(np.searchsorted(self._keys, np.uint64(key), side)) for side in ("left", "right"))
        with self._lock:
            kept = [i for i in range(first, last) if int(self._segments[i]) in self._groups]
            return [a for i in kept for a in self._at(int(self._segments[i]), int(self._places[i]))]

    def _at(self, number: int, place: int) -> Iterator[tuple[int, list[Continuation]]]:
        with self._open(number) as file:
            file.seek(place)
            if line := file.readline():
                first, choices = json.loads(line[_HEAD:])
                yield first, [Continuation(*choice) for choice in choices]

    def _open(self, number: int) -> BinaryIO:
        """Open a segment to read; another host's that has gone is an empty one."""
        try:
            return open(self._path(number), "rb")
        except FileNotFoundError:
            if number >= 0:
                raise
            return io.BytesIO()

    def add(self, key: int, group: int, first: int, choices: Sequence[Continuation]) -> None:
        """Append an answer. Raises UserError where the disk is full; then nothing is appended."""
        held = json.dumps([first, [list(vars(choice).values()) for choice in choices]]).encode()
        line = b"%016x %016x %08x %s\n" % (key, group, zlib.crc32(held), held)
        done = 0
        try:
            if self._size >= SEGMENT_BYTES:
                self._roll()
            while done < len(line):
                done += os.write(self._file, memoryview(line)[done:])
        except OSError as error:
            os.ftruncate(self._file, os.fstat(self._file).st_size - done)
            raise records.writing_failed(self._path(self._newest), error) from error
        self._groups[self._newest].add(group)
        self._size += len(line)
        self._unsynced = True

    def _roll(self) -> None:
        """Begin the next segment, once the disk holds this one."""
        self.sync()
        with self._lock:
            full = self._file
            self._begin(self._newest + 1)
            os.close(full)
            self._remove_settled()

    def settle(self, groups: Iterable[int]) -> None:
        """Say that what these groups were asked for is on disk. Segments without others are removed."""
        with self._lock:
            for group in groups:
                for known in self._groups.values():
                    known.discard(group)
            self._remove_settled()

    def _remove_settled(self) -> None:
        for number in [n for n, groups in self._groups.items() if not groups and n != self._newest]:
            del self._groups[number]
            if number >= 0:
                self._path(number).unlink(missing_ok=True)

    def sync(self) -> None:
        """Have the disk hold what was added. Raises UserError where it cannot."""
        with self._lock:
            if not self._unsynced or self._closed:
                return
            self._unsynced = False
            try:
                os.fsync(self._file)
            except OSError as error:
                raise records.writing_failed(self._path(self._newest), error) from error

    def close(self) -> None:
        """Sync and close."""
        if not self._closed:
            self.sync()
            with self._lock:
                os.close(self._file)
                self._closed = True


def _segments(folder: Path) -> list[Path]:
    """List a journal's segments, the oldest first; none where the folder has gone meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(path for path in folder.glob("*.journal") if path.stem.isdecimal())
    return []


def _holds(line: bytes) -> bool:
    try:
        whole = int(line[34:42], 16) == zlib.crc32(line[_HEAD:-1])
        return whole and int(line[:16], 16) >= 0 and int(line[17:33], 16) >= 0
    except ValueError:
        return False
