"""Clock of a search's time, by kind of work."""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from collections.abc import Iterator


class Meter:
    """Busy seconds by kind of work. Safe to use from threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = collections.defaultdict(float)
        self.tokens = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def time(self, kind: str) -> Iterator[None]:
        """Adds the wall time of the block to `kind`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[kind] += time.perf_counter() - began

    def result(self) -> dict[str, object]:
        """JSON-ready: seconds by kind, and tokens written, duplicates included."""
        return {
            "seconds": {kind: round(value, 3) for kind, value in sorted(self.seconds.items())},
            "tokens": self.tokens,
        }
