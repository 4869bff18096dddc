"""The safetensors format: the header of a file, and writing a file.

8 bytes of length, a JSON header, the tensors one behind the other. Read and written here and not by its
library, which maps files into memory: so parts of tensors can be read by offset, by many threads at once,
while memory holds what was asked for and nothing else, and tensors are written one at a time.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

DTYPES: Mapping[str, np.dtype] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
}
CHUNK = 2**21  # bytes handled at a time: what a core's cache holds
_TILE = 128  # transposing by whole rows would touch a new page with every number
_HEADER_LIMIT = 16 * 2**20  # some 150,000 tensors; the largest models have hundreds in a file

Shape = tuple[tuple[int, ...], np.dtype]  # of a tensor, and its type


@dataclasses.dataclass(frozen=True)
class Stored:
    """Place of a tensor: its file, type (the format's name of it), shape, and first byte in the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int


def read_header(file: Path, descriptor: int) -> dict[str, Stored]:
    """Raises ValueError, saying why, for what is no safetensors file, and OSError where it cannot be read."""
    size = os.fstat(descriptor).st_size
    length = int.from_bytes(os.pread(descriptor, 8, 0), "little")
    if size < 8 or not 2 <= length <= size - 8:
        raise ValueError(f"{size} bytes long, its header should be {length}")
    if length > _HEADER_LIMIT:
        raise ValueError(f"its header has {length} bytes, {_HEADER_LIMIT} at most expected")
    header = json.loads(os.pread(descriptor, length, 8), object_pairs_hook=_unique, parse_constant=_refuse)
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    header.pop("__metadata__", None)
    tensors, spans = {}, []
    for name, entry in header.items():
        dtype, shape, (start, end) = _entry(name, entry)
        if dtype in DTYPES and end - start != math.prod(shape) * DTYPES[dtype].itemsize:
            raise ValueError(f"tensor '{name}', {dtype} {shape}, is said to have {end - start} bytes")
        tensors[name] = Stored(file, dtype, shape, 8 + length + start)
        spans.append((start, end, name))
    expected = 0
    for start, end, name in sorted(spans):
        if start != expected or end < start:
            raise ValueError(
                f"tensor '{name}' is said to be at bytes {start} to {end}, expected at {expected}"
            )
        expected = end
    if 8 + length + expected != size:
        raise ValueError(f"{size} bytes long, its header asks for {8 + length + expected}")
    return tensors


def _entry(name: str, entry: Any) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [start, end]}:
            if all(type(n) is int and n >= 0 for n in (*shape, start, end)):
                return dtype, tuple(shape), (start, end)
    raise ValueError(f"tensor '{name}' is described as {str(entry)[:200]}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = collections.Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"'{twice}' is there twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} in its header")


def copy(into: np.ndarray, part: np.ndarray) -> None:
    """Copies a matrix, of any strides on either side; the types are made equal."""
    if into.dtype != part.dtype:
        part = part.astype(into.dtype)
    if (into.strides[0] < into.strides[1]) == (part.strides[0] < part.strides[1]):
        into[...] = part
        return
    for i in range(0, into.shape[0], _TILE):
        for j in range(0, into.shape[1], _TILE):
            into[i : i + _TILE, j : j + _TILE] = part[i : i + _TILE, j : j + _TILE]


def chunks(first: int, end: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """The ranges of rows, of about `CHUNK` bytes each, that make up [first, end)."""
    step = max(1, CHUNK // max(1, row_bytes))
    return ((at, min(at + step, end)) for at in range(first, end, step))


def write_file(path: Path, shapes: Mapping[str, Shape], value: Callable[[str], Iterable[np.ndarray]]) -> None:
    """Writes tensors as one file, synced, in this order.

    value(name): a tensor in parts that follow each other along its first axis; asked for once, when its turn
    comes, so that one tensor is in memory at a time. Raises OSError where the file cannot be written.
    """
    names = {dtype: name for name, dtype in DTYPES.items()}
    ends = [0, *itertools.accumulate(math.prod(shape) * dtype.itemsize for shape, dtype in shapes.values())]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for (name, (shape, dtype)), span in zip(shapes.items(), itertools.pairwise(ends), strict=True):
        header[name] = {"dtype": names[dtype], "shape": shape, "data_offsets": span}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that tensors begin at multiples of 8
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in shapes:
            for part in value(name):
                matrix = part.reshape(part.shape[0], -1)
                for first, end in chunks(0, matrix.shape[0], matrix.shape[1] * matrix.itemsize):
                    block = np.empty((end - first, matrix.shape[1]), matrix.dtype)
                    copy(block, matrix[first:end])
                    file.write(block.view(np.uint8).reshape(-1).data)
        file.flush()
        os.fsync(file.fileno())
