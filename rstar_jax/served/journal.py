"""Answers on disk before anyone sees them, so that after a kill no answered request is sent again.

One line for each answer, only ever appended:

    KEY(16 hex) CRC32(8 hex) [first, [[text, stop, logprob, tokens, fault], ...]]

`first` is the place of its first continuation among those that the request asked for. What a killed process
was writing ends in no newline and is cut off; a line whose checksum differs is passed over. A line is handed
to the system before its answer is used, so that a killed process loses none; it is synced every SYNC_S
seconds, so that a host that loses power loses those seconds, which are asked again.

In memory are 16 bytes for each answer of earlier processes. This process asks nothing twice, and looks up
none of its own.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import zlib
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rstar_jax import records
from rstar_jax.served.requests import Continuation

SYNC_S = 1.0
_HEAD = 26  # bytes before the JSON


class Journal:
    """The answers in a file, which is made if it is not there. For one writing and one reading thread.

    answers: how many earlier processes left in it. Raises UserError where it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            keys, places = self._read()
        except OSError as error:
            raise records.writing_failed(path, error) from error
        order = np.argsort(keys, kind="stable")
        self._keys, self._places = keys[order], places[order]
        self.answers = len(keys)
        self._lock, self._unsynced, self._closed = threading.Lock(), False, False

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        keys, places, at, damaged = array("Q"), array("q"), 0, 0
        with open(self.path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    os.truncate(self.path, at)
                    break
                if _holds(line):
                    keys.append(int(line[:16], 16))
                    places.append(at)
                else:
                    damaged += 1
                at += len(line)
        if damaged:
            logging.warning(
                "%s: %s of its lines are damaged; what they answered is asked again.", self.path, damaged
            )
        return np.array(keys, np.uint64), np.array(places, np.int64)

    def get(self, key: int) -> list[tuple[int, list[Continuation]]]:
        """Return the answers of a request that earlier processes left: the place of the first continuation of
        each, and the continuations."""
        first, last = (int(np.searchsorted(self._keys, np.uint64(key), side)) for side in ("left", "right"))
        return [self._at(int(place)) for place in self._places[first:last]]

    def _at(self, place: int) -> tuple[int, list[Continuation]]:
        line, size = b"", 4096
        while not line.endswith(b"\n"):
            line = os.pread(self._file, size, place).partition(b"\n")
            line, size = line[0] + line[1], 4 * size
        first, choices = json.loads(line[_HEAD:])
        return first, [Continuation(*choice) for choice in choices]

    def add(self, key: int, first: int, choices: Sequence[Continuation]) -> None:
        """Append an answer. Raises UserError where the disk is full; then nothing is appended."""
        held = json.dumps([first, [list(vars(choice).values()) for choice in choices]]).encode()
        line = b"%016x %08x %s\n" % (key, zlib.crc32(held), held)
        done = 0
        try:
            while done < len(line):
                done += os.write(self._file, memoryview(line)[done:])
        except OSError as error:
            os.ftruncate(self._file, os.fstat(self._file).st_size - done)
            raise records.writing_failed(self.path, error) from error
        self._unsynced = True

    def sync(self) -> None:
        """Have the disk hold what was added. Raises UserError where it cannot."""
        with self._lock:
            if not self._unsynced or self._closed:
                return
            self._unsynced = False
            try:
                os.fsync(self._file)
            except OSError as error:
                raise records.writing_failed(self.path, error) from error

    def close(self) -> None:
        """Sync and close."""
        if not self._closed:
            self.sync()
            with self._lock:
                os.close(self._file)
                self._closed = True


def _holds(line: bytes) -> bool:
    try:
        return int(line[17:25], 16) == zlib.crc32(line[_HEAD:-1]) and int(line[:16], 16) >= 0
    except ValueError:
        return False
