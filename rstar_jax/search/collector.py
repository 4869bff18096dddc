"""Python's garbage collector while trees grow.

It looks for objects that hold each other alive. What a search makes is held by its trees until they end, so
that there is nothing to find; but by default the collector walks over all nodes of all trees each time their
number has grown by a quarter, and over the young ones every 700 objects: half of a search's own time at
hundreds of trees (`benchmarks/tree.py`). So it comes less often while a search goes on. The garbage that may
wait for it is bounded all the same: by `THRESHOLDS`, 1.25 million objects, some 150 MB.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

# Of young objects; of collections of these before the middle-aged, of those before all are looked at.
THRESHOLDS = (50_000, 5, 5)

_lock = threading.Lock()
_searches = 0
_before = (0, 0, 0)


@contextlib.contextmanager
def rarely() -> Iterator[None]:
    """Until the last search has left the thresholds are `THRESHOLDS`; then what they were. A collector that
    was turned off, or told to come even less often, stays so."""
    global _searches, _before
    with _lock:
        if not _searches:
            _before = gc.get_threshold()
            if 0 < _before[0] < THRESHOLDS[0]:
                gc.set_threshold(*THRESHOLDS)
        _searches += 1
    try:
        yield
    finally:
        with _lock:
            _searches -= 1
            if not _searches:
                gc.set_threshold(*_before)
