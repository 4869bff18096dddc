"""Rows packed and read per CPU second, and peak memory, of a prepared set.

    python benchmarks/data.py --part pack [--rows 1000000]

A file of that many JSON lines (20,000 questions of the suite, numbered) is read, then packed as
`--config=prepare_problems` does it, without cleaning, by files of 8,192 rows, of 65,536 and all in one; last
by the library's own writer. Sets are read as sources of tensorflow-datasets, in order (100,000 rows) and
10,000 rows anywhere, and the first one as a run's problems. Each in a process of its own, after a small set
that makes the first call of everything; memory is the peak over what was resident before.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from cleaning import status

from rstar_jax.data import rstar_problems
from rstar_jax.data.load import load_problems
from rstar_jax.data.prepared import SHARD

_IN_ORDER, _ANYWHERE = 100_000, 10_000


class Stock(rstar_problems.RstarProblems):
    """The same set by the library's own writer."""

    _generate_splits = tfds.core.GeneratorBasedBuilder._generate_splits


def pack_sets(rows: int, lines: Callable[[Path], None], alone: Callable) -> None:
    """Print what packing and reading cost. lines: writes the file. alone: calls in a new process."""
    print(f"{'what':44} {'rows':>9} {'rows / CPU s':>12} {'MB over':>8}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines(folder / "lines.jsonl")
        alone(_small, folder / "small")
        for shard in (SHARD, 65_536, rows):
            alone(_pack, folder, shard)
            alone(_read, folder, shard)
        alone(_run, folder)
        alone(_stock, folder)


@contextlib.contextmanager
def _measured(what: str, rows: int) -> Iterator[None]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, began = status("VmRSS"), time.process_time()
    yield
    rate, more = rows / (time.process_time() - began), (status("VmHWM") - before) / 1e6
    print(f"{what:44} {rows:9,} {rate:12,.0f} {more:8,.0f}", flush=True)


def _source(folder: Path) -> list:
    return tfds.data_source("rstar_problems", split="train", data_dir=str(folder))


def _small(folder: Path) -> None:
    problems = load_problems("suite:20", seed=0, split="train")
    rstar_problems.write(folder, {"train": problems}, told=lambda rows: None)


def _pack(folder: Path, shard: int) -> None:
    problems = load_problems(f"jsonl:{folder / 'lines.jsonl'}", seed=0, split="train")
    _small(folder / f"small{shard}")
    with _measured(f"pack, {shard:,} a file", len(problems)):
        rstar_problems.write(folder / str(shard), {"train": problems}, shard=shard, told=lambda rows: None)


def _stock(folder: Path) -> None:
    problems = load_problems(f"jsonl:{folder / 'lines.jsonl'}", seed=0, split="train")
    tfds.disable_progress_bar()
    _small(folder / "stock_small")
    with _measured("pack, the library's own writer", len(problems)):
        Stock(splits={"train": problems}, data_dir=str(folder / "stock")).download_and_prepare()


def _read(folder: Path, shard: int) -> None:
    source, rng = _source(folder / str(shard)), random.Random(0)
    _source(folder / "small")[0]
    rows = min(len(source), _IN_ORDER)
    with _measured(f"tfds source in order, {shard:,} a file", rows):
        for row in range(rows):
            source[row]
    with _measured(f"tfds source anywhere, {shard:,} a file", _ANYWHERE):
        for _ in range(_ANYWHERE):
            source[rng.randrange(len(source))]


def _run(folder: Path) -> None:
    rng = random.Random(0)
    load_problems(f"tfds:{folder / 'small'}/train", seed=0, split="train")
    with _measured("a run opens it by tfds:", len(_source(folder / str(SHARD)))):
        problems = load_problems(f"tfds:{folder / str(SHARD)}/train", seed=0, split="train")
    with _measured("a run's problems anywhere", _ANYWHERE):
        for _ in range(_ANYWHERE):
            problems[rng.randrange(len(problems))]
