"""Values of many texts in one array, and what is computed of all of them at once: hashes and similarities."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

WINDOW = 8  # bytes: a window is read as one uint64
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_LOW_BYTES = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Values of several texts, one behind the other. offsets: [texts + 1] int64, where each text's begin."""

    values: np.ndarray
    offsets: np.ndarray

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def owners(self) -> np.ndarray:
        """Return the text of each value, int64."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def take(self, rows: np.ndarray) -> Rows:
        """Return the texts of these numbers, in that order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Rows(self.values[places], offsets)

    def distinct(self) -> Rows:
        """Return each text's values once, sorted."""
        owners = self.owners
        order = np.lexsort((self.values, owners))
        values, owners = self.values[order], owners[order]
        first = np.ones(len(values), bool)
        first[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
        return Rows(values, self.offsets).where(first)

    def where(self, kept: np.ndarray) -> Rows:
        """Return the values that `kept` [values] says."""
        return Rows(self.values[kept], np.concatenate([[0], np.cumsum(kept)])[self.offsets])

    def hashes(self) -> np.ndarray:
        """Hash each text's values in their order: [texts] uint64, 0 for a text without any."""
        powers, inverses = _powers(max(18, len(self.values).bit_length()))
        terms = (self.values.astype(np.uint64) + np.uint64(1)) * powers[: len(self.values)]
        starts, lengths = self.offsets[:-1], np.diff(self.offsets).astype(np.uint64)
        sums = np.add.reduceat(np.concatenate([terms, np.zeros(1, np.uint64)]), starts)
        return np.where(lengths > 0, mix(sums * inverses[starts] + lengths), np.uint64(0))


def similarity(left: Rows, right: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Compare the first text of both, the second of both, ..., each of distinct values.

    Returns the share of the smaller one's values that both have, and the Jaccard similarity: [texts] float64.
    """
    keys = [side.values + side.owners.astype(np.uint64) * np.uint64(_BASE) for side in (left, right)]
    places = np.intersect1d(*keys, assume_unique=True, return_indices=True)[1]
    both = np.bincount(left.owners[places], minlength=len(left))
    sizes = np.diff(left.offsets), np.diff(right.offsets)
    return both / np.maximum(1, np.minimum(*sizes)), both / np.maximum(1, sizes[0] + sizes[1] - both)


def grams(words: Rows, n: int) -> Rows:
    """Hash every `n` words that follow each other: a text of fewer has none."""
    size = max(0, len(words.values) - n + 1)
    sums = np.zeros(size, np.uint64)
    for i in range(n):
        sums = sums * np.uint64(_BASE) + words.values[i : i + size]
    first = np.minimum(words.offsets, size)
    whole = np.arange(size) + n <= np.repeat(words.offsets[1:], np.diff(first))
    return Rows(mix(sums), first).where(whole)


def mix(values: np.ndarray) -> np.ndarray:
    """Spread uint64 values over all their bits."""
    values = (values ^ (values >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return values ^ (values >> np.uint64(32))


def hash_spans(raw: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Hash words by length, first and last 8 bytes: [words] uint64. At least 7 bytes must follow the last."""
    lengths = ends - starts
    view = eights(raw)
    low = _LOW_BYTES[np.clip(lengths, 0, 8)]
    first, last = view[starts] & low, view[np.maximum(starts, ends - 8)] & low
    return mix(mix(first) + last * np.uint64(_BASE) + lengths.astype(np.uint64))


def eights(raw: np.ndarray) -> np.ndarray:
    """Return the 8 bytes from each place on as a uint64, without a copy."""
    return np.ndarray(max(0, len(raw) - 7), "<u8", np.ascontiguousarray(raw), strides=(1,))


@functools.lru_cache(2)
def _powers(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the powers of _BASE and those of its inverse, 2**bits of each, modulo 2**64."""
    inverse = pow(_BASE, -1, 1 << 64)
    ones = np.ones(1, np.uint64)
    return tuple(  # pyright: ignore[reportReturnType]
        np.cumprod(np.concatenate([ones, np.full((1 << bits) - 1, base, np.uint64)]))
        for base in (_BASE, inverse)
    )
