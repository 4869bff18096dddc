"""The catalogue of the engine's programs: a row for each, made from sizes alone, without weights.

Decoder and scorer ask it for the program of a size and call no other; what they compile ahead is what it
lists. Benchmarks and tests lower its rows for devices that are not here.

    decoder: read, read on, store; keys, empty, admit, decode, store chunk, fit prefix, fit suffix
    scorer:  read, read on, store; score
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax.compilations import DeviceProgram, abstract
from rstar_jax.engine import pool, programs, sampling, stops
from rstar_jax.engine.requests import DecodeConfig
from rstar_jax.engine.shape import EngineModel
from rstar_jax.engine.sizes import Sizes
from rstar_jax.kernels import attention_mesh
from rstar_jax.models.params import param_specs
from rstar_jax.transforms import quantize

# Texts read at once, always so many, as their number shapes roundings: from their start, and from where they
# are known (mostly an interpreter's few words). One text alone keeps a core as busy as eight do.
_ROWS, _ROWS_ON_CPU, ROWS_ON = 8, 1, 4
# Requests whose values are started together, and groups (see below) that one program scores, always so many.
# On a CPU one group alone is as fast by the token, is not padded to the length of others, and has the same
# value, bit for bit, whatever is asked of other problems.
_GROUPS, _GROUPS_ON_CPU = 16, 1
# Candidates that share a row of the prefix cache; a request with more takes several rows. Few, because those
# that died in the sandbox leave ragged numbers, and padding costs as much as a candidate (4: a third slower).
GROUP = 2
COPIES = 16  # pages that are copied when a chunk's tokens are stored, at least: mostly fewer
# Equal rows of all catalogues are one object: to compare two looks at each of their hundreds of arrays, and a
# row is looked up at every call.
_KNOWN: dict[DeviceProgram, DeviceProgram] = {}
NAMES = 8  # a leaf's name has as many parts or fewer, or a multiple of it


def _row(make: Callable[..., tuple[Any, ...]]) -> Callable[..., DeviceProgram]:
    """Make the function, arguments and keywords of a method a row of its name, once for each set of sizes."""
    name = make.__name__.replace("_", " ")

    @functools.wraps(make)
    def row(self: Catalogue, *sizes: int) -> DeviceProgram:
        if (name, sizes) not in self._rows:
            made = DeviceProgram(name, sizes, *make(self, *sizes))
            self._rows[name, sizes] = _KNOWN.setdefault(made, made)
        return self._rows[name, sizes]

    return row


class Catalogue(Sizes):
    """Rows of one model on the devices that decode together.

    pages: of its pool. params: as `EngineModel.place` gives them, arrays or abstract; None: of the dtype that
    is computed with, or int8 as `config` says, without a reward head. table, bias: of the decoder's rules.

    In the sizes of rows B: leaves, N: rows of each, P: columns of prefixes, S: of suffixes, T: of tokens that
    are read or scored.
    """

    def __init__(
        self,
        shape: EngineModel,
        config: DecodeConfig,
        pages: int = 0,
        params: dict[str, Any] | None = None,
        table: stops.Table = stops.NOTHING,
        bias: jax.Array | None = None,
    ) -> None:
        if params is None:
            specs = param_specs(shape.config)
            params = {n: jax.ShapeDtypeStruct(s.shape, shape.compute_dtype) for n, s in specs.items()}
            params = shape.abstract_params(quantize.abstract(params) if config.weights == "int8" else params)
        super().__init__(config)
        self.shape, self.pages = shape, pages
        self.params = abstract(params)
        self.table, self.bias = shape.pinned((table, bias), None)
        self.pool = shape.abstract_pool(pages, config.page_size)
        on_cpu = attention_mesh.platform(shape.mesh) == "cpu"
        self.rows = _ROWS_ON_CPU if on_cpu else _ROWS
        self.together = min(_GROUPS, config.leaves)
        self.groups = _GROUPS_ON_CPU if on_cpu else self.together
        self._rows: dict[tuple[str, tuple[int, ...]], DeviceProgram] = {}

    @_row
    def read(self, T: int) -> tuple[Any, ...]:
        R = self.rows
        return pool.read, (self.params, _ints(R, T), _ints(R)), self._static()

    @_row
    def read_on(self, P: int, T: int) -> tuple[Any, ...]:
        R = ROWS_ON
        arguments = self.params, self.pool, self._tables(R, P), _ints(R), _ints(R, T), _ints(R)
        return pool.read_on, arguments, self._static()

    @_row
    def store(self, copies: int, *lead: int) -> tuple[Any, ...]:
        """Store keys and values [L, *lead, G, A] as they were computed."""
        return self._store(copies, lead, self.shape.compute_dtype)

    @_row
    def store_chunk(self, copies: int, B: int, N: int) -> tuple[Any, ...]:
        return self._store(copies, (self.config.chunk, B, N), self.shape.pool_dtype)

    def _store(self, copies: int, lead: tuple[int, ...], dtype: Any) -> tuple[Any, ...]:
        todo = pool.PageWrites(_ints(copies), _ints(copies), _ints(int(np.prod(lead))))
        arguments = self.pool, self.shape.abstract_pool(*lead, dtype=dtype), todo
        return pool.store_rows, arguments, self._static()

    @_row
    def keys(self, B: int, K: int) -> tuple[Any, ...]:
        seed = self.shape.pinned(_array(2, dtype=np.uint32), None)
        return sampling.leaf_keys, (seed, _array(B, K, dtype=np.uint32), _ints(B)), {}

    @_row
    def empty(self, B: int, N: int, P: int, S: int) -> tuple[Any, ...]:
        return programs.empty, (self.table,), self._static(B=B, N=N, P=P, S=S)

    @_row
    def admit(self, B: int, N: int, P: int, S: int) -> tuple[Any, ...]:
        ints = _ints(B)
        arrivals = programs.NewRequests(
            tables=self._tables(B, P),
            slot=ints,
            count=_ints(),
            prefix_length=ints,
            last=ints,
            first=ints,
            n=ints,
            limit=ints,
            opens=ints,
            temperature=_array(B, dtype=np.float32),
            key=self.shape.pinned(_array(B, 2, dtype=np.uint32), None),
        )
        return programs.admit, (self._slots(B, N, P, S), self.pool, arrivals), self._static()

    @_row
    def decode(self, B: int, N: int, P: int, S: int) -> tuple[Any, ...]:
        c = self.config
        arguments = self.params, self._slots(B, N, P, S), self.bias, self.table, _ints()
        more = {"S": S, "chunk": c.chunk, "top_k": c.top_k, "top_p": c.top_p, "min_p": c.min_p}
        return programs.advance, arguments, self._static(**more)

    @_row
    def fit_prefix(self, B: int, P: int, to: int) -> tuple[Any, ...]:
        return self._fit(*(self._slots(B, 1, columns, 1).prefix for columns in (P, to)))

    @_row
    def fit_suffix(self, B: int, N: int, S: int, to: int) -> tuple[Any, ...]:
        return self._fit(*(self._slots(B, N, 1, columns).suffix for columns in (S, to)))

    def _fit(self, old: Any, new: Any) -> tuple[Any, ...]:
        return programs.fit, (old,), self._static(sizes=tuple(a.shape for a in jax.tree.leaves(new)))

    @_row
    def score(self, P: int, T: int) -> tuple[Any, ...]:
        B = self.groups
        arguments = self._tables(B, P), _ints(B), _ints(B, GROUP, T), _ints(B, GROUP)
        return programs.values, (self.params, self.pool, *arguments), self._static()

    def reading(self, shortest: int) -> Iterator[DeviceProgram]:
        """List what reading texts of the shortest's length or more takes, and few tokens behind them."""
        for T in self.first(shortest):
            yield from (self.read(T), self.store(self.rows, self.rows, T))
        for T in self.few():
            yield from (self.read_on(P, T) for P in self.prefixes(shortest))
            yield self.store(ROWS_ON, ROWS_ON, 1, T)

    def decoding(self, shortest: int, candidates: Iterable[int]) -> list[DeviceProgram]:
        """List what a decoder may need, but for long texts behind known ones. Arguments as of
        `StepDecoder.programs`."""
        found = [*self.reading(shortest)]
        prefixes, suffixes = self.decoded(shortest), self.suffixes()
        for B in sorted({*self.config.batches}):
            found.append(self.keys(B, NAMES))
            found += [self.fit_prefix(B, *sizes) for sizes in _fits(prefixes)]
            for N in self.at_once(candidates):
                found += [self.fit_suffix(B, N, *sizes) for sizes in _fits(suffixes)]
                found += [self.store_chunk(copies, B, N) for copies in _doubled(COPIES, B * N)]
                found += [self.empty(B, N, P, suffixes[0]) for P in prefixes]
                sizes = [(B, N, P, S) for P in prefixes for S in suffixes]
                found += [row(*each) for each in sizes for row in (self.decode, self.admit)]
        return list(dict.fromkeys(found))

    def scoring(self, shortest: int) -> list[DeviceProgram]:
        """List what a scorer may need, likewise."""
        found = [*self.reading(shortest)]
        for T in self.scored():
            found += [self.score(P, T) for P in self.prefixes(shortest)]
            found.append(self.store(self.groups * GROUP, self.groups, GROUP, T))
        return list(dict.fromkeys(found))

    def _slots(self, B: int, N: int, P: int, S: int) -> programs.Slots:
        slots = programs.empty.eval_shape(self.table, **self._static(B=B, N=N, P=P, S=S))
        return programs.by_field(self.shape.pinned, slots)

    def _tables(self, B: int, P: int) -> Any:
        return _ints(B, -(-P // self.config.page_size))

    def _static(self, **more: Any) -> dict[str, Any]:
        return {"shape": self.shape, **more}


def misfit(columns: int, wanted: int) -> bool:
    """Return whether a cache is to be made wider, or is so much too wide that it pays to make it narrower."""
    return wanted > columns or wanted <= columns // 4


def _fits(sizes: list[int]) -> list[tuple[int, int]]:
    """Pairs of sizes from and to which caches are fitted."""
    return [(columns, wanted) for columns in sizes for wanted in sizes if misfit(columns, wanted)]


def _doubled(least: int, most: int) -> Iterator[int]:
    size = least
    yield size
    while size < most:
        size *= 2
        yield size


def _array(*size: int, dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(size, dtype)


def _ints(*size: int) -> Any:
    """An array that the host makes."""
    return _array(*size, dtype=jnp.int32)
