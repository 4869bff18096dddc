"""Weights from files into the memory of devices: slice by slice, by several threads, straight to their place.

A process reads those parts of each tensor that its own devices hold, each part once, whatever the mesh. On
the host no more is held than the largest entry (one tensor, or one layer of a parameter) and the block that
each thread reads: on a CPU, blocks are copied into the memory that becomes the array; elsewhere one layer at
a time is put together, sent, and set into its stack on the device.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rstar_jax import sharding
from rstar_jax.models.params import ParamSpec
from rstar_jax.weights.families import Weight
from rstar_jax.weights.safetensors_format import DTYPES, chunks, copy
from rstar_jax.weights.weight_files import WeightFiles

log = logging.getLogger(__name__)

_LOG_EVERY_S = 10.0
_ALIGNED = 64  # bytes; from there on XLA takes memory of the host as it is
Place = tuple[tuple[int, ...], str]  # the index of a tensor's entry in its parameter, the tensor's name
Index = tuple[tuple[int, int], ...]  # first and end along each axis


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A parameter, and the tensors that it is made of."""

    spec: ParamSpec
    weight: Weight
    places: Sequence[Place]


@dataclasses.dataclass(frozen=True)
class Progress:
    """Progress of a load: bytes of the tensors that are done and of all, and seconds since the start."""

    done: int
    total: int
    seconds: float

    def __str__(self) -> str:
        rate = self.done / max(self.seconds, 1e-9)
        left = (self.total - self.done) / rate if rate else math.inf
        return f"{self.done / 1e9:.1f} of {self.total / 1e9:.1f} GB, {rate / 1e9:.2f} GB/s, {left:.0f} s left"


def read_params(
    files: WeightFiles,
    wanted: Mapping[str, Wanted],
    dtype: Any,
    mesh: Mesh | None,
    on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, jax.Array]:
    """The parameters, in this dtype, split over the mesh by `sharding.preset_for`; None: on one device.

    on_progress: called after each tensor; without it a long load is logged every ten seconds. Every process
    of the mesh must call this alike. Raises UserError naming file and tensor.
    """
    whole = _on_host(mesh)
    entries = [
        _Entry(files, name, layer, w, np.dtype(dtype), mesh)
        for name, w in wanted.items()
        for layer in (range(w.spec.shape[0]) if w.places[0][0] and not whole else (None,))
    ]
    entries.sort(key=lambda entry: entry.at)  # as they lie on disk
    stacked = {e.name for e in entries if e.layer is not None}
    params = {name: _zeros(wanted[name].spec, dtype, mesh) for name in stacked}
    room = math.inf if whole else max(entry.size for entry in entries)
    report = _Reporter(sum(e.tensor_bytes * len(e.places) for e in entries), on_progress, str(files.folder))
    waiting: collections.deque[tuple[_Entry, list[concurrent.futures.Future[None]]]] = collections.deque()

    def finish() -> None:
        entry, reads = waiting.popleft()
        for read in reads:
            read.result()
            report.add(entry.tensor_bytes)
        array = entry.array()
        if entry.layer is not None:
            stack = params[entry.name]
            array = _put(stack.sharding)(stack, array, np.int32(entry.layer))
        params[entry.name] = jax.block_until_ready(array)  # what is on its way is still held here

    with concurrent.futures.ThreadPoolExecutor(min(32, len(os.sched_getaffinity(0)) + 2)) as pool:
        try:
            for entry in entries:
                while waiting and sum(e.size for e, _ in waiting) + entry.size > room:
                    finish()
                entry.allocate()
                reads = [pool.submit(entry.read, index, name) for index, name in entry.places]
                waiting.append((entry, reads))
            while waiting:
                finish()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {name: params[name] for name in wanted}


class _Entry:
    """An array to be made of tensors: a parameter, or one layer of it."""

    def __init__(
        self,
        files: WeightFiles,
        name: str,
        layer: int | None,
        wanted: Wanted,
        dtype: np.dtype,
        mesh: Mesh | None,
    ) -> None:
        self.files, self.name, self.layer = files, name, layer
        self.weight, self.dtype = wanted.weight, dtype
        self.shape, self.where = (
            wanted.spec.shape,
            sharding.on_mesh(wanted.spec.axes, wanted.spec.shape, mesh),
        )
        self.places = wanted.places
        if layer is not None:
            self.shape = self.shape[1:]
            self.places = [(index[1:], tensor) for index, tensor in self.places if index[0] == layer]
            if self.where is not None:
                self.where = NamedSharding(self.where.mesh, PartitionSpec(*self.where.spec[1:]))
        first = files.tensors[self.places[0][1]]
        self.at = str(first.file), first.start
        self.tensor_bytes = math.prod(self.weight.part) * DTYPES[first.dtype].itemsize
        self.parts = shares(self.shape, self.where)  # of this process's devices
        self.size = sum(math.prod(_sizes(part)) for part in set(self.parts.values())) * dtype.itemsize
        self._memory: dict[Index, np.ndarray] = {}

    def allocate(self) -> None:
        """Takes memory for the parts; devices that hold the same one share it."""
        self._memory = {part: _memory(_sizes(part), self.dtype) for part in self.parts.values()}

    def read(self, index: tuple[int, ...], tensor: str) -> None:
        """Reads what the parts have of one tensor, that with this index."""
        n, into = len(index), []
        for part, memory in self._memory.items():
            lead = list(zip(index, part[:n], strict=True))
            if all(first <= i < end for i, (first, end) in lead):
                into.append((part[n:], memory[tuple(i - first for i, (first, _) in lead)]))
        fill(self.files, self.weight, tensor, self.shape[n:], into)

    def array(self) -> jax.Array:
        """Return what was read, on its devices; gives the memory away."""
        memory, self._memory = self._memory, {}
        if self.where is None:
            return jax.device_put(next(iter(memory.values())))
        shards = [jax.device_put(memory[part], device) for device, part in self.parts.items()]
        return jax.make_array_from_single_device_arrays(self.shape, self.where, shards)


def shares(shape: Sequence[int], where: NamedSharding | None) -> dict[Any, Index]:
    """Return the part of an array that each device of this process holds; without a mesh, None does, all of
    it."""
    if where is None:
        return {None: tuple((0, n) for n in shape)}
    held = where.addressable_devices_indices_map(tuple(shape))
    return {
        device: tuple(s.indices(n)[:2] for s, n in zip(index or (), shape, strict=True))
        for device, index in held.items()
    }


def fill(
    files: WeightFiles,
    weight: Weight,
    tensor: str,
    shape: Sequence[int],
    into: Iterable[tuple[Index, np.ndarray]],
) -> None:
    """Reads parts of what one tensor stands for, an array of this shape, each into contiguous memory.

    Nothing is read that no part has, and nothing twice.
    """
    targets = []
    for part, memory in into:
        one, two = _as_matrix(weight, shape, part)
        matrix = memory.reshape(one[1] - one[0], two[1] - two[0])
        targets.append((two, one, matrix.T) if weight.transpose else (one, two, matrix))
    for first, end in itertools.pairwise(sorted({row for rows, *_ in targets for row in rows})):
        here = [target for target in targets if target[0][0] <= first and end <= target[0][1]]
        for columns in _joined([target[1] for target in here]):
            for rows in chunks(first, end, (columns[1] - columns[0]) * 4):
                start = weight.rows[0] if weight.rows else 0
                block = files.read(tensor, (start + rows[0], start + rows[1]), columns)
                for (top, _), (left, right), matrix in here:
                    if columns[0] <= left and right <= columns[1]:
                        part = block[:, left - columns[0] : right - columns[0]]
                        copy(matrix[rows[0] - top : rows[1] - top], part)


def _as_matrix(weight: Weight, shape: Sequence[int], part: Index) -> tuple[tuple[int, int], tuple[int, int]]:
    """The ranges of a part of an array in the matrix that it is the reshaping of, before transposition."""
    matrix = weight.part[::-1] if weight.transpose else weight.part
    axes = next(n for n in range(len(shape) + 1) if math.prod(shape[:n]) == matrix[0])
    return _joint_range(shape[:axes], part[:axes]), _joint_range(shape[axes:], part[axes:])


def _joint_range(shape: Sequence[int], part: Index) -> tuple[int, int]:
    """The range of a part along several axes that are taken as one."""
    inner = math.prod(shape[1:])
    if any(span != (0, n) for span, n in zip(part[1:], shape[1:], strict=True)):
        raise ValueError(f"{part} of {shape}: split along an axis that lies within another in the file")
    return (part[0][0] * inner, part[0][1] * inner) if shape else (0, 1)


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges, with those that touch or overlap made one."""
    joined: list[tuple[int, int]] = []
    for first, end in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((first, end))
    return joined


def _sizes(part: Index) -> tuple[int, ...]:
    return tuple(end - first for first, end in part)


def _memory(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNED, np.uint8)
    first = -memory.ctypes.data % _ALIGNED
    return memory[first : first + size].view(dtype).reshape(shape)


def _on_host(mesh: Mesh | None) -> bool:
    """Return whether arrays lie in the host's own memory."""
    return (jax.default_backend() if mesh is None else mesh.devices.flat[0].platform) == "cpu"


def _zeros(spec: ParamSpec, dtype: Any, mesh: Mesh | None) -> jax.Array:
    return jax.jit(
        lambda: jnp.zeros(spec.shape, dtype), out_shardings=sharding.on_mesh(spec.axes, spec.shape, mesh)
    )()


@functools.lru_cache(maxsize=64)
def _put(where: Any) -> Callable[[jax.Array, jax.Array, np.int32], jax.Array]:
    """Sets one entry of a stack, in the stack's own memory."""
    out = where if isinstance(where, NamedSharding) else None

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=out)
    def put(stack: jax.Array, entry: jax.Array, layer: np.int32) -> jax.Array:
        return jax.lax.dynamic_update_index_in_dim(stack, entry, layer, 0)

    return put


class _Reporter:
    """Counts bytes and says how far they are."""

    def __init__(self, total: int, on_progress: Callable[[Progress], None] | None, what: str) -> None:
        self._total, self._on_progress, self._what = total, on_progress, what
        self._done, self._started = 0, time.monotonic()
        self._logged = self._started

    def add(self, size: int) -> None:
        self._done, now = self._done + size, time.monotonic()
        progress = Progress(self._done, self._total, now - self._started)
        if self._on_progress is not None:
            self._on_progress(progress)
        elif now - self._logged > _LOG_EVERY_S:
            self._logged = now
            log.info("%s: %s", self._what, progress)
