"""Snippets per CPU second and their latency: the sandbox, and what others do, beside each other on one core.

    python benchmarks/sandbox.py [--count 2000] [--latencies 200]
    python benchmarks/sandbox.py --soak 10000

Sets of distinct programs, so that nothing is remembered: trivial (arithmetic), sympy (an equation is solved),
mixed (one in four imports sympy, the others the standard library). Ways:
- sandbox: rstar_jax.sandbox, one worker, all layers.
- fresh, imports: `python -c` with sympy and numpy imported first, as graders run a model's program.
- fresh, bare: `python -c` with the program's own imports alone.
- pool: exec() in a process of concurrent.futures that has imported both. Fast, and no isolation at all: no
  limit, no end of a program that hangs, and what one program changes the next one finds.

CPU seconds are those of all processes; starting is left out (the difference of a long and a short run). A
latency is the time on the clock of one program alone. --soak runs that many snippets, a third of them hostile
(tests/sandbox/hostile), and says what they left.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import io
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rstar_jax.sandbox import Limits, Sandbox

Run = Callable[[str], str]  # program -> what it printed
_IMPORTS = "import sympy, numpy\n"
_FRESH = 12  # a fresh interpreter with sympy takes about a second: a few tell enough


def trivial(number: int) -> str:
    return f"total = {number}\nfor k in range(10):\n    total += k * {number}\nprint(total)"


def solving(number: int) -> str:
    equation = f"x**2 - {number + 3}*x + {2 * number + 1}"
    return f"from sympy import symbols, solve\nx = symbols('x')\nprint(solve({equation}, x))"


def mixed(number: int) -> str:
    return (
        solving(number),
        f"import math\nprint(math.comb({number % 50 + 10}, 5), math.sqrt({number}))",
        f"from fractions import Fraction\nprint(sum(Fraction({number}, k) for k in range(1, 9)))",
        f"print(sum(1 for a in range(1, 60) for b in range(a, 60) if (a * b + {number}) % 7 == 0))",
    )[number % 4]


SETS = {"trivial": trivial, "sympy": solving, "mixed": mixed}


@contextlib.contextmanager
def sandbox() -> Iterator[tuple[Run, Callable[[list[str]], object]]]:
    with Sandbox(workers=1, limits=Limits()) as opened:
        yield (lambda code: opened.run([code])[0].stdout), opened.run


@contextlib.contextmanager
def fresh(before: str) -> Iterator[tuple[Run, Callable[[list[str]], object]]]:
    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True)
        return done.stdout

    yield run, lambda codes: [run(code) for code in codes]


def _execute(code: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    return printed.getvalue()


def _import_packages() -> None:
    exec(_IMPORTS, {})


@contextlib.contextmanager
def pool() -> Iterator[tuple[Run, Callable[[list[str]], object]]]:
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn, initializer=_import_packages) as executor:
        yield (
            (lambda code: executor.submit(_execute, code).result()),
            (lambda codes: list(executor.map(_execute, codes))),
        )


WAYS = {
    "sandbox": sandbox,
    "fresh, imports": lambda: fresh(_IMPORTS),
    "fresh, bare": lambda: fresh(""),
    "pool": pool,
}


def cpu_s(way: str, codes: list[str]) -> float:
    """CPU seconds of all processes for these programs, with start and end."""
    before = _used()
    with WAYS[way]() as (run, run_all):
        run("import sympy\nprint(sympy.Integer(1))")  # starts what starts late
        run_all(codes)
    return _used() - before


def _used() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def latencies(way: str, codes: list[str]) -> list[float]:
    """Seconds on the clock of each program alone. Raises RuntimeError if one prints nothing."""
    seconds = []
    with WAYS[way]() as (run, _):
        for code in codes:
            begin = time.perf_counter()
            if not run(code):
                raise RuntimeError(f"{way}: printed nothing: {code}")
            seconds.append(time.perf_counter() - begin)
    return seconds[len(seconds) // 10 :]  # those before start a process


def measure(count: int, alone: int) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"{'set':8} {'way':15} {'per CPU second':>14} {'CPU ms each':>12} {'p50 ms':>8} {'p99 ms':>8}")
    rates = {}
    for name, make in SETS.items():
        numbers = iter(range(10**9))
        for way in WAYS:
            slow = way.startswith("fresh")
            many = _FRESH if slow else count if name == "trivial" else max(40, count // 8)
            few = [make(next(numbers)) for _ in range(2 if slow else 10)]
            codes = [make(next(numbers)) for _ in range(many)]
            each = (cpu_s(way, few + codes) - cpu_s(way, few)) / many
            times = latencies(way, [make(next(numbers)) for _ in range(_FRESH if slow else alone)])
            p50, p99 = (1e3 * statistics.quantiles(times, n=100, method="inclusive")[n] for n in (49, 98))
            rates[name, way] = 1 / each
            row = f"{1 / each:14,.1f} {1e3 * each:12.2f} {p50:8.2f} {p99:8.2f}"
            print(f"{name:8} {way:15} {row}", flush=True)
    for peer in list(WAYS)[1:]:
        print(f"trivial: {rates['trivial', 'sandbox'] / rates['trivial', peer]:.1f} times {peer}")


def soak(count: int) -> int:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.sandbox.hostile.soak import soak as run

    with tempfile.TemporaryDirectory() as folder:
        soaked = run(count, Path(folder))
    print(f"{count} snippets, {soaked.wall_s:.0f} s, {soaked.cpu_s:.0f} CPU s; ended as: {soaked.statuses}")
    print(f"the caller's memory grew by {soaked.grown / 2**20:.1f} MB; {len(soaked.failures)} failures")
    print(*soaked.failures, sep="\n")
    return 1 if soaked.failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000, help="trivial programs; of the others an eighth")
    parser.add_argument("--latencies", type=int, default=200, help="programs run alone")
    parser.add_argument("--soak", type=int, default=0, metavar="SNIPPETS")
    arguments = parser.parse_args()
    if arguments.soak:
        return soak(arguments.soak)
    measure(arguments.count, arguments.latencies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
