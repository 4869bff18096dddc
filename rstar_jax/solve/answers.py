"""Answers on disk: a line of JSON each (`report.answer.Answer`), there before anybody is told.

opened --add--> a whole line more      killed in the midst of a line: it is cut off at the next opening
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from rstar_jax import records
from rstar_jax.errors import UserError
from rstar_jax.report.answer import Answer

FILE = "answers.jsonl"


class Answers:
    """A file that answers are added to, for one process. A context manager.

    Raises UserError where it cannot be written; what was added stays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Answers:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "r+b" if self.path.exists() else "x+b")
        except OSError as error:
            raise records.writing_failed(self.path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            # Of an answer that was not written whole it tries to write the rest; `add` has said so.
            with contextlib.suppress(OSError):
                self._file.close()

    def read(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the number and the object of every line; in the end cut off half a line, and go on behind.
        Raises UserError naming a line before it that is no answer."""
        assert self._file is not None
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                if not isinstance(row, dict) or not isinstance(row.get("id"), str):
                    raise ValueError("no object with an id")
            except ValueError as error:
                raise UserError(
                    f"{self.path}:{number}: no answer of ours ({error}). Take the line out to have its "
                    "question asked again, or choose a new --workdir."
                ) from error
            yield number, row
            whole += len(line)
        self._file.truncate(whole)
        self._file.seek(whole)

    def add(self, answer: Answer) -> None:
        """Append an answer, and have it on disk."""
        assert self._file is not None
        try:
            self._file.write(json.dumps(dataclasses.asdict(answer), allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise records.writing_failed(self.path, error) from error
