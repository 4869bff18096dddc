"""Rows of a microbatch on a mesh, and which of them each process makes.

Rows are split over a mesh's batch axes. A process encodes and packs those that its own devices hold, so that
the work of the hosts, and what each sends to its devices, does not grow with their number.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from rstar_jax import distributed, mirror, sharding
from rstar_jax.data.token_store import TokenStore
from rstar_jax.data.tokenize import Share
from rstar_jax.train.solution_trees import Example

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of a microbatch. count: of all devices. own: those that this process makes; None: all. context:
    into how many parts the mesh splits the tokens of each."""

    count: int
    own: frozenset[int] | None = None
    context: int = 1

    @classmethod
    def on(cls, mesh: Mesh | None, microbatch: int) -> Rows:
        """At least `microbatch` rows, and as many for each part of the batch that the mesh makes.

        A step's examples are the same whatever the mesh: with fewer rows a call there are more calls, whose
        gradients add up.
        """
        if mesh is None:
            return cls(microbatch)
        parts = sharding.batch_parts(mesh)
        count = -(-microbatch // parts) * parts
        if count != microbatch:
            log.info("%d rows a call for %d: the mesh splits them over %d.", count, microbatch, parts)
        context = mesh.shape.get("context", 1)
        if jax.process_count() == 1:
            return cls(count, context=context)
        where = sharding.sharding(mesh, ("batch",), (count,), sharding.preset_for(mesh))
        own = where.addressable_devices_indices_map((count,)).values()
        held = (range(count) if index is None else range(*index[0].indices(count)) for index in own)
        return cls(count, frozenset(row for rows in held for row in rows), context)

    @classmethod
    def sizes(cls, mesh: Mesh | None, microbatch: int, most: int) -> tuple[Rows, ...]:
        """Those of `on`, and smaller ones for what is left of a step behind its full microbatches, largest
        first: as many, up to `most`, as halving makes where the mesh divides the halves."""
        count, parts = cls.on(mesh, microbatch).count, 1 if mesh is None else sharding.batch_parts(mesh)
        n = 1
        while 2 * n <= most and count % (2 * n * parts) == 0:
            n *= 2
        return tuple(cls.on(mesh, count * k // n) for k in range(n, 0, -1))

    @functools.cached_property
    def makes(self) -> np.ndarray:
        """Return True for each row that this process makes, bool [count]."""
        return np.array([self.own is None or row in self.own for row in range(self.count)])


def host() -> tuple[int, int]:
    """This process's number, and how many there are."""
    return jax.process_index(), jax.process_count()


def all_rows(own: np.ndarray) -> np.ndarray:
    """The rows [., K] of all processes, one process's after the other's; of one alone its own."""
    if jax.process_count() == 1:
        return own
    counts = np.asarray(multihost_utils.process_allgather(np.asarray([len(own)], np.int32))).reshape(-1)
    padded = np.zeros((counts.max(), own.shape[1]), own.dtype)
    padded[: len(own)] = own
    told = np.asarray(multihost_utils.process_allgather(padded))  # [processes, most, K]
    return np.concatenate([rows[:n] for rows, n in zip(told, counts, strict=True)])


def mesh_of(model: Any) -> Mesh | None:
    """The mesh that a decoder, or a reward model's decoder, lies on."""
    return getattr(getattr(model, "decoder", model), "mesh", None)


def lengths(examples: Sequence[Example]) -> np.ndarray:
    """Tokens of each example, int32 [count]."""
    if isinstance(examples, TokenStore):
        return examples.lengths
    return np.fromiter((len(e.tokens) for e in examples), np.int32, len(examples))


def host_share() -> Share:
    """This host's share of what all hosts encode into a folder that they share, or that is mirrored."""
    here = distributed.here()
    return Share(here.index, here.count, distributed.led, _meet)


def _meet() -> None:
    mirror.push()
    distributed.barrier("tokens")
    mirror.pull()


def digest(lengths: np.ndarray, first: Iterable[np.ndarray]) -> int:
    """A number for a training's data: the lengths of all of it, and what the first step learns."""
    found = zlib.crc32(np.asarray(lengths, np.int32).tobytes())
    for array in first:
        found = zlib.crc32(np.ascontiguousarray(array).tobytes(), found)
    return found
