"""Microbatches of a training's steps, of the shapes that the training itself would take; no device.

Trees are packed as a training packs them (`train/tree_rows.py`), of outlines by chance: of a problem's
solutions, which share their prompt, and of its pairs, which fork from a way to the middle of a solution.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from rstar_jax.plan.estimate import Assumed
from rstar_jax.plan.fit import Calls, Mesh
from rstar_jax.sharding import MESH_AXES
from rstar_jax.train import TrainConfig
from rstar_jax.train.host_rows import Rows
from rstar_jax.train.tree_packing import Outline
from rstar_jax.train.tree_rows import Groups, Ragged, Steps, TreeRows
from rstar_jax.train.trees import token_tree

SPREAD = 0.35  # standard deviation of the logarithm of a solution's tokens (`benchmarks/tokens.py`)
STEPS = 16  # that are packed
_EPOCHS = 10**4  # that pay for all shapes


@functools.lru_cache(maxsize=1024)
def solutions(mesh: Mesh, rows: int, seq_len: int, batch: int, assumed: Assumed) -> Calls:
    """Microbatches of a step of the policy, of so many solutions."""
    rng = np.random.default_rng(0)
    counts = np.floor(assumed.rows + rng.random(round(STEPS * batch / assumed.rows))).astype(int)
    lengths = np.clip(assumed.row * _spread(rng, counts.sum()), 1, seq_len).astype(int)
    outlines = []
    for each in np.split(lengths, np.cumsum(counts)[:-1]):
        shared = np.minimum(assumed.prompt, np.minimum(each, np.roll(each, 1)) - 1)
        shared[0] = 0
        outlines.append(Outline(shared, each - shared))
    return _calls(mesh, rows, seq_len, batch, outlines, 1)


@functools.lru_cache(maxsize=1024)
def pairs(mesh: Mesh, rows: int, seq_len: int, batch: int, assumed: Assumed) -> Calls:
    """Microbatches of a step of the PPM, of so many pairs: both sides of each at the same step of the way."""
    rng = np.random.default_rng(0)
    outlines = []
    for factor in _spread(rng, round(STEPS * batch / assumed.pairs)):
        step = min(max(1, round(factor * assumed.step)), seq_len - 1)
        way = min(assumed.prompt + round(factor * assumed.steps * assumed.step / 2), seq_len - step)
        # The deepest first, at the end of the way, and back along it.
        forks = np.sort(rng.integers(min(assumed.prompt, way), way + 1, assumed.pairs))[::-1]
        shared = np.repeat(np.append(way, forks[1:]), 2)
        own = np.full(2 * assumed.pairs, step)
        shared[0], own[0] = 0, way + step
        outlines.append(Outline(shared, own))
    return _calls(mesh, rows, seq_len, batch, outlines, 2)


def _spread(rng: np.random.Generator, count: int) -> np.ndarray:
    """Factors of lengths about their mean, which is 1."""
    found = rng.lognormal(0.0, SPREAD, count)
    return found / found.mean()


def _calls(
    mesh: Mesh, rows: int, seq_len: int, batch: int, outlines: Iterable[Outline], sequences: int
) -> Calls:
    """Microbatches of a step, on average. sequences: of an example."""
    parts = [part for outline in outlines for part in _within(outline, seq_len)]
    examples = np.array([max(1, len(part.own) // sequences) for part in parts])
    sizes, starts = (np.concatenate([[0], np.cumsum(n)]) for n in ([len(p.own) for p in parts], examples))
    told = np.concatenate([np.stack([part.shared, part.own], axis=1) for part in parts])
    groups = Groups(Ragged(told, sizes), Ragged(np.zeros((starts[-1], 1), int), starts))
    steps = Steps(groups, TrainConfig(epochs=_EPOCHS, batch=batch), 0)
    packed = TreeRows(
        groups, lambda _: token_tree([]), functools.partial(Rows.sizes, _mesh(mesh), rows), seq_len, steps
    )
    found = collections.Counter[tuple[int, int]]()
    for step in range(steps.per_epoch):
        found.update(shape for shape, _ in packed.places(steps(step).tolist()))
    return {shape: count / steps.per_epoch for shape, count in found.items()}


def _within(outline: Outline, room: int) -> Iterator[Outline]:
    """Parts of an outline of at most so many tokens."""
    first, count = 0, len(outline.own)
    while first < count:
        end = count if outline.size(first, count) <= room else first + 1
        while end < count and outline.size(first, end + 1) <= room:
            end += 1
        shared, own = outline.shared[first:end].copy(), outline.own[first:end].copy()
        own[0], shared[0] = own[0] + shared[0], 0
        yield Outline(shared, own)
        first = end


def _mesh(mesh: Mesh) -> Any:
    """As the training sees it, without devices."""
    return jax.sharding.AbstractMesh(tuple(getattr(mesh, name) for name in MESH_AXES), MESH_AXES)
