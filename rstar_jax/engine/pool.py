"""The pool of pages on the device: keys and values of all texts, in arrays that are changed in place.

Which page holds what is told by the host (`pages.py`). A slot is a token's place: page * page_size + offset.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax.compilations import jit
from rstar_jax.engine.shape import EngineModel
from rstar_jax.models import KV
from rstar_jax.models.bfloat16 import same_bits
from rstar_jax.models.cache import lay_out, whole


class PageWrites(NamedTuple):
    """Pages to copy, then where R tokens go; what lies beyond the pool is not done."""

    copy_from: np.ndarray  # [M] int32
    copy_to: np.ndarray  # [M] int32
    slots: np.ndarray  # [R] int32


def orders(copies: Sequence[tuple[int, int]], room: int, pages: int, slots: np.ndarray) -> PageWrites:
    """Page writes for copies (from, to), at most `room` of them, in a pool of so many pages."""
    source, target = np.zeros(room, np.int32), np.full(room, pages, np.int32)
    for i, (one, other) in enumerate(copies):
        source[i], target[i] = one, other
    return PageWrites(source, target, slots.reshape(-1))


def store(pool: KV, new: KV, todo: PageWrites) -> KV:
    """The pool after copies and writes. new: [L, R, G, A]. Donate the pool."""

    def one(pages: jax.Array, rows: jax.Array) -> jax.Array:
        L, count, size = pages.shape[:3]
        pages = pages.at[:, todo.copy_to].set(pages[:, todo.copy_from], mode="drop")
        flat = pages.reshape(L, count * size, *pages.shape[3:])
        return flat.at[:, todo.slots].set(same_bits(rows, flat.dtype), mode="drop").reshape(pages.shape)

    return one(pool[0], new[0]), one(pool[1], new[1])


@functools.partial(jit, static_argnames="shape", donate_argnums=0)
def store_rows(pool: KV, new: KV, todo: PageWrites, *, shape: EngineModel) -> KV:
    """`store`, compiled. new: [L, ..., G, A], rows in the order of todo.slots."""
    k, v = (a.reshape(a.shape[0], -1, *a.shape[-2:]) for a in new)
    return shape.pin_pool(store(pool, (k, v), todo))


def gather(pool: KV, tables: jax.Array, dtype: Any) -> KV:
    """The caches [L, R, Q * page_size, G, A], of this dtype, of R texts that lie in pages [R, Q] int32."""

    def one(pages: jax.Array) -> jax.Array:
        found = jnp.take(pages, tables, axis=1)
        return same_bits(found.reshape(*found.shape[:2], -1, *found.shape[4:]), dtype)

    return one(pool[0]), one(pool[1])


@functools.partial(jit, static_argnames="shape")
def read(
    params: dict[str, jax.Array], tokens_RxP: jax.Array, length_R: jax.Array, *, shape: EngineModel
) -> KV:
    """Keys and values [L, R, P, G, A] of the first `length` tokens of each row, texts from their start."""
    return shape.pin_pool(shape.build(params).prefill(tokens_RxP, length_R)[1])


@functools.partial(jit, static_argnames="shape")
def read_on(
    params: dict[str, jax.Array],
    pool: KV,
    tables_RxQ: jax.Array,
    known_R: jax.Array,
    tokens_RxT: jax.Array,
    length_R: jax.Array,
    *,
    shape: EngineModel,
) -> KV:
    """Keys and values [L, R, 1, T, G, A] of further tokens of texts; the pool holds the first `known`.

    length: of the whole texts. Not stored by the same program: XLA would copy a pool that it also reads.
    """
    model = shape.build(params)
    R, T = tokens_RxT.shape
    shared = model.share(lay_out(gather(pool, tables_RxQ, shape.compute_dtype)), known_R, T, length_R)
    suffix = model.empty_suffix(R, 1, T)
    return shape.pin_pool(whole(model.extend(tokens_RxT[:, None], jnp.int32(0), shared, known_R, suffix)[2]))
