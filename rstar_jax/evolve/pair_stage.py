"""Rows given to a reward model, read and divided by problem: what it learns, and what it is held to.

pairs/train.parquet      the pairs, of a PQM the values, of most problems
pairs/heldout.parquet    those of the others, each of which has all its own here
pairs/compared.parquet   of a PQM: pairs of steps in the held-out values
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from rstar_jax import columns, parquet
from rstar_jax.curate import Reward, StepValues, learnt_values
from rstar_jax.data.examples import Tally
from rstar_jax.data.pairs import FORMS, require_stable_stops
from rstar_jax.data.row_file import RowFile
from rstar_jax.errors import UserError
from rstar_jax.evolve import given, given_values
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.given_values import contrasts_in
from rstar_jax.evolve.problems import asked_before
from rstar_jax.evolve.reward_models import REWARD_MODELS
from rstar_jax.report import results
from rstar_jax.types import PreferencePair

TRAIN, HELDOUT, COMPARED = "train.parquet", "heldout.parquet", "compared.parquet"
_ROWS = 1024  # rows in memory at a time
_LOOKED_AT = 1000  # rows whose ends of steps are held to the tokenizer
# What should be left, the forms of rows that have it, and what one needs.
_LEFT: dict[Reward, tuple[str, str, str]] = {
    "ppm": ("pair", FORMS, "A pair needs two ways on from the same prefix, one better than the other."),
    "pqm": ("value", given_values.FORMS, "A value needs a step that leads to a graded answer, or a label."),
    "orm": (
        "pair of whole solutions",
        FORMS,
        "An ORM compares whole solutions, one right and one wrong; pairs of steps fit "
        "--config.train.reward=ppm.",
    ),
}


def forms_for(reward: Reward) -> str:
    """The forms of rows that a reward model learns from."""
    return _LEFT[reward][1]


def read(
    context: Context,
    files: list[Path],
    folder: Path,
    *,
    limit: int,
    share: float,
    bad: Literal["fatal", "drop"],
) -> dict[str, Any]:
    """Write what files hold for the run's `train.reward` into `folder`, and return counts
    (`results.PairsResult`).

    limit: so many of the first pairs, or rows of values; 0: all. share: of the problems, held out. bad: of
    rows that are none. Raises UserError for labels that cannot teach.
    """
    settings, tally = context.settings, Tally(bad=bad)
    where, reward = f"config.rows: {files[0] if len(files) == 1 else files[0].parent}", settings.train.reward
    tokenizer, kind = context.tokenizer(context.base), REWARD_MODELS[reward].kind
    if settings.policy.delimiters == "tokens":  # as they will be when it is trained
        tokenizer.add_special_tokens()
    divided = _Divided(folder, kind, share, settings.seed)
    with context.progress.stage(f"read the {REWARD_MODELS[reward].examples}", None, "rows"):
        found = given.examples(files, context.task, settings.curate, tally, reward, context.progress.update)
        for number, row in enumerate(itertools.islice(found, limit or None)):
            if number < _LOOKED_AT:
                require_stable_stops(tokenizer, _steps(row), where)
            divided.add(row)
        kept, heldout = divided.close()
    tally.require_labels(kept + heldout, where, *_LEFT[reward])
    if not kept:
        raise UserError(
            f"config.heldout_pairs: {share} given, which leaves none of {heldout:,} rows ("
            f"{REWARD_MODELS[reward].examples}) to train on. Lower it."
        )
    pairs = heldout
    if reward == "pqm":
        _require_two(RowFile(folder / TRAIN, StepValues), where)
        pairs = _write(folder / COMPARED, contrasts_in(RowFile(folder / HELDOUT, StepValues)))
    seen, notes = len(asked_before(context.heldout, _questions(folder, kind))), list[str]()
    if seen:
        notes.append(f"{seen} held-out questions stand in the rows, too: they measure memory")
    if share and not heldout:
        notes.append(
            f"none of {len(divided.problems):,} problems with {REWARD_MODELS[reward].examples} is held out "
            f"(config.heldout_pairs={share:g}): nothing is compared"
        )
    elif share and not pairs:
        notes.append(
            f"no place in {heldout:,} held-out rows has a step of value 0 or more beside one of less: their "
            "values are compared, the order of pairs is not"
        )
    for line in filter(None, (*notes, *tally.examples.values())):
        context.progress.log(f"config.rows: {line.rstrip('.')}.")
    return results.to_json(
        results.PairsResult(
            read=tally.read,
            kept=kept,
            heldout=heldout,
            problems=len(divided.problems),
            lost=dict(tally.lost.most_common()),
            heldout_seen=seen,
            note="; ".join(notes),
        )
    )


def compared(folder: Path) -> Path:
    """The file of held-out pairs in a folder that `read` wrote."""
    path = folder / COMPARED
    return path if path.exists() else folder / HELDOUT


def _steps(row: PreferencePair | StepValues) -> tuple[str, ...]:
    return row.steps if isinstance(row, StepValues) else (*row.prefix, *row.positive, *row.negative)


def _require_two(rows: RowFile[StepValues], where: str) -> None:
    """Refuse values of which nothing can be told apart."""
    if len(found := learnt_values(rows)) < 2:
        what = f"all values that are learnt are {found.pop():g}" if found else "no value has a weight above 0"
        raise UserError(f"{where}: {what}: nothing can be told apart by them. Give rows of both kinds.")


def _write(path: Path, pairs: Iterator[PreferencePair]) -> int:
    """Write pairs, few of them in memory at a time. Returns how many."""
    schema = columns.schema(PreferencePair)
    pieces = iter(lambda: [columns.plain(pair) for pair in itertools.islice(pairs, _ROWS)], [])
    return parquet.write_tables(path, schema, (pa.Table.from_pylist(piece, schema) for piece in pieces))


def _questions(folder: Path, kind: type) -> Iterator[str]:
    for part in (TRAIN, HELDOUT):
        for table in parquet.read_tables(folder / part, kind, _ROWS):
            yield from table["question"].to_pylist()


class _Divided:
    """Rows of a kind on their way into two files, by problem. problems: a hash of each."""

    def __init__(self, folder: Path, kind: type, share: float, seed: int) -> None:
        self.problems = set[bytes]()
        self._folder, self._kind, self._share, self._seed = folder, kind, share, seed
        self._waiting: dict[str, list[Any]] = {TRAIN: [], HELDOUT: []}
        self._pieces: dict[str, list[Path]] = {TRAIN: [], HELDOUT: []}
        self._counts = {TRAIN: 0, HELDOUT: 0}

    def add(self, row: PreferencePair | StepValues) -> None:
        name = hashlib.sha256(f"{self._seed}/{row.problem_id}".encode(errors="replace")).digest()[:8]
        self.problems.add(name)
        part = HELDOUT if int.from_bytes(name, "big") < self._share * 2**64 else TRAIN
        self._waiting[part].append(row)
        if len(self._waiting[part]) == _ROWS:
            self._flush(part)

    def _flush(self, part: str) -> None:
        piece = self._folder / f".{part}-{len(self._pieces[part]):06d}.part"  # swept away after a kill
        self._counts[part] += parquet.write_rows(piece, self._kind, self._waiting[part])
        self._pieces[part].append(piece)
        self._waiting[part] = []

    def close(self) -> tuple[int, int]:
        """Write both files. Returns how many rows each has."""
        for part, pieces in self._pieces.items():
            self._flush(part)
            tables = (parquet.read_tables(piece, self._kind, _ROWS) for piece in pieces)
            schema = columns.schema(self._kind)
            parquet.write_tables(self._folder / part, schema, itertools.chain.from_iterable(tables))
            for piece in pieces:
                piece.unlink()
        return self._counts[TRAIN], self._counts[HELDOUT]
