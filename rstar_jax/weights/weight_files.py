"""The tensors of a Hugging Face folder: finding, reading and writing its safetensors files.

Reads `model.safetensors` or the shards that `model.safetensors.index.json` names; without an index, shards
whose names say that they are all there. Every error names the file, and the tensor where there is one. Not
here: what the tensors mean (`families/`, `hf.py`).
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rstar_jax import mirror
from rstar_jax.errors import UserError
from rstar_jax.records import MOST_TEXT, refuse_pointer, require_file
from rstar_jax.weights import contents
from rstar_jax.weights.safetensors_format import DTYPES, Shape, Stored, chunks, read_header, write_file

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5 * 10**9


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises UserError if it holds none."""
    refuse_pointer(path)
    require_file(path, MOST_TEXT)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}). Copy the file again.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: a JSON object expected, found a {type(value).__name__}.")
    return value


def is_there(path: Path) -> bool:
    """Return whether something has this name; of a bucket's file, it is fetched by this. Raises UserError if
    it has and cannot be looked at."""
    mirror.need(path)
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be looked at ({_why(error)}). Check its rights.") from error
    try:
        path.stat()
    except OSError as error:
        raise UserError(f"{path}: leads nowhere ({_why(error)}). Mend the link or copy the file.") from error
    return True


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


class WeightFiles:
    """The tensors of one folder by name; their parts are read on demand, from any thread.

    bytes_read counts what was read of the tensors.
    """

    def __init__(self, folder: Path, only: Path | None = None) -> None:
        """only: the one file to read, whatever else is there. Raises UserError if there are no weights, or a
        file is missing, damaged or not as indexed."""
        self.folder, self.bytes_read = folder, 0
        self.tensors: dict[str, Stored] = {}
        self._files: dict[Path, int] = {}
        self._lock = threading.Lock()
        try:
            if only is None:
                self._find()
            elif is_there(only):
                self._open(only)
            else:
                raise UserError(f"{folder}: {contents.without_weights(folder, only.name)}")
        except BaseException:
            self.close()
            raise

    def _find(self) -> None:
        index = self.folder / INDEX
        if is_there(self.folder / WEIGHTS):  # before an index, as transformers has it
            self._open(self.folder / WEIGHTS)
        elif is_there(index):
            named = _read_index(index)
            for name in sorted(set(named.values())):
                self._open(self.folder / name)
            for name, file in named.items():
                if name not in self.tensors or self.tensors[name].file != self.folder / file:
                    raise UserError(f"{self.folder / file}: no tensor '{name}', which {index} says is there.")
        else:
            self._find_shards()

    def _find_shards(self) -> None:
        """Opens the shards of a folder that has lost its index."""
        mirror.need(self.folder)
        found = contents.shards(self.folder)
        if not found:
            lies = contents.without_weights(self.folder, f"{WEIGHTS} or {INDEX}")
            raise UserError(f"{self.folder}: {lies}")
        if len(found) > 1:
            raise UserError(
                f"{self.folder}: no {INDEX}, and shards of several models: {', '.join(sorted(found))}. Leave "
                "those of one in the folder."
            )
        (files,) = found.values()
        if missing := contents.missing_shards(files):
            raise UserError(
                f"{self.folder}: no {INDEX}, and of the shards {', '.join(missing[:4])} "
                f"{'is' if len(missing) == 1 else 'are'} missing ({len(missing)} of "
                f"{len(missing) + len(files)}). Copy the folder again."
            )
        for file in files:
            self._open(file)

    def adopt(self, name: str, stored: Stored) -> None:
        """Takes a tensor of a file elsewhere as its own, in the place of one of the same name."""
        if stored.file not in self._files:
            require_file(stored.file)
            self._files[stored.file] = os.open(stored.file, os.O_RDONLY | os.O_CLOEXEC)
        self.tensors[name] = stored

    def _open(self, file: Path) -> None:
        mirror.need(file)
        require_file(file)
        try:
            self._files[file] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            found = read_header(file, self._files[file])
        except FileNotFoundError as error:
            raise UserError(f"{file}: named in the index and missing. Copy the folder again.") from error
        except OSError as error:
            raise UserError(
                f"{file}: cannot be read ({_why(error)}). Mend its rights, or copy it."
            ) from error
        except (ValueError, RecursionError) as error:
            refuse_pointer(file)
            raise UserError(
                f"{file}: damaged or truncated safetensors file ({error}). Copy the file again."
            ) from error
        for name in found.keys() & self.tensors.keys():
            raise UserError(f"{file}: tensor '{name}' is in {self.tensors[name].file} too.")
        self.tensors |= found

    def __enter__(self) -> WeightFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files; nothing can be read after that."""
        while self._files:
            os.close(self._files.popitem()[1])

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Raises UserError if the tensor has another shape, or a type that is not read here."""
        at = self.tensors[name]
        if at.shape != shape:
            raise UserError(f"{at.file}: tensor '{name}' has shape {at.shape}, config.json asks for {shape}.")
        if at.dtype not in DTYPES:
            raise UserError(
                f"{at.file}: tensor '{name}' is of type {at.dtype}; read here: {', '.join(DTYPES)}."
            )

    def read(self, name: str, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """A block [first, end) of a matrix, in the type of the file; a vector [n] counts as [n, 1].

        Raises UserError where the file ends before it.
        """
        at = self.tensors[name]
        width, size = math.prod(at.shape[1:]), DTYPES[at.dtype].itemsize
        block = np.empty((rows[1] - rows[0], columns[1] - columns[0]), DTYPES[at.dtype])
        with self._lock:
            self.bytes_read += block.nbytes
        first = at.start + (rows[0] * width + columns[0]) * size
        if block.shape[1] == width:
            self._read_into(name, block, first)
        else:
            for i, row in enumerate(block):
                self._read_into(name, row, first + i * width * size)
        return block

    def same(self, one: str, other: str) -> bool:
        """Return whether two tensors are equal, of types that are read here."""
        a, b = self.tensors[one], self.tensors[other]
        if a.shape != b.shape or not {a.dtype, b.dtype} <= DTYPES.keys():
            return False
        width = math.prod(a.shape[1:])
        return all(
            np.array_equal(self.read(one, rows, (0, width)), self.read(other, rows, (0, width)))
            for rows in chunks(0, a.shape[0], width * 4)
        )

    def _read_into(self, name: str, block: np.ndarray, offset: int) -> None:
        file = self.tensors[name].file
        into = block.view(np.uint8).reshape(-1).data
        while into:
            try:
                count = os.preadv(self._files[file], [into], offset)
            except OSError as error:
                raise UserError(f"{file}: tensor '{name}' cannot be read ({_why(error)}).") from error
            if not count:
                raise UserError(f"{file}: ends within tensor '{name}'; cut while it was read. Copy it again.")
            into, offset = into[count:], offset + count


def _read_index(path: Path) -> dict[str, str]:
    named = read_json(path).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise UserError(f"{path}: no 'weight_map' that says which tensor is in which file. Copy it again.")
    for name, file in named.items():
        if not isinstance(file, str) or file in ("", ".", "..") or "/" in file or "\0" in file:
            raise UserError(
                f"{path}: tensor '{name}' is said to be in {file!r}; the name of a file expected."
            )
    return named


def write_weights(
    folder: Path,
    shapes: Mapping[str, Shape],
    value: Callable[[str], Iterable[np.ndarray]],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes tensors as one file, or as shards with an index where they exceed `shard_bytes`.

    shapes: of the tensors, in the order to write. value: as for `write_file`. Raises OSError where they
    cannot be written.
    """
    sizes = {name: math.prod(shape) * dtype.itemsize for name, (shape, dtype) in shapes.items()}
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
        write_file(folder / file, {name: shapes[name] for name in names}, value)
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
