"""Given pairs, read and divided by problem: those that a PPM learns, and those that it is held to.

pairs/train.parquet      the pairs of most problems
pairs/heldout.parquet    the pairs of the others, each of which has all its pairs here
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from rstar_jax import columns, records
from rstar_jax.data.pairs import Tally, require_stable_stops
from rstar_jax.errors import UserError
from rstar_jax.evolve import given
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.problems import asked_before
from rstar_jax.report import results
from rstar_jax.types import PreferencePair

TRAIN, HELDOUT = "train.parquet", "heldout.parquet"
_ROWS = 1024  # pairs in memory at a time
_LOOKED_AT = 1000  # pairs whose ends of steps are held to the tokenizer


def read(
    context: Context,
    files: list[Path],
    folder: Path,
    *,
    limit: int,
    share: float,
    bad: Literal["fatal", "drop"],
) -> dict[str, Any]:
    """Write the pairs of files into `folder`, and return their counts (`results.PairsResult`).

    limit: so many of the first pairs; 0: all. share: of the problems, held out. bad: of rows that are none.
    Raises UserError for labels that cannot teach.
    """
    where, tally = f"config.pairs: {files[0] if len(files) == 1 else files[0].parent}", Tally(bad=bad)
    tokenizer = context.tokenizer(context.base)
    if context.settings.policy.delimiters == "tokens":  # as they will be when it is trained
        tokenizer.add_special_tokens()
    divided = _Divided(folder, share, context.settings.seed)
    with context.progress.stage("read the pairs", None, "rows"):
        found = given.pairs(files, context.task, context.settings.curate, tally, context.progress.update)
        for number, pair in enumerate(itertools.islice(found, limit or None)):
            if number < _LOOKED_AT:
                require_stable_stops(tokenizer, (*pair.prefix, *pair.positive, *pair.negative), where)
            divided.add(pair)
        kept, heldout = divided.close()
    tally.require_labels(kept + heldout, where)
    if not kept:
        raise UserError(
            f"config.heldout_pairs: {share} given, which leaves none of the {heldout:,} pairs to train on. "
            "Lower it."
        )
    seen = len(asked_before(context.heldout, _questions(folder)))
    note = f"{seen} held-out questions stand in the pairs, too: they measure memory" if seen else ""
    for line in filter(None, (note, *tally.examples.values())):
        context.progress.log(f"config.pairs: {line.rstrip('.')}.")
    return results.to_json(
        results.PairsResult(
            read=tally.read,
            kept=kept,
            heldout=heldout,
            problems=len(divided.problems),
            lost=dict(tally.lost.most_common()),
            heldout_seen=seen,
            note=note,
        )
    )


def _questions(folder: Path) -> Iterator[str]:
    for part in (TRAIN, HELDOUT):
        for table in records.read_tables(folder / part, PreferencePair, _ROWS):
            yield from table["question"].to_pylist()


class _Divided:
    """Pairs on their way into two files, by problem. problems: a hash of each."""

    def __init__(self, folder: Path, share: float, seed: int) -> None:
        self.problems = set[bytes]()
        self._folder, self._share, self._seed = folder, share, seed
        self._waiting: dict[str, list[PreferencePair]] = {TRAIN: [], HELDOUT: []}
        self._pieces: dict[str, list[Path]] = {TRAIN: [], HELDOUT: []}
        self._counts = {TRAIN: 0, HELDOUT: 0}

    def add(self, pair: PreferencePair) -> None:
        name = hashlib.sha256(f"{self._seed}/{pair.problem_id}".encode(errors="replace")).digest()[:8]
        self.problems.add(name)
        part = HELDOUT if int.from_bytes(name, "big") < self._share * 2**64 else TRAIN
        self._waiting[part].append(pair)
        if len(self._waiting[part]) == _ROWS:
            self._flush(part)

    def _flush(self, part: str) -> None:
        piece = self._folder / f".{part}-{len(self._pieces[part]):06d}.part"  # swept away after a kill
        self._counts[part] += records.write_rows(piece, PreferencePair, self._waiting[part])
        self._pieces[part].append(piece)
        self._waiting[part] = []

    def close(self) -> tuple[int, int]:
        """Write both files. Returns how many pairs each has."""
        for part, pieces in self._pieces.items():
            self._flush(part)
            tables = (records.read_tables(piece, PreferencePair, _ROWS) for piece in pieces)
            schema = columns.schema(PreferencePair)
            records.write_tables(self._folder / part, schema, itertools.chain.from_iterable(tables))
            for piece in pieces:
                piece.unlink()
        return self._counts[TRAIN], self._counts[HELDOUT]
