"""Dataclass instances as Parquet files, written whole and checked as they are read.

A file is of one kind, whose columns are those of `columns.schema`; files of the last release are read in
today's. Its pages have checksums, and a kind with a method `check` has it called for each row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from rstar_jax import columns, records

T = TypeVar("T")

_ROWS = 4096  # of a row group that is written as its rows come


def write_rows(path: Path, kind: type, rows: Iterable[Any]) -> int:
    """Writes dataclass instances of one `kind` as a Parquet file, atomically. Returns how many."""
    plain = [columns.plain(row) for row in rows]
    table = pa.Table.from_pylist(plain, schema=columns.schema(kind))
    with records.replacing(path) as temporary:
        _write(table, temporary)
    return len(plain)


@contextlib.contextmanager
def writing(path: Path, kind: type) -> Iterator[Callable[[Iterable[Any]], None]]:
    """Yields what adds rows to such a file, which is there once the block has ended well; few of them are in
    memory at a time."""
    schema, waiting = columns.schema(kind), list[dict[str, Any]]()
    options: Any = {"compression": "zstd", "write_page_checksum": True}
    with records.replacing(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:

        def flush() -> None:
            if waiting:
                writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
                waiting.clear()

        def add(rows: Iterable[Any]) -> None:
            for row in rows:
                waiting.append(columns.plain(row))
                if len(waiting) == _ROWS:
                    flush()

        yield add
        flush()


def read_rows(path: Path, kind: type[T]) -> list[T]:
    """Reads what write_rows wrote. Raises Damaged where the file is not whole or of another kind.

    Rows of a kind that has a method `check` are checked by it, too.

    Raises UserError where the system cannot read it now, which says nothing of what it holds.
    """
    with records.damage(path):
        rows = [columns.build(kind, row) for row in _read(path, kind).to_pylist()]
        for row in rows if hasattr(kind, "check") else []:
            row.check()  # type: ignore[attr-defined]
        return rows


def read_tables(path: Path, kind: type, rows: int, only: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield what write_rows wrote as tables of today's columns, of at most so many rows: what is in memory.

    only: these columns alone, as the file has them. Raises Damaged and UserError as read_rows, but checks no
    row.
    """
    with records.damage(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        _require_kind(file.schema_arrow, kind)
        for batch in file.iter_batches(rows, columns=only and list(only)):
            table = pa.Table.from_batches([batch])
            yield table if only else _todays(table, kind)


def write_tables(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    """Writes tables as one Parquet file, atomically, a row group each. Returns how many rows."""
    count = 0
    options: Any = {"compression": "zstd", "write_page_checksum": True}
    with records.replacing(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        for table in tables:
            writer.write_table(table)
            count += len(table)
    return count


def is_of(path: Path, kind: type) -> bool:
    """Return whether a file is Parquet with the columns of a `kind`, as write_rows makes or, in the last
    release, made it."""
    try:
        found = pq.read_schema(path)
        return found == columns.schema(kind) or columns.is_older(found, kind)
    except (OSError, pa.ArrowException):
        return False


def count_rows(path: Path) -> int:
    """Count the rows of a file of rows without reading them. Raises Damaged where it is not whole."""
    with records.damage(path):
        return pq.read_metadata(path).num_rows


def join_rows(path: Path, kind: type, parts: Iterable[Path]) -> None:
    """Writes the rows of several such files as one, atomically, in their order, as write_rows would.

    Raises Damaged where one of them is not whole or of another kind.
    """
    tables = []
    for part in parts:
        with records.damage(part):
            tables.append(_read(part, kind))
    with records.replacing(path) as temporary:
        _write(pa.concat_tables(tables), temporary)


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def _read(path: Path, kind: type) -> pa.Table:
    """Read rows of a kind; those of the last release in today's columns."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        table = file.read()
    _require_kind(table.schema, kind)
    return _todays(table, kind)


def _require_kind(found: pa.Schema, kind: type) -> None:
    if found != columns.schema(kind) and not columns.is_older(found, kind):
        what = "types" if found.names == columns.schema(kind).names else f"columns {found.names}, not those"
        raise ValueError(f"{what} of {kind.__name__}")


def _todays(table: pa.Table, kind: type) -> pa.Table:
    if table.schema == columns.schema(kind):
        return table
    rows = [columns.brought_up(kind, row) for row in table.to_pylist()]
    return pa.Table.from_pylist(rows, schema=columns.schema(kind))
