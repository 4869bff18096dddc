"""Identity of a model: a hash that says whether a folder still computes what it did, without reading 15
GB."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from rstar_jax import records
from rstar_jax.weights.adapter_config import ADAPTER
from rstar_jax.weights.adapter_config import CONFIG as ADAPTER_CONFIG
from rstar_jax.weights.folders import GENERATION, TOKENIZER_FILES, base_folder
from rstar_jax.weights.weight_files import WeightFiles

_WHOLE = 64 * 2**20  # bytes up to which a file of weights is hashed whole
_SAMPLE = 16 * 2**10  # bytes of each of the samples of a tensor in a larger one


def model_hash(folder: Path) -> str:
    """SHA-256, in hexadecimal, of what a model folder computes with.

    Over name, size and contents of config.json, generation_config.json and the tokenizer's files, whole, as
    far as they are there, and of the safetensors files that are read: whole up to 64 MiB; of a larger one the
    header (names, types, shapes and places of its tensors) and of every tensor the first, the middle and the
    last 16 KiB. Of an adapter: over its own files, and its base's hash. Training changes every tensor that it
    trains all over, so that another training, or another model, is noticed. A few numbers changed in the
    midst of a large tensor by other means are not.

    Raises UserError if there are no weights, or a file of them is damaged or cannot be read.
    """
    found, base = hashlib.sha256(), base_folder(folder)
    adapts = base != folder
    for name in sorted(("config.json", GENERATION, *TOKENIZER_FILES, *([ADAPTER_CONFIG] * adapts))):
        records.require_file(folder / name, records.MOST_TEXT)
        with records.reading(folder / name):
            if (folder / name).is_file():
                content = (folder / name).read_bytes()
                found.update(f"{name}\0{len(content)}\0".encode() + content)
    if adapts:
        found.update(f"base\0{model_hash(base)}\0".encode())
    with WeightFiles(folder, folder / ADAPTER if adapts else None) as weights:
        starts: dict[Path, list[int]] = {}
        for tensor in weights.tensors.values():
            starts.setdefault(tensor.file, []).append(tensor.start)
    for file in sorted(starts):
        with records.reading(file), open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            found.update(f"{file.name}\0{size}\0".encode())
            for first, end in _read(size, sorted(starts[file])):
                found.update(os.pread(opened.fileno(), end - first, first))
    return found.hexdigest()


def _read(size: int, starts: list[int]) -> Iterator[tuple[int, int]]:
    """The ranges of bytes that are hashed of a file whose tensors start at these bytes."""
    if size <= _WHOLE:
        yield 0, size
        return
    yield 0, starts[0]
    for first, end in zip(starts, [*starts[1:], size], strict=True):
        if end - first <= 3 * _SAMPLE:
            yield first, end
        else:
            middle = (first + end - _SAMPLE) // 2
            yield from ((at, at + _SAMPLE) for at in (first, middle, end - _SAMPLE))
