"""Static sizes for ragged lengths, so that few programs are compiled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def prefill_bucket(length: int, context: int | None = None) -> int:
    """The least of 64, 96, 128, 192, 256, 384, … that holds `length`: prefilling costs by the column."""
    size = cache_bucket(length, context)
    return size * 3 // 4 if 64 < size <= 256 and length <= size * 3 // 4 else size


def cache_bucket(length: int, context: int | None = None) -> int:
    """The least of 64, 128, 256, 384, 512, 768, … that holds `length`: a masked column costs little, and
    each size is a compilation of the decode loop.

    context: no text is longer. The last size is that, in whole blocks of 128, not up to half as much again.
    """
    size = 64
    while size < length:
        size *= 2
    size = size * 3 // 4 if size > 256 and length <= size * 3 // 4 else size
    return size if context is None else max(min(size, -(-context // 128) * 128), length)


def suffix_bucket(length: int, longest: int) -> int:
    """The least of 64, 128, 256, … that holds `length`, but no more than `longest`."""
    size = 64
    while size < length:
        size *= 2
    return min(size, longest)


def score_bucket(length: int) -> int:
    """The least of 16, 32, 48, 64, 96, 128, 192, … that holds `length`."""
    return -(-length // 16) * 16 if length <= 64 else prefill_bucket(length)


def padded(rows: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Rows left-aligned in a zero int32 [B, T] array."""
    block = np.zeros(shape, np.int32)
    for i, row in enumerate(rows):
        block[i, : len(row)] = row
    return block
