"""Microbatches of a training's steps, of the shapes that the training itself would take; no device.

Solutions are packed as `train/policy.py` packs them, of lengths by chance, each of a question of its own.
Trees of pairs are not: their share of padding is what `benchmarks/trees.py` has measured.
"""

from __future__ import annotations

import collections
import functools
import math
from typing import Any

import jax
import numpy as np

from rstar_jax.plan.fit import Calls, Mesh
from rstar_jax.sharding import MESH_AXES
from rstar_jax.train import TrainConfig
from rstar_jax.train.host_rows import Rows
from rstar_jax.train.tree_rows import LANES, ROW_COUNTS, Groups, Ragged, Steps, TreeRows
from rstar_jax.train.trees import token_tree

SPREAD = 0.35  # standard deviation of the logarithm of a solution's tokens (`benchmarks/tokens.py`)
STEPS = 16  # that are packed
TREES_PADDED = 0.05  # of the tokens of microbatches of trees, at most, whose shapes their own data chooses
_EPOCHS = 10**4  # that pay for all shapes


def solutions(mesh: Mesh, rows: int, seq_len: int, batch: int, tokens: float) -> Calls:
    """Microbatches of a step of the policy: so many solutions of so many tokens on average."""
    return _solutions(mesh, rows, seq_len, batch, min(tokens, seq_len))


@functools.lru_cache(maxsize=1024)
def _solutions(mesh: Mesh, rows: int, seq_len: int, batch: int, tokens: float) -> Calls:
    drawn = np.random.default_rng(0).lognormal(math.log(tokens) - SPREAD**2 / 2, SPREAD, STEPS * batch)
    lengths = np.clip(drawn, 1, seq_len).astype(np.int32)
    each = np.arange(len(lengths) + 1)
    outlines = Ragged(np.stack([np.zeros_like(lengths), lengths], axis=1), each)
    groups = Groups(outlines, Ragged(each[:-1, None], each))
    steps = Steps(groups, TrainConfig(epochs=_EPOCHS, batch=batch), 0)
    sizes = functools.partial(Rows.sizes, _mesh(mesh), rows)
    packed = TreeRows(groups, lambda _: token_tree([]), sizes, seq_len, steps)
    found = collections.Counter[tuple[int, int]]()
    for step in range(STEPS):
        found.update(shape for shape, _ in packed.places(steps(step).tolist()))
    return {shape: count / STEPS for shape, count in found.items()}


def trees(mesh: Mesh, rows: int, seq_len: int, tokens: float, longest: float) -> Calls:
    """Microbatches of a step of the PPM, over so many tokens of trees: about as many in each, in the least
    shape that holds them. longest: tokens of a solution, which no row cuts."""
    slots, unit = tokens / (1 - TREES_PADDED), LANES * mesh.context
    sizes = [size.count for size in Rows.sizes(_mesh(mesh), rows, ROW_COUNTS)]
    count = math.ceil(slots / (sizes[0] * seq_len))
    lengths = (max(longest, slots / count / n) for n in sizes)
    tried = [(n, math.ceil(each / unit) * unit) for n, each in zip(sizes, lengths, strict=True)]
    return {min((s for s in tried if s[1] <= seq_len), key=math.prod, default=(sizes[0], seq_len)): count}


def _mesh(mesh: Mesh) -> Any:
    """As the training sees it, without devices."""
    return jax.sharding.AbstractMesh(tuple(getattr(mesh, name) for name in MESH_AXES), MESH_AXES)
