"""Device calls: their time, compiling told from running, and no transfers that nobody asked for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from rstar_jax import compilations
from rstar_jax.compilations import DeviceProgram
from rstar_jax.engine.requests import Stats


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Refuse transfers that nobody asked for: results fetched other than by `jax.device_get`, arrays that are
    moved from one device to another.

    Host arrays go to a program as its arguments, which is the cheapest way: placing the eleven of
    `NewRequests` by `jax.device_put` first costs 14 times as much.
    """
    with jax.transfer_guard_device_to_host("disallow"), jax.transfer_guard_device_to_device("disallow"):
        yield


_met: set[tuple[int, DeviceProgram]] = set()  # the programs of this process, with the generation of them


@contextlib.contextmanager
def timed(stats: Stats, program: DeviceProgram | None = None) -> Iterator[None]:
    """Adds the time of the block to `stats`: to compile_seconds if `program` was not met before.

    Starting a program returns at once once it is compiled; the block that waits for its result has no name.
    """
    begin = time.perf_counter()
    if program is None or (compilations.generation(), program) in _met:
        yield
        took = time.perf_counter() - begin
        stats.seconds += took
        if program is None:
            stats.awaited += took
        return
    tell = stats.on_compile or (lambda _: None)
    tell(program.name)
    yield
    tell("")
    _met.add((compilations.generation(), program))
    took = time.perf_counter() - begin
    stats.compile_seconds += took
    if took > 1:  # a large program, beside which this takes no time
        compilations.give_back()
    stats.programs.append(str(program))


def dispatch(stats: Stats, program: DeviceProgram, *arguments: Any) -> Any:
    """Start a program, timed."""
    with timed(stats, program):
        return program(*arguments)


def compile_soon(programs: Sequence[DeviceProgram]) -> None:
    """Start compiling those that were not met, for calls that follow soon."""
    compilations.soon([p for p in programs if (compilations.generation(), p) not in _met])


def compile_ahead(stats: Stats, program: DeviceProgram) -> None:
    """Compile a program, timed, so that a call of it finds it."""
    with timed(stats, program):
        program.compile()
