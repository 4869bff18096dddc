"""Examples of a training as flat arrays in files that are mapped: how many there are is nothing to memory.

    FOLDER/KEY-000000.arrow, KEY-000001.arrow, ...   pieces, each whole or absent
    FOLDER/KEY.json                                  how many there are; written when all are there

A piece is an Arrow file of one batch: a row for each example, a column of lists for each of its arrays, and a
CRC of all of them, to which an example is held whenever it is read.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast, overload

import numpy as np
import pyarrow as pa

from rstar_jax import records

Arrays = Mapping[str, np.ndarray]  # of one example, [n] each; "tokens" among them
T = TypeVar("T")

_CRC, _KEY, _COUNTS, _DTYPE = "crc", b"key", b"counts", b"dtype"


def batch_of(examples: Iterable[Arrays], counts: Mapping[str, int], key: str = "") -> pa.RecordBatch:
    """A piece of these examples, whose arrays have the same names and dtypes in each. counts: what whoever
    made them counted, kept beside them."""
    columns: dict[str, list[np.ndarray]] = {}
    crcs = list[int]()
    for example in examples:
        for name, array in example.items():
            columns.setdefault(name, []).append(array)
        crcs.append(_crc(example))
    fields, arrays = list[pa.Field](), list[pa.Array]()
    for name, found in columns.items():
        values = np.concatenate(found)
        offsets = np.cumsum([0, *map(len, found)], dtype=np.int32)
        stored = values.view(np.uint8) if values.dtype == bool else values  # Arrow would pack them as bits
        arrays.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(stored)))
        fields.append(pa.field(name, arrays[-1].type, metadata={_DTYPE: values.dtype.name.encode()}))
    arrays.append(pa.array(np.array(crcs, np.uint32)))
    fields.append(pa.field(_CRC, pa.uint32()))
    about = {_KEY: key.encode(), _COUNTS: json.dumps(counts).encode()}
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, metadata=about))


def write_piece(path: Path, batch: pa.RecordBatch) -> None:
    """Write a piece, atomically."""
    with records.replacing(path) as temporary, pa.ipc.new_file(str(temporary), batch.schema) as writer:
        writer.write_batch(batch)


def open_piece(path: Path, key: str) -> pa.RecordBatch:
    """Map a piece. Raises Damaged where the file is none, or is of another key."""
    try:
        with pa.memory_map(str(path)) as file:
            batch = pa.ipc.open_file(file).get_batch(0)
        found = (batch.schema.metadata or {}).get(_KEY)
        if found == key.encode():
            TokenStore([batch], dict)  # which finds its columns
    except (OSError, pa.ArrowException, ValueError, TypeError, LookupError) as error:
        raise records.Damaged(path, str(error).splitlines()[0]) from error
    if found != key.encode():
        raise records.Damaged(path, "tokens of other rows or another tokenizer")
    return batch


class TokenStore(Sequence[T], Generic[T]):
    """Examples by number, each made by `kind` of views of its arrays, as keywords.

    batches: the pieces, mapped or in memory. paths: their files, to be named where one is damaged. lengths:
    tokens of each example, int32 [count]. counts: the sums of what the pieces counted.
    """

    def __init__(
        self, batches: Iterable[pa.RecordBatch], kind: Callable[..., T], paths: Sequence[Path] = ()
    ) -> None:
        self._kind, self._paths = kind, paths
        self._pieces = list[dict[str, tuple[np.ndarray, np.ndarray]]]()
        self._crcs = list[np.ndarray]()
        self.counts = Counter[str]()
        for batch in batches:
            fields = [field for field in batch.schema if pa.types.is_list(field.type)]
            self._pieces.append({field.name: _column(batch, field) for field in fields})
            self._crcs.append(batch.column(_CRC).to_numpy())
            self.counts.update(json.loads(batch.schema.metadata[_COUNTS]))
        self._ends = np.cumsum([len(crcs) for crcs in self._crcs], dtype=np.int64)
        sizes = [np.diff(piece["tokens"][0]).astype(np.int32) for piece in self._pieces if piece]
        self.lengths = np.concatenate(sizes) if sizes else np.zeros(0, np.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    def column(self, name: str) -> np.ndarray:
        """The values of an array of one element, of every example: [count]. They are held to no checksum."""
        found = [piece[name][1] for piece in self._pieces if piece]
        return np.concatenate(found) if found else np.zeros(0)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        """Raises Damaged where an example is not what was written."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._ends, index, side="right"))
        row = index - (int(self._ends[number - 1]) if number else 0)
        arrays = {
            name: values[offsets[row] : offsets[row + 1]]
            for name, (offsets, values) in self._pieces[number].items()
        }
        if _crc(arrays) != self._crcs[number][row]:
            path = self._paths[number] if self._paths else Path("memory")
            raise records.Damaged(path, f"the checksum of its example {row + 1} differs")
        return self._kind(**arrays)


def _column(batch: pa.RecordBatch, field: pa.Field) -> tuple[np.ndarray, np.ndarray]:
    """Offsets int32 [rows + 1] and values of a column, both views."""
    lists = cast(pa.ListArray, batch.column(field.name))
    dtype: Any = np.dtype(field.metadata[_DTYPE].decode())
    return lists.offsets.to_numpy(), lists.values.to_numpy(zero_copy_only=True).view(dtype)


def _crc(arrays: Arrays) -> int:
    found = 0
    for array in arrays.values():
        found = zlib.crc32(np.ascontiguousarray(array).data, found)
    return found
