"""Clocks of a search's time, by kind of work."""

from __future__ import annotations

import collections
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from time import perf_counter


class Meter:
    """Busy seconds by kind of work. Safe to use from threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = collections.defaultdict(float)
        self.tokens = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def time(self, kind: str) -> Iterator[None]:
        """Adds the wall time of the block to `kind`."""
        began = perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[kind] += perf_counter() - began

    def gauge(
        self, kind: str, clock: Callable[[], float] = perf_counter
    ) -> Callable[[str], Callable[[int], None]]:
        """Return what makes watchers (`Queue.watch`) of several queues, by name: the time in which any of
        them has something open is added to `kind`. clock: seconds that count."""
        counts: dict[str, int] = {}
        since = 0.0

        def told(name: str, count: int) -> None:
            nonlocal since
            before, counts[name] = any(counts.values()), count
            if before and not any(counts.values()):
                self.seconds[kind] += clock() - since
            elif not before and count:
                since = clock()

        return lambda name: functools.partial(told, name)
