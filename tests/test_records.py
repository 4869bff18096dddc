"""Files are whole or absent, and come back as they were."""

import dataclasses
import errno
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax import parquet, records
from rstar_jax.errors import UserError
from rstar_jax.manifests import fingerprint
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


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "sft.parquet"
    row = SftRow("p", "q", ("a",), 0.5, 0.5, 1)
    parquet.write_rows(path, SftRow, [row])

    def full(table, where, **_):
        where.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(UserError, match=r"sft\.parquet: the disk is full"):
        parquet.write_rows(path, SftRow, [row, row])
    assert parquet.read_rows(path, SftRow) == [row]
    assert [p.name for p in tmp_path.iterdir()] == ["sft.parquet"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "give yourself the right to read it and"),
        (OSError(errno.EMFILE, "Too many open files"), "raise `ulimit -n` and"),
        (OSError(errno.EIO, "Input/output error"), "see to the disk and"),
        (pa.ArrowMemoryError("malloc of size 64 failed"), "no memory for it"),
    ],
)
def test_what_the_system_cannot_read_now_is_not_damaged(tmp_path, monkeypatch, error, message):
    path, of_json = tmp_path / "sft.parquet", tmp_path / "a.json"
    parquet.write_rows(path, SftRow, [])
    records.write_json(of_json, {})

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(pq, "ParquetFile", fails)
    monkeypatch.setattr(type(of_json), "read_text", fails)
    rows, plain = (lambda: parquet.read_rows(path, SftRow)), (lambda: records.read_json(of_json))
    for file, read in ((path, rows), (of_json, plain)):
        with pytest.raises(UserError, match="cannot be read") as told:
            read()
        assert not isinstance(told.value, records.Damaged)
        assert str(told.value).startswith(f"{file}: ") and message in str(told.value)


@pytest.mark.parametrize("read", [records.read_json, lambda path: parquet.read_rows(path, SftRow)])
def test_a_missing_file_and_a_folder_in_its_place_are_damage(tmp_path, read):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(records.Damaged):
            read(path)


@pytest.mark.parametrize("of", [records.digest, fingerprint])
def test_what_cannot_be_summed_up_is_named(tmp_path, of):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    (tmp_path / "file").write_text("")
    for path, message in (
        (tmp_path / "none", "a file expected there (No such file or directory). Put it back"),
        (tmp_path / "file" / "below", "a file expected there (Not a directory)"),
        (loop, "cannot be read (Too many levels of symbolic links). It stays where it is"),
    ):
        with pytest.raises(UserError) as told:
            of(path)
        assert str(told.value).startswith(f"{path}: {message}")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written"):
        records.write_json(tmp_path / "file" / "x.json", {})


def test_quarantine_keeps_every_damaged_copy(tmp_path):
    path = tmp_path / "x.json"
    for n in (1, 2):
        path.write_text("{")
        assert records.quarantine(path).name == f"x.json.damaged-{n}"
    assert not path.exists()


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
