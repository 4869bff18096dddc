"""Input of a step of a training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

Microbatch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Input of one optimiser step: microbatches of few shapes, and how many examples and
    tokens are in them.
    """

    microbatches: Sequence[Microbatch]
    examples: int
    tokens: int
