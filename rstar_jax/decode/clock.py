"""Times device calls, and tells compiling from running."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rstar_jax.decode.requests import Stats

_met: set[tuple[object, ...]] = set()  # compiled programs live as long as the process, and so does this


@contextlib.contextmanager
def timed(stats: Stats, program: str | None = None, *key: object) -> Iterator[None]:
    """Adds the time of the block to `stats`: to compile_seconds if `program` was never started with this key.

    Starting a program returns at once once it is compiled; the block that waits for its result has no name.
    """
    begin = time.perf_counter()
    if program is None or (program, *key) in _met:
        yield
        stats.seconds += time.perf_counter() - begin
        return
    tell = stats.on_compile or (lambda _: None)
    tell(program)
    yield
    tell("")
    _met.add((program, *key))
    stats.compile_seconds += time.perf_counter() - begin
    stats.programs.append(" ".join([program, *map(str, key[1:])]))
