"""Rows per CPU second and peak memory of what reads and prepares problems.

    python benchmarks/data.py [--part read|clean|pack|tokens|pairs ...] [--rows 1000000] [--file FILE ...]

`read`: opens that many suite problems, and a file of that many lines written from these, then reads all of
them in order and 100,000 anywhere; each in a process of its own. MB over: of peak memory, over the start.
`clean`: see `cleaning.py`. `pack`: see `packing.py`. `tokens`: see `tokens.py`, 150,000 rows at most.
`pairs`: see `pair_rows.py`, 200,000 at most.
--file: a file or specification of yours besides, bad rows left out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from cleaning import clean_sets
from packing import pack_sets
from pair_rows import pair_sets
from tokens import token_sets

from rstar_jax.data.load import load_problems
from rstar_jax.problems.suite import instances
from rstar_jax.tasks import MathTask

_ANYWHERE = 100_000  # rows read anywhere
_DISTINCT = 20_000  # questions of the file, numbered so that each is another


def main() -> None:
    # Behind the libraries: tensorflow-datasets imports a `tree` that is not the one beside this file.
    sys.path.append(sys.path.pop(0))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=sorted(PARTS), action="append")
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--file", action="append", default=[])
    arguments = parser.parse_args()
    for part in arguments.part or PARTS:
        PARTS[part](arguments.rows, arguments.file)


def read(rows: int, files: Iterable[str]) -> None:
    """Print what reading costs, a line for each source."""
    print(f"{'source':28} {'rows':>9} {'open/s':>9} {'in order/s':>10} {'anywhere/s':>10} {'MB over':>7}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines.jsonl"
        _write_lines(path, rows)
        for spec in (f"suite:{rows}", f"jsonl:{path}", *files):
            alone(_read, spec)


def alone(function: object, *arguments: object) -> None:
    """Call a function in a new process, so that the peak of its memory is its own."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)  # type: ignore[arg-type]
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _read(spec: str) -> None:
    require, start = MathTask().require, peak_mb()
    began = time.process_time()
    problems = load_problems(spec, seed=0, split="train", bad="drop", require=require)
    opened = time.process_time()
    for _ in problems:
        pass
    passed = time.process_time()
    rng = random.Random(0)
    for _ in range(_ANYWHERE):
        problems[rng.randrange(len(problems))]
    done = time.process_time()
    count, name = len(problems), spec if len(spec) < 28 else f"...{spec[-24:]}"
    rates = count / (opened - began), count / (passed - opened), _ANYWHERE / (done - passed)
    more = peak_mb() - start
    print(
        f"{name:28} {count:9,} {rates[0]:9,.0f} {rates[1]:10,.0f} {rates[2]:10,.0f} {more:7,.0f}",
        flush=True,
    )


def pack(rows: int) -> None:
    """Print what packing and reading a prepared set costs."""
    pack_sets(rows, lambda path: _write_lines(path, rows), alone)


def _write_lines(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.writelines(_lines(rows))


def _lines(rows: int) -> Iterator[str]:
    problems = list(instances(min(rows, _DISTINCT), seed=0, split="train"))
    for number in range(rows):
        problem = problems[number % len(problems)]
        row = {"id": f"row/{number}", "question": f"{number}. {problem.question}", "answer": problem.answer}
        yield json.dumps(row) + "\n"


PARTS = {
    "read": read,
    "clean": lambda rows, files: clean_sets(rows),
    "pack": lambda rows, files: pack(rows),
    "tokens": lambda rows, files: token_sets(min(rows, 150_000), alone),
    "pairs": lambda rows, files: pair_sets(min(rows, 200_000), alone),
}

if __name__ == "__main__":
    main()
