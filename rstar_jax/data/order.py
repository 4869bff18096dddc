"""The order in which rows are learnt, as a function of seed and position: all that a resumed run needs is one
number, whatever hosts it had.

Position p of all hosts' rows together is the same row whoever reads it. With H hosts, host h reads the
positions start + h, start + h + H, ..., so that after s rows on each of them the next ones are from
start + s * H on, on any number of hosts.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

from rstar_jax.data.problem_set import mixed
from rstar_jax.errors import UserError

T = TypeVar("T")


@functools.lru_cache(maxsize=2)  # an epoch, and the one that begins as it ends
def order(size: int, seed: int, epoch: int) -> np.ndarray:
    """Return the rows of an epoch in their order: [size] int64, each of 0 to size - 1 once."""
    name = int(mixed(np.array([epoch], np.uint64), seed)[0])
    rows = np.argsort(mixed(np.arange(size, dtype=np.uint64), name), kind="stable")
    rows.setflags(write=False)
    return rows


def positions(size: int, *, start: int = 0, host: int = 0, hosts: int = 1) -> range:
    """Return the positions from `start` to `size` that one of `hosts` hosts reads.

    All of them read equally many; what is left over at the end, fewer than `hosts`, nobody does. Raises
    UserError for a host or a start that there is not.
    """
    if hosts < 1:
        raise UserError(f"hosts: {hosts} given, 1 or more expected.")
    if not 0 <= host < hosts:
        raise UserError(f"host: {host} of {hosts} given, one from 0 to {hosts - 1} expected.")
    if not 0 <= start <= size:
        raise UserError(f"start: {start} given, a position from 0 to {size} expected.")
    return range(start + host, start + (size - start) // hosts * hosts, hosts)


class Epochs(Sequence[T], Generic[T]):
    """Rows of a set by position, epoch behind epoch, each in an order of its own.

    rows: anything with `len` and `[i]`: a ProblemSet, a source of tensorflow-datasets. Grain takes it as a
    source as it is. An order takes 8 bytes a row.
    """

    def __init__(self, rows: Sequence[T], *, seed: int, epochs: int = 1) -> None:
        self._rows, self._seed, self._epochs = rows, seed, epochs

    def __len__(self) -> int:
        return len(self._rows) * self._epochs

    def __getitem__(self, position: int) -> T:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} of {len(self)}")
        epoch, place = divmod(position, len(self._rows))
        return self._rows[int(order(len(self._rows), self._seed, epoch)[place])]
