"""The journals of hosts that search together: one for each block of problems that a host works on.

    answers/trees-0-00012/HOST/000000.journal      a host's answers for problems of a block (`journal.py`)
    answers/000000.journal                         those of a run with one host

Who takes a block over, or takes it after a new start with other hosts, reads what all hosts have left for
it, and nothing of other blocks. A host's journal of a block goes once the trees that it began there are on
disk.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from rstar_jax.served.journal import Journal
from rstar_jax.served.requests import Continuation


def left_by_teams(folder: Path) -> list[Path]:
    """List the folders of journals that hosts together have left, for one that goes on alone."""
    return sorted(path for path in folder.glob("*/*") if path.is_dir())


class Journals:
    """As `Journal`, of all the blocks that this host has begun. host: its name, which no other ever has."""

    def __init__(self, folder: Path, host: str) -> None:
        self._folder, self._host = folder, host
        self._lock = threading.RLock()
        self._open: dict[str, tuple[Journal, set[int]]] = {}  # by block, with the groups under way
        self._block_of: dict[int, str] = {}

    def begin(self, block: str, group: int) -> None:
        """Say that a group of a block is asked for from now on."""
        with self._lock:
            if block not in self._open:
                there = [path for path in (self._folder / block).glob("*") if path.is_dir()]
                self._open[block] = Journal(self._own(block), [*there, self._folder]), set()
            self._open[block][1].add(group)
            self._block_of[group] = block

    def get(self, key: int) -> list[tuple[int, list[Continuation]]]:
        """As `Journal.get`."""
        with self._lock:
            return [answer for journal, _ in self._open.values() for answer in journal.get(key)]

    def add(self, key: int, group: int, first: int, choices: Sequence[Continuation]) -> None:
        """As `Journal.add`; of a group that was begun."""
        with self._lock:
            if group in self._block_of:
                self._open[self._block_of[group]][0].add(key, group, first, choices)

    def settle(self, groups: Iterable[int]) -> None:
        """As `Journal.settle`; groups that were not begun here are others'."""
        with self._lock:
            for group in groups:
                if (block := self._block_of.pop(group, None)) is None:
                    continue
                journal, under_way = self._open[block]
                under_way.discard(group)
                journal.settle([group])
                if not under_way:
                    del self._open[block]
                    journal.close()
                    shutil.rmtree(self._own(block), ignore_errors=True)

    def sync(self) -> None:
        """As `Journal.sync`."""
        with self._lock:
            journals = [journal for journal, _ in self._open.values()]
        for journal in journals:
            journal.sync()

    def close(self) -> None:
        """As `Journal.close`."""
        for journal, _ in self._open.values():
            journal.close()

    def _own(self, block: str) -> Path:
        return self._folder / block / self._host
