"""A table on disk that is gone with its process: for rows that wait for others and may not fit in memory."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rstar_jax.errors import UserError


class Spill:
    """A temporary database (SQLite's own), with `statements` done in it.

    Raises UserError naming the folder of temporary files where that has no room.
    """

    def __init__(self, *statements: str) -> None:
        self._rows = sqlite3.connect("")
        for statement in statements:
            self.execute(statement)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Do something that has no result."""
        with _named():
            self._rows.execute(statement, values)

    def insert(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Do the same for each of some rows."""
        for row in rows:  # what making a row raises is no fault of the disk
            self.execute(statement, row)

    def select(self, statement: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that are found."""
        with _named():
            yield from self._rows.execute(statement, values)


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        # The order in which SQLite looks for a folder.
        folder = os.environ.get("SQLITE_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir()
        raise UserError(
            f"{folder}: temporary files cannot be written there ({error}). Make room, or let TMPDIR name "
            "another folder."
        ) from error
