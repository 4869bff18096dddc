"""Causal attention in plain array operations, for every platform and shape; what kernels are checked against.

Long rows go in blocks of queries, which leaves out most of what no query sees, and never holds more of the
square than a few blocks. The backward pass computes a block again.

             keys 0                         T
    queries 0     +-------+                        a band: blocks of queries of one height, one after another
                  |#######|  band 0                in a scan, all against the keys that its last block sees;
                  +-------+-------+                bands are unrolled
                  |###############|  band 1
                  +---------------+-------+
                  |#######################|  band 2
                  +-----------------------+-------+
            T     |###############################|  band 3; with a window its keys begin further right
                  +-------------------------------+
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

MASKED = -1e30
BANDS = 4  # 62 percent of the square; 8 would make it 56, and take twice as long to compile.
_EVERYTHING = 2**30  # a window that no text fills


class Sometimes(NamedTuple):
    """A window of `size` tokens where `applies`, an array: scanned layers, of which only some slide."""

    size: int
    applies: jax.Array


# How many tokens, itself among them, a token sees; an array where it is not known before it runs; None: all.
Window = int | jax.Array | Sometimes | None


class Intervals(NamedTuple):
    """Rows of trees, each in depth-first order: what stands above a token, and it itself, is what it sees.

    ends: [B, T] int32, the place behind the last token below each; token i sees token j iff j <= i < ends[j].
    So a token sees nothing of another tree of its row. depths: [B, T] int32, tokens above each; windows
    count these.
    """

    ends: jax.Array
    depths: jax.Array


# What tokens of a row see of each other: their own segment [B, T] int32, what is above them, or all (None);
# of what stands before them.
Packed = jax.Array | Intervals | None


class Part(NamedTuple):
    """Queries of a part of the row's tokens: the place of its first one, and what of `Packed` is theirs."""

    first: jax.Array
    packed: Packed


def bound(window: Window) -> int | jax.Array | None:
    """The window as one number, or none."""
    return jnp.where(window.applies, window.size, _EVERYTHING) if isinstance(window, Sometimes) else window


def softcap(x: jax.Array, cap: float | None) -> jax.Array:
    """cap * tanh(x / cap): x where it is small, never beyond the cap (arXiv 2408.00118, section 2)."""
    return x if cap is None else cap * jnp.tanh(x / cap)


def seen(rows: jax.Array, columns: jax.Array, packed: tuple[Packed, Packed], window: Window) -> jax.Array:
    """[B or 1, Q, K]: whether the token at place rows[i] sees that at columns[j].

    packed: that of the rows' tokens and of the columns'.
    """
    of_rows, of_columns = packed
    mask = (rows[:, None] >= columns[None])[None]
    distance = (rows[:, None] - columns[None])[None]
    if isinstance(of_rows, Intervals):
        assert isinstance(of_columns, Intervals)
        mask = mask & (rows[None, :, None] < of_columns.ends[:, None, :])
        distance = of_rows.depths[:, :, None] - of_columns.depths[:, None, :]
    elif of_rows is not None:
        assert of_columns is not None and not isinstance(of_columns, Intervals)
        mask = mask & (of_rows[:, :, None] == of_columns[:, None, :])
    width = bound(window)
    return mask if width is None else mask & (distance < width)


def causal(
    q_BxTxHxA: jax.Array,
    k_BxTxGxA: jax.Array,
    v_BxTxGxC: jax.Array,
    packed: Packed,
    window: Window,
    cap: float | None,
    block: int | None = None,
) -> jax.Array:
    """`attention.causal` in blocks of so many queries; None: all in one.

    Holds float32 logits of [B, H, block, T], forward and backward.
    """
    B, T, H, A = q_BxTxHxA.shape
    G, C = v_BxTxGxC.shape[2:]
    q = jnp.transpose(q_BxTxHxA.reshape(B, T, G, H // G, A), (0, 2, 3, 1, 4))
    k, v = jnp.transpose(k_BxTxGxA, (0, 2, 3, 1)), jnp.transpose(v_BxTxGxC, (0, 2, 1, 3))
    if block is None or block >= T:
        out = _rows(0, 0, cap, q, k, v, packed, packed, window)
    else:
        out = _by_blocks(block, cap, q, k, v, packed, window)
    return jnp.transpose(out, (0, 3, 1, 2, 4)).reshape(B, T, H, C)


def of_part(
    q_BxQxHxA: jax.Array,
    k_BxTxGxA: jax.Array,
    v_BxTxGxC: jax.Array,
    packed: Packed,
    window: Window,
    cap: float | None,
    part: Part,
    block: int,
) -> jax.Array:
    """`causal` for the queries of a part of a row, in blocks of so many: [B, Q, H, C].

    Which keys no query sees is not known before it runs: all are computed with.
    """
    B, Q, H, A = q_BxQxHxA.shape
    G, C = v_BxTxGxC.shape[2:]
    size = block if Q % block == 0 else Q
    q = jnp.transpose(q_BxQxHxA.reshape(B, Q, G, H // G, A), (0, 2, 3, 1, 4))
    k, v = jnp.transpose(k_BxTxGxA, (0, 2, 3, 1)), jnp.transpose(v_BxTxGxC, (0, 2, 1, 3))
    run = functools.partial(jax.checkpoint(_block, static_argnums=(0, 1), prevent_cse=False), 0, cap)
    # In float32, so that what the blocks add to the gradients of keys and values is added so.
    run = functools.partial(run, k.astype(jnp.float32), v.astype(jnp.float32), packed, window)
    xs = (
        part.first + jnp.arange(0, Q, size),
        _cut(q, 3, size),
        jax.tree.map(lambda x: _cut(x, 1, size), part.packed),
    )
    _, out = jax.lax.scan(lambda _, xs: (None, run(*xs)), None, xs)
    out = jnp.moveaxis(out, 0, 3).reshape(*q.shape[:-1], C)
    return jnp.transpose(out, (0, 3, 1, 2, 4)).reshape(B, Q, H, C)


def _by_blocks(
    block: int,
    cap: float | None,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    packed: Packed,
    window: Window,
) -> jax.Array:
    """Bands of blocks, one band after the other; its blocks share the keys that the last one sees."""
    T = q.shape[3]
    # Of a tree, what is few tokens above may stand many places before.
    reach = window if isinstance(window, int) and not isinstance(packed, Intervals) else T
    # In float32, so that what the blocks add to the gradients of keys and values is added so.
    k32, v32 = k.astype(jnp.float32), v.astype(jnp.float32)
    bands = []
    for first, count, size in _bands(T, block):
        end = first + count * size
        left = max(0, first - reach + 1)

        band_k, band_v = k32[..., left:end], v32[:, :, left:end]
        band_q = q[:, :, :, first:end]
        packed_q, packed_k = (
            jax.tree.map(lambda x, i=i, end=end: x[:, i:end], packed) for i in (first, left)
        )
        run = functools.partial(jax.checkpoint(_block, static_argnums=(0, 1), prevent_cse=False), left, cap)
        run = functools.partial(run, band_k, band_v, packed_k, window)
        if count == 1:
            bands.append(run(first, band_q, packed_q))
            continue
        blocks = jax.tree.map(lambda x, size=size: _cut(x, 1, size), packed_q)
        xs = jnp.arange(first, end, size), _cut(band_q, 3, size), blocks
        _, out = jax.lax.scan(lambda _, xs, run=run: (None, run(*xs)), None, xs)
        bands.append(jnp.moveaxis(out, 0, 3).reshape(*band_q.shape[:-1], -1))
    return jnp.concatenate(bands, axis=3)


def _block(
    left: int,
    cap: float | None,
    k: jax.Array,
    v: jax.Array,
    packed_k: Packed,
    window: Window,
    first: int | jax.Array,
    q: jax.Array,
    packed_q: Packed,
) -> jax.Array:
    return _rows(first, left, cap, q, k.astype(q.dtype), v.astype(q.dtype), packed_q, packed_k, window)


def _bands(T: int, block: int) -> list[tuple[int, int, int]]:
    """(first row, blocks, rows of a block) of each band: about `BANDS` of them, and one for what is left."""
    per_band = max(1, T // block // BANDS)
    starts = range(0, T // block, per_band)
    bands = [(i * block, min(per_band, T // block - i), block) for i in starts]
    return bands + ([(T - T % block, 1, T % block)] if T % block else [])


def _cut(x: jax.Array, axis: int, size: int) -> jax.Array:
    """An axis in pieces of `size`: [..., T, ...] to [pieces, ..., size, ...]."""
    return jnp.moveaxis(x.reshape(*x.shape[:axis], -1, size, *x.shape[axis + 1 :]), axis, 0)


def _rows(
    first: int | jax.Array,
    left: int,
    cap: float | None,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    packed_q: Packed,
    packed_k: Packed,
    window: Window,
) -> jax.Array:
    """Queries [B, G, M, Q, A] from place `first` on, keys [B, G, A, K] from `left` on: [B, G, M, Q, C]."""
    B, G, M, Q, A = q.shape
    K = k.shape[-1]
    logits = softcap(dot(q.reshape(B, G, M * Q, A), k), cap).reshape(B, G, M, Q, K)
    mask = seen(first + jnp.arange(Q), left + jnp.arange(K), (packed_q, packed_k), window)
    logits = jnp.where(mask[:, None, None], logits, MASKED)
    weights = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
    total = jnp.sum(weights, axis=-1, keepdims=True)
    out = dot(weights.astype(v.dtype).reshape(B, G, M * Q, K), v)
    return (out.reshape(B, G, M, Q, -1) / total).astype(v.dtype)


@jax.custom_vjp
def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """a @ b with sums in float32; in the backward pass, too, factors have the operands' dtype.

    Left alone JAX would multiply float32 gradients with operands made float32: slower wherever the hardware
    multiplies bfloat16 faster.
    """
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def _dot_forward(a: jax.Array, b: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return dot(a, b), (a, b)


def _dot_backward(operands: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    a, b = operands
    g = g.astype(a.dtype)
    by_a = jnp.matmul(g, jnp.swapaxes(b, -1, -2), preferred_element_type=jnp.float32)
    by_b = jnp.matmul(jnp.swapaxes(a, -1, -2), g, preferred_element_type=jnp.float32)
    return by_a.astype(a.dtype), by_b.astype(b.dtype)


dot.defvjp(_dot_forward, _dot_backward)
