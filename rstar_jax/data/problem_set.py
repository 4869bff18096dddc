"""Problems as an indexable set with a fingerprint, in a file instead of memory.

What a source is read as lies in a temporary file without a name (in TMPDIR; small sets never reach it), a row
a problem, with the offset and place of each in memory: 20 bytes, whatever the problem's length. Reading it by
index costs the same in any order and from any kind of source, and nobody changes it under a run. It takes the
disk space of the texts for as long as the process lives.
"""

from __future__ import annotations

import abc
import functools
import hashlib
import marshal
import os
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import IO, overload

import numpy as np

from rstar_jax.data.corrections import Corrections
from rstar_jax.data.faults import Faults
from rstar_jax.data.places import Places
from rstar_jax.data.tables import Place
from rstar_jax.errors import UserError
from rstar_jax.types import Problem

_SMALL = 2**24  # bytes that are held in memory


class ProblemSet(Sequence[Problem]):
    """Problems by index: `len`, `[i]`, `place(i)`, `fingerprint`. A slice is a set, too, and holds no
    problem.

    faults: of the rows of its sources that are not in it, where it was read from some. mended: of answers
    that are known to be wrong.
    """

    faults: Faults | None = None
    mended: Corrections | None = None

    @abc.abstractmethod
    def _at(self, index: int) -> Problem:
        """Return the problem at an index from 0."""

    @abc.abstractmethod
    def place(self, index: int) -> Place:
        """Return where the problem at an index from 0 was read."""

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> Selected: ...
    def __getitem__(self, index: int | slice) -> Problem | Selected:
        if isinstance(index, slice):
            return Selected(self, range(len(self))[index])
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"problem {index} of {len(self)}")
        return self._at(at)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that the problems are, in order."""
        return digest(self)


class StoredProblems(ProblemSet):
    """Problems in a temporary file. `add` them first, all with their places or all without."""

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self._places = Places()
        self._file: IO[bytes] | None = None
        self._buffer, self._written = bytearray(), 0
        self._ends = array("q", [0])
        for problem in problems:
            self.add(problem)

    def add(self, problem: Problem, place: Place | None = None) -> None:
        """Append a problem. Raises UserError where the temporary folder is full."""
        p = problem
        if place is not None:
            self._places.add(place)
        # Nobody else reads it: the fastest form will do.
        row = marshal.dumps((p.id, p.question, p.answer, p.level, p.source, p.synthetic))
        self._buffer += row
        self._ends.append(self._ends[-1] + len(row))
        if len(self._buffer) >= _SMALL:
            self._flush()

    def _flush(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="rstar-problems-", buffering=0)  # noqa: SIM115
            view = memoryview(bytes(self._buffer))
            while view:
                view = view[os.write(self._file.fileno(), view) :]
        except OSError as error:
            # gettempdir raises where there is none at all.
            folder = tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp"
            raise UserError(
                f"{folder}: cannot be written ({error.strerror or error}), where problems are "
                "kept for as long as the program runs. Set TMPDIR to a folder with room for their texts."
            ) from error
        self._written += len(self._buffer)
        self._buffer.clear()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _at(self, index: int) -> Problem:
        start, end = self._ends[index], self._ends[index + 1]
        if start >= self._written:
            row = self._buffer[start - self._written : end - self._written]
        else:
            assert self._file is not None
            row = os.pread(self._file.fileno(), end - start, start)
        return Problem(*marshal.loads(row))

    def place(self, index: int) -> Place:
        return self._places[index]


class Selected(ProblemSet):
    """Some problems of a set, in the order of their indices."""

    def __init__(self, base: Sequence[Problem], indices: Sequence[int] | np.ndarray) -> None:
        self._base, self._indices = base, indices

    def __len__(self) -> int:
        return len(self._indices)

    def _at(self, index: int) -> Problem:
        return self._base[int(self._indices[index])]

    def place(self, index: int) -> Place:
        assert isinstance(self._base, ProblemSet)
        return self._base.place(int(self._indices[index]))


class Mixture(ProblemSet):
    """Several sets as one, spread evenly: any stretch of it holds of each set about its share."""

    def __init__(self, parts: Sequence[ProblemSet]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts]).tolist()
        places = [(np.arange(len(part)) + 0.5) / max(1, len(part)) for part in parts]
        self._order = np.argsort(np.concatenate(places), kind="stable")

    def __len__(self) -> int:
        return len(self._order)

    def _at(self, index: int) -> Problem:
        part, row = self._row(index)
        return part[row]

    def place(self, index: int) -> Place:
        part, row = self._row(index)
        return part.place(row)

    def _row(self, index: int) -> tuple[ProblemSet, int]:
        found = int(self._order[index])
        part = bisect_right(self._ends, found)
        return self._parts[part], found - (self._ends[part - 1] if part else 0)


def share(size: int, part: float, seed: int) -> np.ndarray:
    """Rows that make so large a part of a set of `size`, in order: those with the lowest hashes of seed and
    index."""
    if part == 1:
        return np.arange(size)
    count = max(1, round(part * size))
    return np.sort(np.argsort(mixed(np.arange(size, dtype=np.uint64), seed), kind="stable")[:count])


def mixed(values: np.ndarray, seed: int) -> np.ndarray:
    """Hash numbers by splitmix64, which is the same in every release of numpy."""
    mixed = values + np.uint64((0x9E3779B97F4A7C15 * (seed + 1)) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def digest(problems: Iterable[Problem]) -> str:
    """SHA-256 of all that problems are, in order."""
    hashed, between = hashlib.sha256(), b""
    for problem in problems:
        hashed.update(between + repr(problem).encode(errors="replace"))
        between = b"\n"
    return hashed.hexdigest()


def fingerprint(problems: Sequence[Problem]) -> str:
    """The fingerprint of a set, or of what is no such set but a sequence."""
    return problems.fingerprint if isinstance(problems, ProblemSet) else digest(problems)
