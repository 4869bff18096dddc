"""The index of a workdir's trees: a row a tree, from a few columns of each file; no text of a step is read.

    new --scan--> rows of the files that are as the cache knows them
        --next--> and those of one file more, until all are in    --scan--> whatever changed since

A search may be under way: `*.tree` files are joined into shards while they are looked at. The rows lie in
WORKDIR/cache/trees.parquet, with size and time of change of each file; a folder that cannot be written has
no such cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from rstar_jax import records
from rstar_jax.errors import UserError

pc: Any = pyarrow.compute  # most of its functions are made when it is imported: no type checker sees them

CACHE = "cache/trees.parquet"
SETS = ("search", "held-out search", "policy alone", "benchmark")  # in the order shown
OUTCOMES = ("no answer", "wrong", "ungraded", "solved")  # by what of an index's column `outcome`
MOST_CAUSES = 52  # bits of a number in a browser; later ones are "other"
_VERSION = "1"
# Takes "round2/search/trees-0-00001.parquet", "base/evaluate/policy-00000.parquet" and
# "benchmarks/aime24/samples-0-00000.parquet"; not "round2/curate/pairs.parquet".
_FILE = re.compile(
    r"(?:(?:(?:base|round(?P<round>\d+))/)?(?P<set>search/trees|evaluate/search|evaluate/policy)"
    r"|benchmarks/[^/]+/samples)-[\d-]+\.(?:parquet|tree)"
)
_SET_OF = {"search/trees": 0, "evaluate/search": 1, "evaluate/policy": 2, None: 3}
_LEAVES = ("status", "detail", "grade")
_COLUMNS = [
    *("problem.id", "problem.question", "problem.level", "round", "tree_index", "nodes.list.element.visits"),
    *(f"nodes.list.element.{leaf}" for leaf in _LEAVES),
]
_OLD = {"problem.question": "problem.problem", "tree_index": "index"}  # in the last release
SCHEMA = pa.schema(
    [
        ("file", pa.string()),  # below the workdir
        ("row", pa.int64()),
        ("round", pa.int64()),
        ("set", pa.int8()),
        ("tree_index", pa.int64()),
        ("problem_id", pa.string()),
        ("question", pa.string()),
        ("level", pa.int64()),
        ("nodes", pa.int64()),
        ("outcome", pa.int8()),
        ("causes", pa.int64()),
    ]
)


@dataclasses.dataclass(frozen=True)
class TreeFile:
    """A file of trees. name: below the workdir. set: a place in SETS. stamp: of its size and last change."""

    name: str
    round: int
    set: int
    stamp: str

    @property
    def single(self) -> bool:
        """Return whether it holds one tree, until that is joined into a shard."""
        return self.name.endswith(".tree")


def tree_files(workdir: Path) -> list[TreeFile]:
    """The files of trees in a workdir as they lie there now, by set and round."""
    found = []
    folders = [path for name in ("*/search", "*/evaluate", "benchmarks/*") for path in workdir.glob(name)]
    for folder in (*folders, workdir / "evaluate"):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                name = str(Path(entry.path).relative_to(workdir))
                if match := _FILE.fullmatch(name):
                    with contextlib.suppress(FileNotFoundError):  # joined just now
                        stat = entry.stat()
                        stamp = f"{stat.st_size} {stat.st_mtime_ns}"
                        found.append(TreeFile(name, int(match["round"] or 0), _SET_OF[match["set"]], stamp))
    return sorted(found, key=lambda file: (file.set, file.round, file.single, _numbers(file.name)))


def _numbers(name: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", name)]


class TreeIndex:
    """The rows of a workdir's files. version: a number that grows as rows do. left: files still to be read.
    unreadable: why, by name of the file. keep: write a cache once all are read."""

    def __init__(self, workdir: Path, keep: bool = True):
        self._workdir, self._keep = workdir, keep
        self._rows: dict[TreeFile, pa.Table] = {}
        self.causes: list[str] = []
        self.unreadable: dict[str, str] = {}
        self.left: list[TreeFile] = []
        self.version = 0
        self._load()

    def scan(self) -> None:
        """Look which files there are; what is new or has changed is `left`, what has gone is dropped."""
        files = tree_files(self._workdir)
        self.left = [file for file in files if file not in self._rows]
        rows = {file: self._rows[file] for file in files if file in self._rows}
        if len(rows) < len(self._rows):
            self.version += 1
        self._rows, self.unreadable = rows, {}

    def next(self) -> None:
        """Take in the first of the files that are left, and the cache where it was the last one."""
        file = self.left[0]
        try:
            self._rows[file] = pa.concat_tables(self._read(file))
        except records.Damaged as error:
            self.unreadable[file.name] = error.why
        except UserError as error:
            if (self._workdir / file.name).exists():
                self.unreadable[file.name] = str(error)
        self.left = self.left[1:]
        self.version += 1
        if not self.left and self._keep:
            self._save()

    def read_all(self) -> TreeIndex:
        """Scan, and take in all that is left."""
        self.scan()
        while self.left:
            self.next()
        return self

    def table(self) -> pa.Table:
        """Return the rows so far: by set, then round, then as searched. A tree in a file of its own that a
        shard holds, too, is told once."""
        rows = self._rows.copy()
        order = sorted(rows, key=lambda file: (file.set, file.round, file.single, _numbers(file.name)))
        table = pa.concat_tables([SCHEMA.empty_table(), *(rows[file] for file in order)]).combine_chunks()
        if not any(file.single for file in order):
            return table
        names = ["set", "round", "tree_index", "problem_id"]
        key = pc.binary_join_element_wise(*(pc.cast(table[name], pa.string()) for name in names), "\0")
        codes = key.combine_chunks().dictionary_encode().indices.to_numpy()
        return table.take(np.sort(np.unique(codes, return_index=True)[1]))

    def cause_bit(self, name: str) -> int:
        """The bit of a cause of failure in the column `causes`; 0 for one that no tree has."""
        place = self.causes.index(name) if name in self.causes else -1
        return 1 << place if place >= 0 else 0

    def _read(self, file: TreeFile) -> Iterator[pa.Table]:
        row = 0
        for batch in _batches(self._workdir / file.name):
            yield self._rows_of(file, batch, row)
            row += len(batch)

    def _rows_of(self, file: TreeFile, batch: pa.RecordBatch, row: int) -> pa.Table:
        nodes, problem = batch["nodes"], batch["problem"]
        starts = nodes.offsets.to_numpy()[:-1] - nodes.offsets[0].as_py()
        inner = nodes.flatten()
        visited = inner.field("visits").to_numpy(zero_copy_only=False) > 0
        of = {leaf: _encoded(inner.field(leaf)) for leaf in _LEAVES}
        grades = {name: of["grade"][0] == code for code, name in enumerate(of["grade"][1])}
        none = np.zeros(len(inner), bool)
        right, wrong, ungraded = (grades.get(g, none) & visited for g in ("right", "wrong", "ungraded"))
        rank = np.where(right, 3, np.where(wrong, 1, np.where(ungraded, 2, 0))).astype(np.int8)
        most = np.maximum.reduceat(rank, starts) if len(starts) else rank
        data = {
            "file": pa.array([file.name] * len(batch)),
            "row": pa.array(np.arange(row, row + len(batch))),
            "round": pa.array(np.full(len(batch), file.round)),
            "set": pa.array(np.full(len(batch), file.set, np.int8)),
            "tree_index": batch["tree_index"],
            "problem_id": problem.field("id"),
            "question": problem.field(1),
            "level": problem.field("level"),
            "nodes": nodes.value_lengths().cast(pa.int64()),
            "outcome": pa.array(most),
            "causes": pa.array(self._causes(of["status"], of["detail"], starts)),
        }
        return pa.table([data[name] for name in SCHEMA.names], schema=SCHEMA)

    def _causes(self, status: _Codes, detail: _Codes, starts: np.ndarray) -> np.ndarray:
        """The bits of the causes of failure in each tree."""
        pairs = status[0].astype(np.int64) * (len(detail[1]) + 1) + detail[0]
        kinds, of = np.unique(pairs, return_inverse=True)
        bits = np.zeros(len(kinds), np.int64)
        for i, kind in enumerate(kinds):
            name, why = status[1][kind // (len(detail[1]) + 1)], detail[1][kind % (len(detail[1]) + 1)]
            if name not in ("ok", "answer"):
                bits[i] = self._bit(f"{name} {why}".strip())
        return np.bitwise_or.reduceat(bits[of], starts) if len(starts) else np.zeros(0, np.int64)

    def _bit(self, name: str) -> int:
        if name not in self.causes:
            if len(self.causes) == MOST_CAUSES:
                name = "other"
            if name not in self.causes:
                self.causes.append(name)
        return 1 << self.causes.index(name)

    def _load(self) -> None:
        try:
            # Not read_table: it brings in pandas where that is installed, which takes a second.
            with pq.ParquetFile(self._workdir / CACHE, page_checksum_verification=True) as file:
                table = file.read()
            known = json.loads((table.schema.metadata or {})[b"files"])
            if known["version"] != _VERSION:
                return
            files, counts = [TreeFile(*file) for file in known["files"]], known["rows"]
            ends = np.cumsum(counts)
            table = table.replace_schema_metadata(None).cast(SCHEMA)
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
            return
        parts = [table.slice(end - count, count) for end, count in zip(ends, counts, strict=True)]
        self._rows = dict(zip(files, parts, strict=True))
        self.causes, self.version = known["causes"], 1

    def _save(self) -> None:
        rows = {file: table for file, table in self._rows.items() if not file.single}
        known = {
            "version": _VERSION,
            "files": [dataclasses.astuple(file) for file in rows],
            "rows": [len(table) for table in rows.values()],
            "causes": self.causes,
        }
        table = pa.concat_tables([SCHEMA.empty_table(), *rows.values()])
        table = table.replace_schema_metadata({"files": json.dumps(known)})
        with contextlib.suppress(UserError), records.replacing(self._workdir / CACHE) as temporary:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


_Codes = tuple[np.ndarray, list[str]]


def _encoded(array: pa.Array) -> _Codes:
    """The codes of an array of strings, nulls as the last one, and what they stand for."""
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    names = [name or "" for name in array.dictionary.to_pylist()]
    return array.indices.fill_null(len(names)).to_numpy(zero_copy_only=False), [*names, ""]


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the columns that an index needs, those of the last release under today's names."""
    with _opened(path, read_dictionary=[f"nodes.list.element.{leaf}" for leaf in _LEAVES]) as file:
        names = set(_leaf_names(file))
        wanted = [name if name in names else _OLD[name] for name in _COLUMNS]
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=wanted)
            yield from table.rename_columns(["problem", "round", "tree_index", "nodes"]).to_batches()


def tree_table(workdir: Path, file: str, rows: list[int]) -> pa.Table:
    """Return trees of one file by row, in the file's own columns but for token ids, under today's names.

    Columns of structs keep the names that they have there. Raises Damaged and UserError as
    `parquet.read_rows`; no more than a row group is in memory.
    """
    with _opened(workdir / file) as trees:
        leaves = [name for name in _leaf_names(trees) if "token_ids" not in name]
        found, before = [], 0
        for group in range(trees.num_row_groups):
            count = trees.metadata.row_group(group).num_rows
            here = [row - before for row in rows if before <= row < before + count]
            if here:
                found.append(trees.read_row_group(group, columns=leaves).take(here))
            before += count
        if sum(map(len, found)) < len(rows):
            raise records.Damaged(workdir / file, f"{before} trees, row {max(rows)} expected")
        table = pa.concat_tables(found)
        return table.rename_columns(
            ["tree_index" if name == "index" else name for name in table.column_names]
        )


@contextlib.contextmanager
def _opened(path: Path, **options: Any) -> Iterator[pq.ParquetFile]:
    """Raises Damaged and UserError as `parquet.read_rows`."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, **options) as file:
            yield file
    except FileNotFoundError as error:
        raise UserError(f"{path}: no longer there. A search under way has joined it: look again.") from error
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise records.Damaged(path, why) from error


def _leaf_names(file: pq.ParquetFile) -> list[str]:
    return [file.schema.column(i).path for i in range(len(file.schema))]
