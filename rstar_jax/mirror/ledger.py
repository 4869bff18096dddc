"""A mirror's memory: of each file, which version of it here is which version there.

    .ledger.jsonl   a line for each change, only ever appended: [name, here, there], or [name] for one that is
                    gone; rewritten when it is opened

A line that a killed process was writing is passed over, so that its file counts as unknown: it is compared
with the bucket's, and where in doubt the bucket's is taken.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import threading
from pathlib import Path

from rstar_jax import records

Version = tuple[int, str]  # bytes, and what changes with every change


@dataclasses.dataclass(frozen=True)
class Entry:
    """One file's version here, and the version there that is its equal."""

    here: Version
    there: Version


class Ledger:
    """Entries by name. For several threads."""

    def __init__(self, path: Path):
        self.entries, self._path, self._writing = dict[str, Entry](), path, threading.Lock()
        if path.is_file():
            with records.reading(path):
                lines = path.read_bytes().splitlines()
            for line in lines:
                self._read(line)
        text = (_line(name, entry) for name, entry in self.entries.items())
        with records.replacing(path) as temporary:
            temporary.write_text("".join(text), encoding="utf-8")
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def set(self, name: str, here: Version, there: Version) -> None:
        """Remember that a file is the same here and there."""
        self.entries[name] = Entry(here, there)
        self._append(_line(name, self.entries[name]))

    def forget(self, name: str) -> None:
        """Remember that a file is neither here nor there."""
        if self.entries.pop(name, None) is not None:
            self._append(_line(name, None))

    def close(self) -> None:
        """Close the file; what threads still send or fetch is not remembered."""
        with self._writing:
            os.close(self._file)
            self._file = -1

    def _read(self, line: bytes) -> None:
        try:
            name, *versions = json.loads(line)
            here, there = (tuple(version) for version in versions) if versions else ((), ())
        except (ValueError, TypeError):  # cut off
            return
        if versions:
            self.entries[name] = Entry(here, there)  # pyright: ignore[reportArgumentType]
        else:
            self.entries.pop(name, None)

    def _append(self, line: str) -> None:
        with self._writing:
            if self._file < 0:  # the number of a closed file is soon another's
                return
            try:
                os.write(self._file, line.encode())
            except OSError as error:
                raise records.writing_failed(self._path, error) from error


def _line(name: str, entry: Entry | None) -> str:
    return json.dumps([name, entry.here, entry.there] if entry else [name]) + "\n"


def version_here(stat: os.stat_result) -> Version:
    """The version of a file of this machine."""
    return stat.st_size, f"{stat.st_mtime_ns}.{stat.st_ino}"


def version_there(info: dict[str, object]) -> Version:
    """The version of an object, from what fsspec tells of it."""
    marks = (info.get(key) for key in ("generation", "ETag", "etag", "md5Hash", "created"))
    mark = next((mark for mark in marks if mark), "")
    if isinstance(mark, datetime.datetime):  # fsspec's memory says it in two ways
        mark = mark.timestamp()
    return int(str(info["size"])), str(mark).strip('"')
