"""Command lines in processes that say when they come to a place, and that are killed there: for
test_preemption.py.

Reads lines of JSON {argv, at, hang, out, err}; for each a process is forked, so that this one alone pays for
the imports, that runs `rstar_jax.launch` with `argv` as `python -m` does. It says "there" when it first comes
to `at`, "MODULE:FUNCTION", and with `hang` stays in a call that nothing interrupts, as in a compilation or at
a disk that does not answer. `grace`: seconds in place of `signals.GRACE_S`. Printed are its number and, when
it has ended, its exit status.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from rstar_jax.launch import signals
from rstar_jax.launch.entry import main

# What the commands import, so that no fork has to.
for module in (
    "evolve.rounds",
    "evolve.sft",
    "train.checkpoints",
    "weights.loading",
    "distributed.hosts",
    "stores",
):
    importlib.import_module(f"rstar_jax.{module}")


def hang() -> None:
    """Stays in one C call for good, without Python's lock: a mutex that is taken twice."""
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    for _ in range(2):
        libc.pthread_mutex_lock(mutex)


def announced(function: Callable[..., Any], there: int, hangs: bool) -> Callable[..., Any]:
    """The function, which says that it was called."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        os.write(there, b"there\n")
        if hangs:
            hang()
        return function(*arguments, **options)

    return call


def run(case: dict[str, Any], there: int) -> int:
    """One command line, in a process of its own; returns its exit status."""
    for name, number in (("out", 1), ("err", 2)):
        file = os.open(case[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
    module, _, path = case["at"].partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    setattr(owner, name, announced(getattr(owner, name), there, case["hang"]))
    signals.GRACE_S = case["grace"]
    signals.install()
    try:
        return main(case["argv"])
    except KeyboardInterrupt as late:
        return signals.status(late)


def serve() -> None:
    for line in sys.stdin:
        case = json.loads(line)
        sys.stdout.flush()
        said, there = os.pipe()
        child = os.fork()
        if not child:
            status = 1
            try:
                status = run(case, there)
            finally:
                signals.leave(status)
        os.close(there)
        print("process", child, flush=True)
        with os.fdopen(said) as lines:
            print("came", (lines.readline() or "past\n").strip(), flush=True)
            _, status = os.waitpid(child, 0)
        print("status", os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
