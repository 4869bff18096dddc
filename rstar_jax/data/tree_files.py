"""Trees from files: a run's shards, an export's flat rows, the authors' JSON lines, a tree at a time or those
of a problem together."""

from __future__ import annotations

import itertools
import json
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from rstar_jax import columns, records
from rstar_jax.data import authors, flat_trees
from rstar_jax.data.tables import Place, is_parquet, read_objects
from rstar_jax.errors import UserError
from rstar_jax.types import Tree

pc: Any = pyarrow.compute
_TREES = 16  # in memory at a time
_EXPECTED = "question, answer and rstar (nodes by tag)"


def holds_trees(path: Path) -> bool:
    """Return whether a file is one of trees, by its columns or its first row."""
    if is_parquet(path):
        try:
            return records.is_of(path, Tree) or flat_trees.is_flat(pq.read_schema(path))
        except (OSError, pa.ArrowException):
            return False  # whoever reads it as something else says what is wrong
    first = next(read_objects(path, _EXPECTED), None)
    return first is not None and first[1].keys() >= authors.TREE


def read_trees(path: Path) -> Iterator[Tree]:
    """Yield the trees of a file that `holds_trees`. Raises UserError naming file and line, or row, of what is
    none."""
    if not is_parquet(path):
        for place, row in _rows(path):
            yield authors.tree_of(row, place)
    elif records.is_of(path, Tree):
        yield from _of_shard(path)
    else:
        yield from flat_trees.read_flat(path)


def _of_shard(path: Path) -> Iterator[Tree]:
    number = 0
    try:
        for table in records.read_tables(path, Tree, _TREES):
            for row in table.to_pylist():
                number += 1
                tree = columns.build(Tree, row)
                tree.check()
                yield tree
    except records.Damaged as error:  # whose own words are for the run that made it
        raise UserError(f"{path}: damaged ({error.why}), a run's shard expected. Copy it again.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: row {number}: no tree as a search writes one ({error}).") from error


def of_problems(paths: Sequence[Path]) -> Iterator[list[Tree]]:
    """Yield the trees of each round and problem together, wherever they stand in the files.

    A problem's trees are yielded where the last of them stands. Those that wait for others do so on disk.
    Raises UserError as `read_trees`.
    """
    keys = (_keys(path) for path in paths)
    due = Counter(key for of_file in keys for key, _ in itertools.groupby(of_file))
    waiting = _Waiting()
    for path in paths:
        for key, group in itertools.groupby(read_trees(path), lambda tree: (tree.round, tree.problem.id)):
            due[key] -= 1
            if due[key] > 0:
                waiting.add(key, group)
            else:
                yield [*waiting.take(key), *group]


def _keys(path: Path) -> Iterator[tuple[int, str]]:
    """The round and the problem of each tree of a file, in order; its nodes are not built."""
    if not is_parquet(path):
        for place, row in _rows(path):
            yield 0, authors.problem_of(row, place).id
        return
    flat = not records.is_of(path, Tree)
    names = ["problem_id", "round", "node"] if flat else ["problem.id", "round"]
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=names):
                roots = batch.filter(pc.equal(batch["node"], 0)) if flat else batch
                for row in roots.to_pylist():
                    yield row["round"], row["problem_id"] if flat else row["problem"]["id"]
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"{path}: damaged ({why}), a whole Parquet file expected. Copy it again.") from error


def _rows(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The rows of a file of the authors' trees."""
    for place, row in read_objects(path, _EXPECTED):
        if not row.keys() >= authors.TREE:
            raise UserError(f"{place}: columns {', '.join(sorted(row))}; {_EXPECTED} expected, as above it.")
        yield place, row


class _Waiting:
    """Trees that wait for others of their problem, in a temporary database on disk (SQLite's own, gone with
    this object)."""

    def __init__(self) -> None:
        self._keys = set[tuple[int, str]]()
        self._rows = sqlite3.connect("")
        self._rows.execute("CREATE TABLE trees (round INTEGER, problem TEXT, tree BLOB)")
        self._rows.execute("CREATE INDEX of_problem ON trees (round, problem)")

    def add(self, key: tuple[int, str], trees: Iterable[Tree]) -> None:
        self._keys.add(key)
        texts = (json.dumps(columns.plain(tree)).encode() for tree in trees)
        self._rows.executemany(
            "INSERT INTO trees VALUES (?, ?, ?)", ((*key, zlib.compress(text, 1)) for text in texts)
        )

    def take(self, key: tuple[int, str]) -> list[Tree]:
        if key not in self._keys:
            return []
        self._keys.remove(key)
        where = "FROM trees WHERE round = ? AND problem = ?"
        rows = self._rows.execute(f"SELECT tree {where} ORDER BY rowid", key).fetchall()
        self._rows.execute(f"DELETE {where}", key)
        return [columns.build(Tree, json.loads(zlib.decompress(row))) for (row,) in rows]
