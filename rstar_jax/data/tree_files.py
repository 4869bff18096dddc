"""Trees from files: a run's shards, an export's flat rows, the authors' JSON lines, a tree at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rstar_jax import columns, records
from rstar_jax.data import authors, flat_trees
from rstar_jax.data.tables import is_parquet, read_objects
from rstar_jax.errors import UserError
from rstar_jax.types import Tree

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
        for place, row in read_objects(path, _EXPECTED):
            if not row.keys() >= authors.TREE:
                raise UserError(
                    f"{place}: columns {', '.join(sorted(row))}; {_EXPECTED} expected, as above it."
                )
            yield authors.tree_of(row, place)
    elif records.is_of(path, Tree):
        for table in records.read_tables(path, Tree, _TREES):
            for row in table.to_pylist():
                tree = columns.build(Tree, row)
                tree.check()
                yield tree
    else:
        yield from flat_trees.read_flat(path)
