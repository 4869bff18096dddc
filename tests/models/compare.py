"""Texts of several lengths in every arrangement, and how far logits are from a reference."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import nnx

from rstar_jax.models import Decoder
from tests.models.zoo import VOCAB

LENGTHS = [13, 4, 9]
T = sum(LENGTHS) + 2


@nnx.jit
def run(model: Decoder, *args: jax.Array) -> jax.Array:
    return model(*args)


def texts() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(3, VOCAB, size=n).astype(np.int32) for n in LENGTHS]


def reference(model: Any, tokens: np.ndarray) -> np.ndarray:
    """transformers' logits [T, V], or scores, of one text."""
    import torch

    with torch.no_grad():
        return model(torch.tensor(tokens)[None], use_cache=False).logits.float().numpy()[0]


def error(found: Any, wanted: np.ndarray) -> float:
    """The largest difference, in units of the largest wanted value."""
    return float(np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max())


def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[int, int, int]]]:
    """Rows padded left, rows padded right, a packed row; and where each text is: (text, row, first place)."""
    where = [(i, row, T - n) for row, (i, n) in enumerate(enumerate(LENGTHS))]
    where += [(i, len(LENGTHS) + i, 0) for i in range(len(LENGTHS))]
    where += [(i, 2 * len(LENGTHS), sum(LENGTHS[:i])) for i in range(len(LENGTHS))]
    tokens, positions, segments = (np.zeros((2 * len(LENGTHS) + 1, T), np.int32) for _ in range(3))
    for i, row, first in where:
        here = slice(first, first + LENGTHS[i])
        tokens[row, here], positions[row, here], segments[row, here] = (
            texts()[i],
            np.arange(LENGTHS[i]),
            i + 1,
        )
    return tokens, positions, segments, where
