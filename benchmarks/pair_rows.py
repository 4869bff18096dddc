"""Pairs of a PPM's training as token ids and as trees: memory, seconds, bytes on disk.

    python benchmarks/data.py --part pairs [--rows 200000]

Pairs of problems of a question, 7 of each in the bundled vocabulary: 4 of a node's steps, 3 of whole
solutions. They are written as a round's `curate/pairs.parquet` and encoded as a training encodes them, each
time in a process of its own: into Python objects, all at once (20,000 of them at most, as it was before there
was a store), into a store by one process; then a training begins on what is there, and its steps of 128 are
made. MB as in `tokens.py`; RSS: at its peak, pages of mapped files included. Last: what of 5 M pairs is in
each host's memory, which is where their groups are, with groups that are made up.
"""

from __future__ import annotations

import itertools
import os
import random
import resource
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tokens import CONFIG, Measured, encoding

from rstar_jax import columns, parquet
from rstar_jax.data.pair_tokens import PairEncoder
from rstar_jax.data.row_file import RowFile
from rstar_jax.data.row_tokens import encoded
from rstar_jax.data.token_store import TokenStore
from rstar_jax.tasks import MathTask
from rstar_jax.train import PpmBatches
from rstar_jax.train.ppm import sides_of
from rstar_jax.train.tree_packing import Outline
from rstar_jax.train.tree_rows import Groups, Steps, by_question
from rstar_jax.types import PreferencePair

_OBJECTS, _STEPS = 20_000, 200
_EACH, _SEQUENCES = 7, 8  # of a question: pairs, and what their sides are
_MANY = 714_000 * _EACH
_RENDER = MathTask().grammar.render


def pair_sets(rows: int, alone: Callable) -> None:
    """Print what encoding and reading costs. alone: calls in a new process."""
    print(f"{'what':52} {'rows':>9} {'seconds':>8} {'rows / CPU s':>12} {'MB over':>8}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in (_write, _objects, _encode, _learn):
            alone(part, folder, rows)
    alone(_index)


def _write(folder: Path, rows: int) -> None:
    schema = columns.schema(PreferencePair)

    def tables() -> Iterator[pa.Table]:
        made = itertools.islice(itertools.chain.from_iterable(map(_problem, itertools.count())), rows)
        while some := list(itertools.islice(made, 4096)):
            yield pa.Table.from_pylist(some, schema=schema)

    with Measured("written", rows):
        parquet.write_tables(folder / "pairs.parquet", schema, tables())
    _told(folder / "pairs.parquet")


def _problem(number: int) -> Iterator[dict[str, Any]]:
    rng = random.Random(number)
    question = f"{number} boxes hold {rng.randrange(10**6)} things each. " * 8 + "How many are left?"

    def way(steps: int) -> list[str]:
        codes = [
            f"# Step {step}: add the {rng.randrange(10**6)} that are left to what {step} of the boxes hold\n"
            f"total_{step} = {rng.randrange(10**5)} + {rng.randrange(10**5)} * {rng.randrange(10**3)}\n"
            f"left_{step} = total_{step} - {rng.randrange(10**5)}  # what is left of it"
            for step in range(1, steps + 1)
        ]
        return _RENDER(codes, output=str(number), answer=f"There are \\boxed{{{number}}} left")

    depth, best = rng.randrange(7), way(8)
    others = [best, *(way(8) for _ in range(3))]
    shared = {"problem_id": f"p{number}", "question": question, "margin": 1.0, "weight": 1.0, "round": 1}
    for positive, negative in itertools.product(others[:2], others[2:]):
        sides = {"positive": positive[depth : depth + 1], "negative": negative[depth : depth + 1]}
        yield {**shared, "prefix": best[:depth], "final": False, **sides}
    for positive, negative in [*itertools.product(others[:2], others[2:])][:3]:
        yield {**shared, "prefix": [], "final": True, "positive": positive, "negative": negative}


def _told(*paths: Path) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(f"  {sum(p.stat().st_size for p in paths) / 1e6:,.0f} MB on disk; RSS {peak:,.0f} MB", flush=True)


def _objects(folder: Path, rows: int) -> None:
    with Measured("Python objects", min(_OBJECTS, rows)):
        found = list(itertools.islice(RowFile(folder / "pairs.parquet", PreferencePair), _OBJECTS))
    assert found
    _told()


def _store(folder: Path) -> TokenStore[Any]:
    rows = RowFile(folder / "pairs.parquet", PreferencePair)
    return encoded(rows, PairEncoder(*encoding()), sides_of, folder=folder / "tokens")


def _encode(folder: Path, rows: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    with Measured("a store, one process", rows):
        lengths = _store(folder).lengths
    print(f"  {lengths.mean():.0f} tokens a pair, {lengths.max()} at most", flush=True)
    _told(*(folder / "tokens").iterdir())


def _learn(folder: Path, rows: int) -> None:
    with Measured("found again, by question, in groups", rows):
        store = _store(folder)
        questions = by_question(store.column("question"))
        batches = PpmBatches(store.__getitem__, questions, store.column("weight"), CONFIG, 0)
        batches.digest()
    _told()
    steps, tokens = min(_STEPS, batches.total_steps), Counter[str]()
    with Measured(f"{steps} steps of {CONFIG.batch}, read and made trees", steps * CONFIG.batch):
        for step in range(steps):
            batch = batches(step)
            tokens["read"] += batch.tokens
    print(f"  {tokens['read'] / steps / CONFIG.batch:.0f} tokens a pair in trees", flush=True)
    _told()


def _index() -> None:
    rng, each = np.random.default_rng(0), _EACH
    with Measured("where 5 M pairs are", _MANY):
        names = rng.integers(-(2**63), 2**63 - 1, _MANY // each)
        questions = by_question(np.repeat(names, each))
        weights = np.ones(_MANY, np.float32)
        outline = Outline(np.full(_SEQUENCES, 300), np.full(_SEQUENCES, 200))
        groups = Groups.of(
            len(questions),
            lambda number: [(outline, [(int(pair), 0, 1) for pair in questions[number]])],
            3,
        )
        Steps(groups, CONFIG, 0)(0)
    assert len(groups) == _MANY // each and len(weights) == len(groups.examples.rows)
    _told()
