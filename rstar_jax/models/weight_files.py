"""The tensors of a Hugging Face folder: finding, reading and writing safetensors files.

Reads `model.safetensors` or the shards that `model.safetensors.index.json` names. Every error names the
file, and the tensor where there is one. Not here: what the tensors mean (`families/`, `hf.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from rstar_jax.errors import UserError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5 * 10**9
DTYPES = ("F32", "F16", "BF16")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises UserError if it holds none."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}). Copy the file again.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: a JSON object expected, found a {type(value).__name__}.")
    return value


class WeightFiles:
    """The tensors of one folder by name, read one at a time."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError if there are no weights, or a file is missing, damaged or not as indexed."""
        self._files: dict[Path, Any] = {}
        self.where: dict[str, Path] = {}  # tensor name -> its file
        index = folder / INDEX
        if index.exists():
            named = read_json(index).get("weight_map", {})
            for file in sorted({folder / name for name in named.values()}):
                self._open(file)
            for name, file in named.items():
                if self.where.get(name) != folder / file:
                    raise UserError(f"{folder / file}: no tensor '{name}', which {index} says is there.")
        elif (folder / WEIGHTS).exists():
            self._open(folder / WEIGHTS)
        else:
            raise UserError(
                f"{folder}: no {WEIGHTS} or {INDEX}. Weights are read from safetensors files only; "
                "convert others with transformers' save_pretrained."
            )

    def _open(self, file: Path) -> None:
        try:
            self._files[file] = safe_open(str(file), framework="numpy").__enter__()
        except FileNotFoundError as error:
            raise UserError(f"{file}: named in the index and missing. Copy the folder again.") from error
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{file}: damaged or truncated safetensors file ({error}). Copy the file again."
            ) from error
        for name in self._files[file].keys():  # noqa: SIM118 (not a dict)
            if name in self.where:
                raise UserError(f"{file}: tensor '{name}' is in {self.where[name]} too.")
            self.where[name] = file

    def read(self, name: str, shape: tuple[int, ...], rows: tuple[int, int] | None = None) -> np.ndarray:
        """One tensor, or its rows [first, end), in the dtype of the file.

        Raises UserError if the tensor's shape is another, or its dtype, or it cannot be read.
        """
        file = self.where[name]
        part = self._files[file].get_slice(name)
        if tuple(part.get_shape()) != shape:
            raise UserError(
                f"{file}: tensor '{name}' has shape {tuple(part.get_shape())}, config.json asks for {shape}."
            )
        if part.get_dtype() not in DTYPES:
            raise UserError(
                f"{file}: tensor '{name}' is of type {part.get_dtype()}; read here: {', '.join(DTYPES)}."
            )
        return part[rows[0] : rows[1]] if rows else self._files[file].get_tensor(name)


def write_weights(
    folder: Path, sizes: Mapping[str, int], value: Callable[[str], np.ndarray], shard_bytes: int = SHARD_BYTES
) -> None:
    """Writes tensors as one file, or as shards with an index where they exceed `shard_bytes`.

    sizes: name -> bytes, in the order to write. value(name) is asked for once, when its shard is written.
    """
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    weight_map = {}
    for i, names in enumerate(shards):
        file = WEIGHTS if len(shards) == 1 else f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        # save_file writes a strided array's memory as it lies, that is wrongly: make it contiguous.
        tensors = {name: np.ascontiguousarray(value(name)) for name in names}
        save_file(cast(Any, tensors), str(folder / file), metadata={"format": "pt"})
        (folder / file).chmod(0o644)  # save_file makes it the owner's alone
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")
