"""A file of dataclasses as a collection that is read piece by piece, each time from its beginning."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

import pyarrow as pa

from rstar_jax import columns, parquet, records

T = TypeVar("T")

_ROWS, _AT_ONCE = 512, 8192  # as Python objects at a time, and as a table


@runtime_checkable
class _Checked(Protocol):
    def check(self) -> None: ...


class RowFile(Collection[T], Generic[T]):
    """A file of `parquet.write_rows`. len: its rows, without reading them. Iterating yields them one by one;
    few are in memory at a time.

    Raises Damaged where the file is not whole or of another kind, UserError where it cannot be read.
    """

    def __init__(self, path: Path, kind: type[T]) -> None:
        self.path, self.kind = path, kind
        self._count = parquet.count_rows(path)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, row: object) -> bool:
        return any(row == other for other in self)

    def __iter__(self) -> Iterator[T]:
        for table in self.tables(_ROWS):
            try:
                yield from built(table, self.kind)
            except ValueError as error:
                raise records.Damaged(self.path, str(error)) from error

    def sample(self, most: int) -> list[T]:
        """At most so many rows, evenly from the whole file."""
        every, found, before = max(1, len(self) // most), list[T](), 0
        for table in self.tables(_AT_ONCE):
            wanted = range(-before % every, len(table), every)
            found += built(table.take(list(wanted)), self.kind)
            before += len(table)
        return found[:most]

    def texts(self, column: str) -> Iterator[str]:
        """Yield what one column of texts holds."""
        for table in parquet.read_tables(self.path, self.kind, _AT_ONCE, only=[column]):
            yield from table[column].to_pylist()

    def tables(self, rows: int) -> Iterator[pa.Table]:
        """Yield the rows as tables of at most so many."""
        return parquet.read_tables(self.path, self.kind, rows)


def built(table: pa.Table, kind: type[T]) -> Iterator[T]:
    """Yield the rows of a table as instances, few of them in memory at a time. Raises ValueError where one is
    none by its kind's own `check`."""
    for batch in table.to_batches(_ROWS):
        for row in batch.to_pylist():
            made = columns.build(kind, row)
            if isinstance(made, _Checked):
                made.check()
            yield made
