"""What this process has below it and holds open, for tests that nothing is left."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path


def living() -> dict[int, int]:
    """The parent of every living process."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    return parents


def descendants() -> list[int]:
    """Ids of all living processes below this one, children first."""
    parents = living()
    below = [os.getpid()]
    for pid in below:
        below += [child for child, parent in parents.items() if parent == pid]
    return below[1:]


def descriptors() -> set[str]:
    """What this process has open, by number and name; what only the collector still held is closed first."""
    gc.collect()
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        except OSError:
            continue  # the listing's own
    return found


def soon(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether a condition comes true within some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
