"""Files that a bucket holds and this machine does not yet: they are fetched when somebody asks for them.

Weights and checkpoints are by far the most of a run, and few of them are read by any one start.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_TOLD_BYTES = 100 * 10**6
_THREADS = 8

log = logging.getLogger(__name__)
_later: dict[str, tuple[int, Callable[[], None]]] = {}  # absolute path -> bytes, and what fetches it
_fetching = threading.Lock()


def postpone(path: Path, size: int, fetch: Callable[[], None]) -> None:
    """Have a file of `size` bytes fetched when it is needed."""
    _later[os.path.abspath(path)] = size, fetch


def forget(path: Path) -> None:
    """Postpone a file no longer: it has come, or is gone there."""
    _later.pop(os.path.abspath(path), None)


def size_of(path: Path) -> int | None:
    """Bytes of a file that is not here yet; None of any other path."""
    found = _later.get(os.path.abspath(path)) if _later else None
    return found[0] if found else None


def need(path: Path) -> None:
    """Have a file with those beside it, or all of a folder, on this machine now; of what is in no bucket, do
    nothing.

    Raises UserError as stores do; what has come until then stays.
    """
    if not _later:
        return
    place = os.path.abspath(path)
    with _fetching:
        waiting = dict(_later)
        folder = os.path.dirname(place) if place in waiting else place
        found = {name: one for name, one in waiting.items() if name.startswith(folder + os.sep)}
        if not found:
            return
        if (size := sum(bytes for bytes, _ in found.values())) > _TOLD_BYTES:
            log.warning("%s: %.1f GB are fetched.", folder, size / 1e9)
        pool = ThreadPoolExecutor(min(_THREADS, len(found)))
        try:
            for done in [pool.submit(fetch) for _, fetch in found.values()]:
                done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # a signal does not wait for large files
