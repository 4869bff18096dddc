"""Trees as a flat table, a row a node, and back; the trajectories in them as a table.

Both work on Arrow columns, never on a Python object a node: a run of 747,000 problems has some 300 million
nodes. The columns are those of `types.Tree` and `types.Node`, whatever they are; names that would meet, and
the fields of an inner dataclass, have names of their own (`_TREE_NAMES`, `_NODE_NAMES`). Every row says which
tree it is of and repeats what that tree is, so that one file is enough; Parquet stores such repeats once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from rstar_jax import columns
from rstar_jax.errors import UserError
from rstar_jax.types import Node, Tree

_Path = tuple[str, ...]
pc: Any = pyarrow.compute  # most of its functions are made when it is imported: no type checker sees them

# By path in the dataclass; a field that is not here keeps its name.
_TREE_NAMES: dict[_Path, str] = {
    ("problem", "id"): "problem_id",
    ("problem", "answer"): "reference",
    ("tokens",): "tree_tokens",
    ("policy",): "policy_model",
    ("ppm",): "ppm_model",
}
_NODE_NAMES: dict[_Path, str] = {
    ("ppm",): "ppm_value",
    ("origin", "tree_index"): "origin_tree_index",
    ("origin", "node"): "origin_node",
    ("origin", "n"): "origin_n",
    ("origin", "temperature"): "origin_temperature",
}
_ROWS = 1 << 14  # read at a time


def _paths(kind: type, names: dict[_Path, str]) -> dict[str, _Path]:
    """The leaves of a dataclass's columns: their names in a flat table, and where they lie."""
    found = {}
    for field in columns.schema(kind):
        inner = list(field.type) if pa.types.is_struct(field.type) else [None]
        for sub in inner:
            path = (field.name, sub.name) if sub is not None else (field.name,)
            found[names.get(path, path[-1])] = path
    return found


_OF_TREE = {name: path for name, path in _paths(Tree, _TREE_NAMES).items() if path != ("nodes",)}
_OF_NODE = _paths(Node, _NODE_NAMES)
_DERIVED = ("tree_id", "node", "q")


def _schema() -> pa.Schema:
    def kind(of: type, path: _Path) -> pa.DataType:
        found = columns.schema(of).field(path[0]).type
        return found.field(path[1]).type if len(path) > 1 else found

    return pa.schema(
        [
            ("tree_id", pa.string()),
            *((name, kind(Tree, path)) for name, path in _OF_TREE.items()),
            ("node", pa.int64()),
            ("q", pa.float64()),
            *((name, kind(Node, path)) for name, path in _OF_NODE.items()),
        ]
    )


SCHEMA = _schema()  # of a flat table


def flattened(trees: pa.Table) -> pa.Table:
    """Return trees, in the columns of `columns.schema(Tree)`, a row a node, parents before children.

    tree_id: "round2/0/PROBLEM", unique in a run. node: its index in the tree, as `parent` names it. q: Q(s)
    of section 3.2, `types.Node.q`.
    """
    nodes = _whole(trees["nodes"])
    of = pc.list_parent_indices(nodes)
    found = {name: _leaf(_whole(trees[path[0]]), path[1:]).take(of) for name, path in _OF_TREE.items()}
    inner = pc.list_flatten(nodes)
    found |= {name: _leaf(inner, path) for name, path in _OF_NODE.items()}
    starts = nodes.offsets.to_numpy() - nodes.offsets[0].as_py()
    found["node"] = pa.array(np.arange(len(inner)) - starts[:-1][of.to_numpy()])
    found["q"] = _q(found)
    found["tree_id"] = pc.binary_join_element_wise(
        pc.binary_join_element_wise("round", pc.cast(found["round"], pa.string()), ""),
        pc.cast(found["tree_index"], pa.string()),
        found["problem_id"],
        "/",
    )
    return pa.table([found[name] for name in SCHEMA.names], schema=SCHEMA)


def unflattened(nodes: pa.Table) -> pa.Table:
    """Return the trees of whole flat rows in the columns of `columns.schema(Tree)`, as `flattened` had them.

    Raises ValueError where the rows of a tree do not follow each other in order.
    """
    found = {name: _whole(nodes[name].cast(SCHEMA.field(name).type)) for name in (*_OF_TREE, *_OF_NODE)}
    index, ids = nodes["node"].to_numpy(), _whole(nodes["tree_id"])
    starts = np.flatnonzero(index == 0)
    if len(index):
        expected = np.arange(len(index)) - np.repeat(starts, np.diff(np.append(starts, len(index))))
        same = pc.equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False) | (index[1:] == 0)
        if len(starts) == 0 or starts[0] != 0 or (index != expected).any() or not same.all():
            raise ValueError("the rows of a tree do not follow each other in the order of its nodes")
    heads = {name: found[name].take(pa.array(starts)) for name in _OF_TREE}
    inner = _struct(Node, {path: found[name] for name, path in _OF_NODE.items()})
    offsets = pa.array([*starts, len(index)], pa.int32())
    arrays = _arrays(Tree, {path: heads[name] for name, path in _OF_TREE.items()})
    arrays["nodes"] = pa.ListArray.from_arrays(offsets, inner)
    schema = columns.schema(Tree)
    return pa.table([arrays[name].cast(schema.field(name).type) for name in schema.names], schema=schema)


def trajectories(trees: pa.Table) -> pa.Table:
    """Return what `Tree.trajectories` gives of each tree, in that order: a row a visited, graded answer.

    node: the answer's, in the tree. steps, q, token_ids: of each step on the way there.
    """
    flat = flattened(trees).combine_chunks()
    status = pc.equal(flat["status"], "answer")
    ends = pc.and_(status, pc.and_(pc.is_valid(flat["answer"]), pc.is_valid(flat["grade"])))
    ends = np.flatnonzero(pc.and_(ends, pc.not_equal(flat["visits"], 0)).to_numpy())
    base = np.arange(len(flat)) - flat["node"].to_numpy()
    parent = flat["parent"].to_numpy()
    ways = [_way(int(end), int(base[end]), parent) for end in ends]
    steps = pa.array([i for way in ways for i in way], pa.int64())
    offsets = pa.array(np.cumsum([0, *map(len, ways)]), pa.int32())
    rows = flat.take(pa.array(ends, pa.int64()))
    found = {name: rows[name] for name in TRAJECTORIES.names if name in SCHEMA.names}
    for name, column in (("steps", "text"), ("q", "q"), ("token_ids", "token_ids")):
        found[name] = pa.ListArray.from_arrays(offsets, _whole(flat[column]).take(steps))
    return pa.table([found[name] for name in TRAJECTORIES.names], schema=TRAJECTORIES)


TRAJECTORIES = pa.schema(
    [
        *(SCHEMA.field(name) for name in ("tree_id", "problem_id", "question", "reference", "level")),
        *(SCHEMA.field(name) for name in ("round", "tree_index", "node")),
        ("steps", pa.list_(pa.string())),
        ("q", pa.list_(pa.float64())),
        *(SCHEMA.field(name) for name in ("answer", "grade")),
        ("token_ids", pa.list_(pa.list_(pa.int64()))),
    ]
)


def is_flat(schema: pa.Schema) -> bool:
    """Return whether a table's columns are those of flat trees; others may be beside them."""
    return {*_DERIVED, *_OF_TREE, *_OF_NODE} <= set(schema.names)


def read_flat(path: Path) -> Iterator[Tree]:
    """Yield the trees of a file of flat rows, however its rows are grouped; few are in memory at once.

    Raises UserError naming file and row where it holds something else.
    """
    rest, row = SCHEMA.empty_table(), 1
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS, columns=SCHEMA.names):
                rest = pa.concat_tables([rest, pa.Table.from_batches([batch]).cast(SCHEMA)])
                starts = np.flatnonzero(rest["node"].to_numpy() == 0)
                if len(starts) > 1:
                    yield from _built(rest[: starts[-1]])
                    rest, row = rest[starts[-1] :], row + int(starts[-1])
        yield from _built(rest)
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: no flat trees from row {row:,} on ({str(error).splitlines()[0]}). Rows as "
            "`--config=export` writes them expected: those of a tree together, its node 0 first."
        ) from error


def models_of(path: Path) -> tuple[str, str]:
    """Return the hashes of policy and PPM (or "") of a file's first tree, by which all of a shard's are."""
    with pq.ParquetFile(path) as file:
        first = next(file.iter_batches(1, columns=["policy_model", "ppm_model"])).to_pylist()[0]
    return first["policy_model"], first["ppm_model"]


def _built(nodes: pa.Table) -> Iterator[Tree]:
    for row in unflattened(nodes).to_pylist():
        tree = columns.build(Tree, row)
        tree.check()
        yield tree


def _way(end: int, base: int, parent: np.ndarray) -> list[int]:
    """The rows from the root's child down to row `end` of a tree whose root is row `base`."""
    way = []
    while end > base:
        way.append(end)
        end = base + int(parent[end])
    return way[::-1]


def _q(found: dict[str, pa.Array]) -> pa.Array:
    mean = pc.divide(found["value_sum"], pc.cast(found["visits"], pa.float64()))
    return pc.if_else(pc.equal(found["visits"], 0), pc.coalesce(found["ppm_value"], 0.0), mean)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _leaf(array: pa.Array, path: _Path) -> pa.Array:
    return pc.struct_field(array, list(path)) if path else array


def _struct(kind: type, leaves: dict[_Path, pa.Array]) -> pa.Array:
    arrays = _arrays(kind, leaves)
    return pa.StructArray.from_arrays(list(arrays.values()), names=list(arrays))


def _arrays(kind: type, leaves: dict[_Path, pa.Array]) -> dict[str, pa.Array]:
    """The columns of a dataclass, of those of its leaves that there are."""
    found = {}
    for field in columns.schema(kind):
        if (field.name,) in leaves:
            found[field.name] = leaves[(field.name,)]
        elif pa.types.is_struct(field.type):
            names = [inner.name for inner in field.type]
            found[field.name] = pa.StructArray.from_arrays([leaves[field.name, n] for n in names], names)
    return found
