"""Rows cleaned per CPU second, peak memory, and which overlaps of real sets are found.

    python benchmarks/data.py --part clean [--rows 1000000]

Rates are of three passes, each set in a process of its own. `duplicates` reads every question, hashes its
windows and finds exact and near duplicates (shingles, MinHash, LSH); `all` looks for parts; `against` also
holds the set against the benchmarks, whose index is made first. Memory is the peak over what was resident
once the problems were, those of the suite as a list. $RSTAR_DATA_DIR holds sets as JSON lines of id, problem
and answer; of `overlap.jsonl` there each pair of a train set and a benchmark is looked for.
"""

from __future__ import annotations

import collections
import itertools
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path

from rstar_jax.data.clean import Against, CleanConfig, clean
from rstar_jax.data.clean.forms import forms
from rstar_jax.problems.suite import generate
from rstar_jax.types import Problem

TRAIN = ("math_train7500", "gsm8k_train", "aime_train_1983_2023", "omni_math")
BENCHMARKS = (
    *("math500", "aime2024", "aime2025", "amc2023", "olympiadbench", "college_math", "gsm8k_test"),
    "gaokao2023en",
)
_BATCH, _OF_A_SEED = 1024, 20_000


def clean_sets(rows: int) -> None:
    """Print rates and memory, then overlaps."""
    folder = os.environ.get("RSTAR_DATA_DIR")
    data = Path(folder) if folder else None
    print(
        f"{'set':14} {'pass':10} {'rows':>9} {'rows / CPU s':>12} {'MB over start':>13} {'kept':>9}",
        flush=True,
    )
    if rows:
        _alone(_rates, "suite", ("duplicates", "all"), rows, data)
    if data:
        _alone(_rates, "train sets", ("duplicates", "all", "against"), rows, data)
    if data and (data / "overlap.jsonl").is_file():
        _alone(_overlaps, data)


def _alone(function, *arguments: object) -> None:
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def _rates(source: str, passes: Sequence[str], rows: int, data: Path) -> None:
    problems = _suite(rows) if source == "suite" else _train(data)
    for name in passes:
        known = {bench: _read(data, bench) for bench in BENCHMARKS} if name == "against" else {}
        config = CleanConfig(multi_part=name != "duplicates")
        clean(problems[:2048], known, config)  # the first call of everything
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, began = status("VmRSS"), time.process_time()
        cleaned = clean(problems, known, config)
        seconds = time.process_time() - began
        print(
            f"{source:14} {name:10} {len(problems):9,} {len(problems) / seconds:12,.0f} "
            f"{(status('VmHWM') - before) / 1e6:13,.0f} {len(cleaned.kept):9,}",
            flush=True,
        )


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _overlaps(data: Path) -> None:
    listed = collections.defaultdict(set)
    with open(data / "overlap.jsonl", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            listed[row["train"]].add((row["train_id"], row["bench"], row["bench_id"]))
    found_of_listed = 0
    more = collections.Counter[str]()
    for train, pairs in sorted(listed.items()):
        problems = _read(data, train)
        known = Against({n: _read(data, n) for n in sorted({bench for _, bench, _ in pairs})}, CleanConfig())
        found = {}
        for start in range(0, len(problems), _BATCH):
            texts = forms([problem.question for problem in problems[start : start + _BATCH]])
            for overlap in known.overlaps(texts):
                found[problems[start + overlap.row].id, *known.problems[overlap.other][:2]] = overlap.kind
        found_of_listed += len(pairs & found.keys())
        more.update(kind for pair, kind in found.items() if pair not in pairs)
    others = ", ".join(f"{count} {kind}" for kind, count in sorted(more.items()))
    print(f"overlaps: {found_of_listed} of {sum(map(len, listed.values()))} listed found; others: {others}")


def _suite(rows: int) -> list[Problem]:
    """Draw many seeds: one has no fresh questions left after some ten thousand, and looks for them long."""
    seeds = range(-(-rows // _OF_A_SEED))
    problems = (p for seed in seeds for p in generate(_OF_A_SEED, seed=seed, split="train"))
    return list(itertools.islice(problems, rows))


def _train(data: Path) -> list[Problem]:
    return [problem for name in TRAIN for problem in _read(data, name)]


def _read(data: Path, name: str) -> Sequence[Problem]:
    with open(data / f"{name}.jsonl", encoding="utf-8") as lines:
        return [Problem(row["id"], row["problem"], str(row["answer"])) for row in map(json.loads, lines)]
