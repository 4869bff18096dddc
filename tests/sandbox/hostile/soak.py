"""Very many mixed snippets through one sandbox, and whether the machine is after them as it was before."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import os
import random
import resource
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rstar_jax.sandbox import Limits, Sandbox
from tests.sandbox.hostile import corpus
from tests.sandbox.hostile.corpus.cases import Case
from tests.sandbox.hostile.expectations import descendants, descriptors, short, wrong

_LIMITS = Limits(cpu_s=1, wall_s=2, memory_mb=256)
# What ends at a limit takes a second; the runner has run it, and thousands of these would run for hours.
_SLOW = {"timeout_cpu", "timeout_wall", "memory", "output_limit"}
_BATCH = 500
_MAX_GROWTH = 64 << 20  # bytes: what the sandbox remembers of results


@dataclasses.dataclass
class Soaked:
    """statuses: how many ended how. cpu_s, wall_s: of all processes, seconds. grown: the caller, bytes."""

    failures: list[str]
    statuses: dict[str, int]
    cpu_s: float
    wall_s: float
    grown: int


def soak(count: int, folder: Path) -> Soaked:
    """Runs `count` snippets, every third a hostile one, and looks at what they left.

    folder: an empty one, which becomes the caller's working directory and the place of its temporary files.
    No file of the libraries and of this folder may change, nor the caller's processes and descriptors.
    """
    (folder / "decoy.txt").write_text("unchanged")
    quick = [case for case in corpus.CASES if not _SLOW & set(case["expect"]["status"])]
    rng, failures, statuses = random.Random(0), [], collections.Counter[str]()
    watched = [*map(sysconfig.get_path, ("purelib", "stdlib")), folder]
    before, opened = _state(watched), descriptors()
    cpu, wall = _cpu_s(), time.monotonic()
    with _living_in(folder), Sandbox(2, _LIMITS) as sandbox:
        processes, resident = set[int](), 0
        for begin in range(0, count, _BATCH):
            mixed = [_mixed(rng, quick, number) for number in range(begin, min(begin + _BATCH, count))]
            for case, result in zip(mixed, sandbox.run([case["code"] for case in mixed]), strict=True):
                statuses[result.status] += 1
                failures += [f"{case['name']}: {what}" for what in wrong(case, result)]
            if not processes:
                processes, resident = descendants(), _resident()
        if (now := descendants()) != processes:
            failures.append(f"zygotes killed: {processes - now}, processes left behind: {now - processes}")
        last = sandbox.run([f"print({count}, 'the last one')"])[0]
        if last.stdout != f"{count} the last one\n":
            failures.append(f"the last result is not its own: {short(last)}")
        if (grown := _resident() - resident) > _MAX_GROWTH:
            failures.append(f"the caller has grown by {grown >> 20} MB")
    seconds = _cpu_s() - cpu, time.monotonic() - wall
    if descendants() - processes:
        failures.append(f"processes are left: {descendants()}")
    if (now := descriptors()) != opened:
        failures.append(f"the caller's descriptors were {opened}, are {now}")
    after = _state(watched)
    failures += [f"{path} has changed" for path in before | after if before.get(path) != after.get(path)]
    return Soaked(failures, dict(statuses), *seconds, grown)


def _mixed(rng: random.Random, hostile: list[Case], number: int) -> Case:
    """Program `number`: none is like another, as a program that was run is remembered."""
    kind = number % 3
    if kind == 0:
        chosen = rng.choice(hostile)
        return {**chosen, "code": f"{chosen['code']}\n_ = {number}"}
    if kind == 1:
        code = f"total = sum(k * k for k in range({number}))\nprint(total)"
        out = sum(k * k for k in range(number))
    else:
        code = f"from sympy import symbols, expand\nx = symbols('x')\nprint(expand((x + {number}) ** 2))"
        out = f"x**2 + {2 * number}*x + {number**2}"
    return {"name": f"harmless {number}", "code": code, "expect": {"status": ["ok"], "stdout": f"{out}\n"}}


@contextlib.contextmanager
def _living_in(folder: Path) -> Iterator[None]:
    old = Path.cwd(), tempfile.tempdir
    os.chdir(folder)
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        os.chdir(old[0])
        tempfile.tempdir = old[1]


def _state(folders: list[str | Path]) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file below the folders."""
    found = {}
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                status = os.lstat(os.path.join(parent, name))
                found[os.path.join(parent, name)] = status.st_size, status.st_mtime_ns
    return found


def _cpu_s() -> float:
    """CPU seconds of this process and of its descendants that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _resident() -> int:
    """Bytes of memory that this process has in use."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
