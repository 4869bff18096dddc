"""Trees from files: a run's shards, an export's flat rows, the authors' JSON lines, a tree at a time or those
of a problem together."""

from __future__ import annotations

import itertools
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from rstar_jax import columns, parquet, records
from rstar_jax.data import authors, flat_trees
from rstar_jax.data.spill import Spill
from rstar_jax.data.tables import OnBad, Place, is_parquet, raise_it, read_objects, unfit
from rstar_jax.errors import Unfit, UserError
from rstar_jax.types import Tree

pc: Any = pyarrow.compute
_TREES = 16  # in memory at a time
_EXPECTED = "question, answer and rstar (nodes by tag)"


def holds_trees(path: Path) -> bool:
    """Return whether a file is one of trees, by its columns or its first row."""
    if is_parquet(path):
        try:
            return parquet.is_of(path, Tree) or flat_trees.is_flat(pq.read_schema(path))
        except (OSError, pa.ArrowException):
            return False  # whoever reads it as something else says what is wrong
    first = next(read_objects(path, _EXPECTED, _pass_over), None)
    return first is not None and first[1].keys() >= authors.TREE


def _pass_over(error: Unfit) -> None:
    """Leave it to whoever reads the rows to say what is wrong with one."""


def _keyed(path: Path, on_bad: OnBad) -> Iterator[tuple[tuple[int, str], Tree | None]]:
    """The trees of a file with their rounds and problems, as `_keys` gives them; None for a bad one."""
    if is_parquet(path):
        found = _of_shard(path) if parquet.is_of(path, Tree) else flat_trees.read_flat(path)
        for number, tree in enumerate(found, start=1):
            why = _fault_of_numbers(tree)
            if why:
                on_bad(Unfit("numbers of no search", f"{Place(path, 'tree', number)}: {why} expected."))
            yield (tree.round, tree.problem.id), None if why else tree
        return
    for place, row, problem_id in _rows(path, on_bad):
        tree = None
        try:
            tree = authors.tree_of(row, place)
        except UserError as error:
            on_bad(unfit(error))
        yield (0, problem_id), tree


def _fault_of_numbers(tree: Tree) -> str:
    """Say which statistics of a tree no search leaves, and which it would; empty where all are sound."""
    for i, node in enumerate(tree.nodes):
        numbers: tuple[Any, ...] = node.visits, node.value_sum  # a table may have nulls
        if None in numbers:
            return f"node {i} has no visits or no value_sum, numbers"
        if node.visits < 0:
            return f"node {i} has {node.visits} visits, 0 or more"
        if not abs(node.q) <= 1:
            return f"node {i} has Q = {node.q}, a mean of values from -1 to 1"
        if node.ppm is not None and not abs(node.ppm) <= 1:
            return f"node {i} has the PPM's value {node.ppm}, one from -1 to 1"
    return ""


def _of_shard(path: Path) -> Iterator[Tree]:
    number = 0
    try:
        for table in parquet.read_tables(path, Tree, _TREES):
            for row in table.to_pylist():
                number += 1
                tree = columns.build(Tree, row)
                tree.check()
                yield tree
    except records.Damaged as error:  # whose own words are for the run that made it
        raise UserError(f"{path}: damaged ({error.why}), a run's shard expected. Copy it again.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: row {number}: no tree as a search writes one ({error}).") from error


def of_problems(paths: Sequence[Path], on_bad: OnBad = raise_it) -> Iterator[list[Tree]]:
    """Yield the trees of each round and problem together, wherever they stand in the files.

    A problem's trees are yielded where the last of them stands. Those that wait for others do so on disk.
    on_bad: told of file and line of a row that is none, and raises, or has it passed over. Raises UserError
    for Parquet that is none.
    """
    keys = (_keys(path) for path in paths)
    due = Counter(key for of_file in keys for key, _ in itertools.groupby(of_file))
    waiting = _Waiting()
    for path in paths:
        for key, group in itertools.groupby(_keyed(path, on_bad), lambda keyed: keyed[0]):
            due[key] -= 1
            trees = (tree for _, tree in group if tree is not None)
            if due[key] > 0:
                waiting.add(key, trees)
            elif together := [*waiting.take(key), *trees]:
                yield together


def _keys(path: Path) -> Iterator[tuple[int, str]]:
    """The round and the problem of each tree of a file, in order; its nodes are not built."""
    if not is_parquet(path):
        for *_, problem_id in _rows(path, _pass_over):
            yield 0, problem_id
        return
    flat = not parquet.is_of(path, Tree)
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


def _rows(path: Path, on_bad: OnBad) -> Iterator[tuple[Place, dict[str, Any], str]]:
    """The rows of a file of the authors' trees, each with its problem's id."""
    for place, row in read_objects(path, _EXPECTED, on_bad):
        try:
            if not row.keys() >= authors.TREE:
                there = ", ".join(sorted(row))
                raise UserError(f"{place}: columns {there}; {_EXPECTED} expected, as above it.")
            found = authors.problem_of(row, place).id
        except UserError as error:
            on_bad(unfit(error))
        else:
            yield place, row, found


class _Waiting:
    """Trees that wait for others of their problem, on disk."""

    def __init__(self) -> None:
        self._keys = set[tuple[int, str]]()
        self._rows = Spill(
            "CREATE TABLE trees (round INTEGER, problem TEXT, tree BLOB)",
            "CREATE INDEX of_problem ON trees (round, problem)",
        )

    def add(self, key: tuple[int, str], trees: Iterable[Tree]) -> None:
        self._keys.add(key)
        texts = (json.dumps(columns.plain(tree)).encode() for tree in trees)
        self._rows.insert(
            "INSERT INTO trees VALUES (?, ?, ?)", ((*key, zlib.compress(text, 1)) for text in texts)
        )

    def take(self, key: tuple[int, str]) -> list[Tree]:
        if key not in self._keys:
            return []
        self._keys.remove(key)
        where = "FROM trees WHERE round = ? AND problem = ?"
        rows = list(self._rows.select(f"SELECT tree {where} ORDER BY rowid", key))
        self._rows.execute(f"DELETE {where}", key)
        return [columns.build(Tree, json.loads(zlib.decompress(row))) for (row,) in rows]
