"""Rows come back as they were, those of the last release under today's names; what is damaged is named."""

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax import parquet, records
from rstar_jax.types import Node, PreferencePair, Problem, SftRow, Tree


def grown(drawn: list[tuple[Node, int]]) -> tuple[Node, ...]:
    """Nodes below one of those before them, by the number drawn with each."""
    made = [drawn[0][0]]
    for node, number in drawn[1:]:
        parent = number % len(made)
        made.append(dataclasses.replace(node, parent=parent, depth=made[parent].depth + 1))
    return tuple(made)


nodes = st.builds(
    Node,
    parent=st.just(-1),
    text=st.text(max_size=20),
    status=st.sampled_from(["ok", "answer", "exception"]),
    depth=st.just(0),
    visits=st.integers(0, 99),
    value_sum=st.floats(-9, 9),
    ppm=st.none() | st.floats(-1, 1),
    answer=st.none() | st.text(max_size=5),
    grade=st.none() | st.sampled_from(["right", "wrong", "ungraded"]),
    tokens=st.integers(0, 99),
    logprob=st.floats(-9, 0),
    detail=st.text(max_size=5),
    cpu_s=st.floats(0, 9),
    observation=st.text(max_size=5),
    token_ids=st.lists(st.integers(0, 2**31 - 1), max_size=3).map(tuple),
)
trees = st.builds(
    Tree,
    problem=st.builds(
        Problem, id=st.text(max_size=5), question=st.text(max_size=9), answer=st.text(max_size=3)
    ),
    round=st.integers(1, 4),
    tree_index=st.integers(0, 2),
    rollouts=st.integers(0, 64),
    nodes=st.lists(st.tuples(nodes, st.integers(0, 5)), min_size=1, max_size=6).map(grown),
)


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(trees, max_size=4))
def test_trees_come_back_as_they_were(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("shards") / "trees.parquet"
    assert parquet.write_rows(path, Tree, rows) == len(rows)
    assert parquet.read_rows(path, Tree) == rows


@given(nodes, st.integers(0, 99), st.floats(-9, 9), st.integers(0, 9))
def test_statistics_change_nothing_else_of_a_node(node, visits, value_sum, parent):
    found = node.with_stats(visits, value_sum, parent)
    assert found == dataclasses.replace(node, visits=visits, value_sum=value_sum, parent=parent)


def test_nested_tuples_of_text_come_back(tmp_path):
    pair = PreferencePair("p", "q", (), ("a", "b"), ("c",), 0.5, 1.0, True, 2)
    parquet.write_rows(tmp_path / "pairs.parquet", PreferencePair, [pair])
    assert parquet.read_rows(tmp_path / "pairs.parquet", PreferencePair) == [pair]


def test_rows_written_as_they_come_are_there_once_all_are(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_ROWS", 4)
    rows, path = [SftRow(f"p{i}", "q", ("a",), 0.5, 0.5, 1) for i in range(10)], tmp_path / "sft.parquet"
    for count in (0, 4, 10):
        with parquet.writing(path, SftRow) as add:
            add(rows[:count:2])
            add(rows[1:count:2])
        assert parquet.read_rows(path, SftRow) == rows[:count:2] + rows[1:count:2]
    with pytest.raises(ZeroDivisionError), parquet.writing(path, SftRow) as add:
        add(rows[:5])
        raise ZeroDivisionError
    assert parquet.count_rows(path) == 10 and [*tmp_path.iterdir()] == [path]


def test_a_truncated_shard_is_named(tmp_path):
    path = tmp_path / "sft.parquet"
    parquet.write_rows(path, SftRow, [SftRow("p", "q", ("a",), 0.5, 0.5, 1)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(records.Damaged, match=r"sft\.parquet: damaged"):
        parquet.read_rows(path, SftRow)


def test_a_flipped_bit_never_changes_what_is_read(tmp_path):
    path, joined, flipped = (tmp_path / f"{name}.parquet" for name in ("part", "joined", "flipped"))
    rows = [SftRow(f"p{i}", "q" * i, (f"step {i}", "b"), i / 7, 0.1, i % 3) for i in range(60)]
    parquet.write_rows(path, SftRow, rows[:30])
    parquet.write_rows(flipped, SftRow, rows[30:])
    parquet.join_rows(joined, SftRow, [path, flipped])
    content, draw, noticed = joined.read_bytes(), random.Random(0), 0
    for _ in range(80):
        at, bit = draw.randrange(len(content)), 1 << draw.randrange(8)
        flipped.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
        try:
            assert parquet.read_rows(flipped, SftRow) == rows, (at, bit)
        except records.Damaged:
            noticed += 1
    assert noticed > 40


def test_a_shard_of_another_kind_is_named(tmp_path):
    path = tmp_path / "rows.parquet"
    parquet.write_rows(path, SftRow, [])
    with pytest.raises(records.Damaged, match="not those of Tree"):
        parquet.read_rows(path, Tree)


@dataclasses.dataclass(frozen=True)
class _OldLeaf:
    tree: int
    node: int


@dataclasses.dataclass(frozen=True)
class _OldRow:
    problem: str
    leaves: tuple[_OldLeaf, ...]
    first: _OldLeaf


@dataclasses.dataclass(frozen=True)
class _Leaf:
    tree_index: int = dataclasses.field(metadata={"was": "tree"})
    node: int = 0
    shown: str = "nothing"


@dataclasses.dataclass(frozen=True)
class _Row:
    question: str = dataclasses.field(metadata={"was": "problem"})
    leaves: tuple[_Leaf, ...] = ()
    first: _Leaf = _Leaf(0)
    tags: tuple[str, ...] = ("none",)


def test_rows_of_the_last_release_are_read_by_their_old_names(tmp_path):
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    parquet.write_rows(
        old,
        _OldRow,
        [_OldRow("why", (_OldLeaf(3, 4), _OldLeaf(5, 6)), _OldLeaf(7, 8)), _OldRow("?", (), _OldLeaf(1, 2))],
    )
    now = [_Row("why", (_Leaf(3, 4), _Leaf(5, 6)), _Leaf(7, 8)), _Row("?", (), _Leaf(1, 2))]
    assert parquet.is_of(old, _Row) and parquet.read_rows(old, _Row) == now
    parquet.write_rows(new, _Row, now[:1])
    parquet.join_rows(tmp_path / "both.parquet", _Row, [old, new])
    assert parquet.read_rows(tmp_path / "both.parquet", _Row) == [*now, now[0]]


@dataclasses.dataclass(frozen=True)
class _Wanting:
    """Lacks a column that has no default."""

    problem: str
    leaves: tuple[_OldLeaf, ...]
    first: _OldLeaf
    more: int


@pytest.mark.parametrize("kind", [_Wanting, _OldLeaf])
def test_rows_of_another_kind_are_not_taken_for_old_ones(tmp_path, kind):
    path = tmp_path / "old.parquet"
    parquet.write_rows(path, _OldRow, [_OldRow("why", (), _OldLeaf(7, 8))])
    assert not parquet.is_of(path, kind)
    with pytest.raises(records.Damaged, match=f"columns .* not those of {kind.__name__}"):
        parquet.read_rows(path, kind)
