"""Memory of the host that is free, and how large a pool of pages is made of it.

A pool that is larger than what a search goes back to is waste, and one that is smaller makes it read texts
again and again: a tree's turn comes when those of all others have pushed its pages out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

# Of the memory that is free when a pool is made, on a CPU for policy and PPM each: the weights of a training,
# the programs that are being compiled and other processes need some, too.
SHARE = 0.25
LEAST = 128 * 2**20  # bytes of a pool of which nobody said how much of it will be used, or may be


def free_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take: what the machine has available, or what the limits of its
    control groups (a container's, a job's) leave if that is less. None where Linux's files are not there.

    root: of the file system, for tests.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return max(0, min([int(line.split()[1]) * 1024, *_left_in_groups(root)]))
    return None


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield what each control group above this process leaves of its limit, by either version."""
    groups = []
    with contextlib.suppress(OSError):
        # Such as "0::/user.slice/job" or "4:memory:/docker/0123".
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    files = {  # by version: where, its limit, its usage, and what of that can be taken back
        2: ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        1: ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    for _, controllers, path in (group for group in groups if len(group) == 3):
        if controllers and "memory" not in controllers.split(","):
            continue
        top, limit, usage, idle = files[1 if controllers else 2]
        parts = Path(path.strip("/")).parts
        # Inside a container its own group is often mounted as the top: the path then is not there.
        for depth in range(len(parts), -1, -1):
            folder = root.joinpath(top, *parts[:depth])
            with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
                left = int((folder / limit).read_text()) - int((folder / usage).read_text())
                yield left + _stat(folder / "memory.stat", idle)


def _stat(path: Path, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0


def pool_pages(page: int, least: int, demand: int, free: int | None) -> int:
    """Pages for a pool in the host's memory: as many as are asked for, within SHARE of what is free.

    page: bytes of one. least: pages of the longest text. demand: bytes of all texts that will be gone back
    to; 0: not known, then LEAST, or four texts if that is more. free: as `free_bytes` has it; None: unknown,
    and then no more than that. Fewer than `least` where the bound is so low.
    """
    blind = max(LEAST // page, 4 * least)
    wanted = max(-(-demand // page), least) if demand else blind
    if free is None:
        return _size(min(wanted, blind), up=True)
    allowed, pages = int(SHARE * free) // page, _size(wanted, up=True)
    return pages if pages <= allowed else max(_size(allowed, up=False), min(least, allowed))


def _size(pages: int, *, up: bool) -> int:
    """The next of 4, 5, 6, 7 times a power of two that is no less than so many pages (up), or no more.

    A pool's size is a shape of every program that reads it: were it to follow the free memory by the byte, no
    run would find another's programs compiled.
    """
    size = 4
    while 2 * size <= pages:
        size *= 2
    sizes = [0, *(size * quarter // 4 for quarter in range(4, 9))]
    return next(s for s in sizes if s >= pages) if up else max([s for s in sizes if s <= pages], default=0)
