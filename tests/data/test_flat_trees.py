"""A flat table of nodes holds all that trees are, in whatever pieces it is stored."""

import dataclasses
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax import columns
from rstar_jax.data import flat_trees
from rstar_jax.data.flat_trees import flattened, read_flat, trajectories, unflattened
from rstar_jax.errors import UserError
from rstar_jax.types import Node, Problem, Trajectory, Tree
from tests.data.some_trees import trees

ROOT = Node(-1, "", "ok", 0, 1, 0.5)
SMALL = Tree(Problem("p", "1?", "1"), 1, 0, 1, (ROOT, Node(0, "one", "answer", 1, 1, 0.5, answer="1")))


def table(some):
    return pa.Table.from_pylist([columns.plain(tree) for tree in some], schema=columns.schema(Tree))


def named(some):
    """Trees as a run has them: no two of one problem, round and index."""
    return [dataclasses.replace(tree, tree_index=i) for i, tree in enumerate(some)]


@settings(max_examples=60, deadline=None)
@given(st.lists(trees(), max_size=4).map(named), st.integers(1, 5))
def test_trees_come_back_as_they_were_however_the_rows_are_cut(tmp_path_factory, some, group):
    flat = flattened(table(some))
    assert flat["q"].to_pylist() == [node.q for tree in some for node in tree.nodes]
    assert unflattened(flat).to_pylist() == table(some).to_pylist()
    path = tmp_path_factory.mktemp("flat") / "trees.parquet"
    pq.write_table(flat, path, row_group_size=group)
    assert list(read_flat(path)) == some


@settings(max_examples=60, deadline=None)
@given(st.lists(trees(), max_size=4).map(named))
def test_trajectories_are_those_of_the_trees(some):
    rows = trajectories(table(some)).to_pylist()
    found = [
        Trajectory(
            row["problem_id"],
            tuple(row["steps"]),
            tuple(row["q"]),
            row["answer"],
            row["grade"],
            tuple(map(tuple, row["token_ids"])),
        )
        for row in rows
    ]
    assert found == [trajectory for tree in some for trajectory in tree.trajectories()]
    by_id = {f"round{tree.round}/{tree.tree_index}/{tree.problem.id}": tree for tree in some}
    for row in rows:
        tree = by_id[row["tree_id"]]
        assert tree.steps(row["node"]) == tuple(row["steps"]) and tree.problem.answer == row["reference"]


def test_numbers_that_are_none_and_pieces_of_a_table_stay_as_they_are():
    odd = dataclasses.replace(ROOT, visits=0, value_sum=math.nan, ppm=math.nan, logprob=math.inf)
    tree = dataclasses.replace(SMALL, nodes=(odd, *SMALL.nodes[1:]))
    flat = flattened(table([SMALL, tree, SMALL])[1:])  # a slice: offsets do not begin at 0
    assert math.isnan(flat["q"][0].as_py()) and flat["q"][1].as_py() == 0.5
    back = unflattened(flat).to_pylist()
    assert math.isnan(back[0]["nodes"][0]["ppm"]) and back[0]["nodes"][0]["logprob"] == math.inf
    assert back[1] == columns.plain(SMALL)


def test_every_field_of_a_tree_and_a_node_has_a_column():
    names = [*flat_trees._OF_TREE, *flat_trees._OF_NODE, *flat_trees._DERIVED]
    assert len(names) == len(set(names)) == len(flat_trees.SCHEMA)
    leaves = sum((pa.types.is_struct(f.type) and f.type.num_fields) or 1 for f in columns.schema(Tree))
    leaves += sum((pa.types.is_struct(f.type) and f.type.num_fields) or 1 for f in columns.schema(Node))
    assert len(names) == leaves - 1 + 3  # a tree's nodes are the rows


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 3], [1, 2, 3]])
def test_rows_out_of_order_are_refused_by_their_place(tmp_path, order):
    flat = flattened(table([SMALL, dataclasses.replace(SMALL, tree_index=1)]))
    pq.write_table(flat.take(order), tmp_path / "trees.parquet")
    with pytest.raises(UserError, match=r"trees\.parquet: no flat trees from row [123] on"):
        list(read_flat(tmp_path / "trees.parquet"))
