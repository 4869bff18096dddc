"""Times device calls, and tells compiling from running."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rstar_jax import compilations
from rstar_jax.engine.requests import Stats

_met: set[tuple[object, ...]] = set()  # the programs of this process, with the generation of them


@contextlib.contextmanager
def timed(stats: Stats, program: str | None = None, *key: object) -> Iterator[None]:
    """Adds the time of the block to `stats`: to compile_seconds if `program` was never started with this key.

    Starting a program returns at once once it is compiled; the block that waits for its result has no name.
    """
    begin = time.perf_counter()
    name = compilations.generation(), program, *key
    if program is None or name in _met:
        yield
        stats.seconds += time.perf_counter() - begin
        return
    tell = stats.on_compile or (lambda _: None)
    tell(program)
    yield
    tell("")
    _met.add(name)
    took = time.perf_counter() - begin
    stats.compile_seconds += took
    if took > 1:  # a large program, beside which this takes no time
        compilations.give_back()
    stats.programs.append(" ".join([program, *map(str, key[1:])]))
