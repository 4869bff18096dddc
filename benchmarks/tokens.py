"""Token ids of a training's rows: seconds to make and to find again, memory, steps, padding.

    python benchmarks/data.py --part tokens [--rows 150000]

Solutions of some eight steps in the bundled vocabulary, each text another, are written as a round's
`curate/sft.parquet` and encoded as a training encodes them, each time in a process of its own: into Python
objects, all at once (20,000 rows, as it was before there was a store), into a store by one process, and by
as many as there are cores. Then a training begins anew on what is there, and its steps of 128 are made. MB
are of memory that is the process's own (anonymous), at its highest over the start; pages of mapped files,
which the system drops when it wants to, are left out. Last: the share of padding in such steps.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from rstar_jax import columns, parquet
from rstar_jax.data import tokenize
from rstar_jax.data.row_file import RowFile
from rstar_jax.data.row_tokens import encoded
from rstar_jax.data.solution_tokens import SolutionEncoder
from rstar_jax.plan.fit import Mesh
from rstar_jax.plan.microbatches import solutions
from rstar_jax.tasks import MathTask
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import PolicyBatches, TrainConfig
from rstar_jax.train.policy import example_of
from rstar_jax.train.tree_rows import by_question
from rstar_jax.types import SftRow
from rstar_jax.weights import TINY_BASE

_OBJECTS, _STEPS = 20_000, 200
CONFIG = TrainConfig()  # the paper's: 128 examples, rows of 4,096 tokens, 8 a call


def token_sets(rows: int, alone: Callable) -> None:
    """Print what encoding and reading costs. alone: calls in a new process."""
    print(f"{'what':52} {'rows':>9} {'seconds':>8} {'rows / CPU s':>12} {'MB over':>8}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone(_write, folder / "sft.parquet", rows)
        alone(_objects, folder)
        for processes in (1, len(os.sched_getaffinity(0))):
            alone(_encode, folder, processes)
        alone(_resume, folder)
    _padding()


def _write(path: Path, rows: int) -> None:
    schema = columns.schema(SftRow)

    def tables() -> Iterator[pa.Table]:
        made = (columns.plain(_row(i)) for i in range(rows))
        while some := list(itertools.islice(made, 4096)):
            yield pa.Table.from_pylist(some, schema=schema)

    parquet.write_tables(path, schema, tables())


def _row(number: int) -> SftRow:
    rng, grammar = random.Random(number), MathTask().grammar
    codes = [
        f"# Step {step}: add the {rng.randrange(10**6)} that are left to what {step} of the boxes hold\n"
        f"total_{step} = {rng.randrange(10**5)} + {rng.randrange(10**5)} * {rng.randrange(10**3)}\n"
        f"left_{step} = total_{step} - {rng.randrange(10**5)}  # what is left of it"
        for step in range(1, rng.randrange(6, 11))
    ]
    steps = grammar.render(codes, output=str(number), answer=f"There are \\boxed{{{number}}} left")
    question = f"{number} boxes hold {rng.randrange(10**6)} things each. How many are left?"
    return SftRow(f"p{number}", question, tuple(steps), 1.0, 1.0, 1)


def encoding() -> tuple[Tokenizer, Callable[[str], str]]:
    """Return what encodes: the bundled vocabulary, and the prompt of a fine-tuned policy."""
    task = MathTask()
    return Tokenizer.load(TINY_BASE, task.grammar), functools.partial(task.prompt, role="finetuned")


class Measured:
    """Prints a line for what is done in the block, with the memory that a thread has seen it have."""

    def __init__(self, what: str, rows: int) -> None:
        self._what, self._rows, self._ended = what, rows, threading.Event()

    def __enter__(self) -> None:
        self._peak = self._before = _anonymous()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._began, self._cpu = time.monotonic(), _cpu()

    def __exit__(self, *_: object) -> None:
        seconds, cpu = time.monotonic() - self._began, _cpu() - self._cpu
        self._peak = max(self._peak, _anonymous())
        self._ended.set()
        self._thread.join()
        more = (self._peak - self._before) / 1e6
        print(
            f"{self._what:52} {self._rows:9,} {seconds:8.1f} {self._rows / cpu:12,.0f} {more:8,.0f}",
            flush=True,
        )

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self._peak = max(self._peak, _anonymous())


def _anonymous() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def _cpu() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def _objects(folder: Path) -> None:
    encoder, counts, file = (
        SolutionEncoder(*encoding()),
        Counter[str](),
        RowFile(folder / "sft.parquet", SftRow),
    )
    with Measured("Python objects", min(_OBJECTS, len(file))):
        rows = list(itertools.islice(file, _OBJECTS))
        examples = [example_of(**encoder.arrays(row, counts)) for row in rows]
    assert examples


def _encode(folder: Path, processes: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:processes])
    tokenize._ROWS_A_WORKER = 1
    rows, encoder = RowFile(folder / "sft.parquet", SftRow), SolutionEncoder(*encoding())
    what = "a store" if processes == 1 else f"a store, {processes} processes"
    with Measured(what, len(rows)):
        store = encoded(rows, encoder, example_of, folder=folder / str(processes))
    if processes == 1:
        print(f"  {store.lengths.mean():.0f} tokens a row, {store.lengths.max()} at most", flush=True)


def _resume(folder: Path) -> None:
    rows, encoder = RowFile(folder / "sft.parquet", SftRow), SolutionEncoder(*encoding())
    with Measured("found again, with the name of the data", len(rows)):
        store = encoded(rows, encoder, example_of, folder=folder / "1")
        batches = PolicyBatches(store, CONFIG, 0, questions=by_question(store.column("question")))
        batches.digest()
    steps = min(_STEPS, batches.total_steps)
    with Measured(f"{steps} steps of {CONFIG.batch}, read and packed", steps * CONFIG.batch):
        for step in range(steps):
            batches(step)


def _padding() -> None:
    """Solutions of random lengths (log-normal), each of another question, in the mean of 16 steps."""
    print(f"\n{'tokens':>6} {'batch':>6} {'call':>9} {'parts':>5} {'calls':>6} {'padding':>8} {'CPU s':>6}")
    for typical, batch, rows, seq_len, parts in (
        *((560, 128, 8, 4096, parts) for parts in (1, 8)),
        *((900, 128, 8, 4096, parts) for parts in (1, 8)),
        *((560, 512, 64, 4096, parts) for parts in (1, 64)),
        (560, 4096, 64, 4096, 1),
        (270, 128, 8, 1024, 1),
        (270, 8, 1, 1024, 1),
        (100, 16, 2, 256, 1),
    ):
        began = time.process_time()
        calls = solutions(Mesh(parts, 1), rows, seq_len, batch, typical)
        spent, slots = time.process_time() - began, sum(n * math.prod(shape) for shape, n in calls.items())
        print(
            f"{typical:6} {batch:6} {f'{rows} x {seq_len}':>9} {parts:5} {sum(calls.values()):6.1f} "
            f"{100 * (1 - batch * typical / slots):6.1f} % {spent:6.1f}"
        )
