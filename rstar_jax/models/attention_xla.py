"""Causal attention in plain array operations, for every platform and shape; what kernels are checked against.

Long rows go in blocks of queries, each with the keys that it may see at all: half of the multiplications of
the whole square, and no more of it at once than a block's rows. The backward pass computes a block again.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

MASKED = -1e30
_EVERYTHING = 2**30  # a window that no text fills


class Sometimes(NamedTuple):
    """A window of `size` tokens where `applies`, an array: layers that are scanned, of which only some slide."""

    size: int
    applies: jax.Array


# How many tokens, itself among them, a token sees; an array where it is not known before it runs; None: all.
Window = int | jax.Array | Sometimes | None


def bound(window: Window) -> int | jax.Array | None:
    """The window as one number, or none."""
    return jnp.where(window.applies, window.size, _EVERYTHING) if isinstance(window, Sometimes) else window


def softcap(x: jax.Array, cap: float | None) -> jax.Array:
    """cap * tanh(x / cap): x where it is small, never beyond the cap (arXiv 2408.00118, section 2)."""
    return x if cap is None else cap * jnp.tanh(x / cap)


def seen(
    rows: jax.Array, columns: jax.Array, segments: tuple[jax.Array, jax.Array] | None, window: Window
) -> jax.Array:
    """[B or 1, Q, K]: whether the token at place rows[i] sees that at columns[j].

    segments: [B, Q] and [B, K] of the two, or None where all of a row is one.
    """
    mask = (rows[:, None] >= columns)[None]
    width = bound(window)
    if width is not None:
        mask = mask & (rows[:, None] - columns < width)
    if segments is not None:
        mask = mask & (segments[0][:, :, None] == segments[1][:, None, :])
    return mask


def causal(
    q_BxTxHxA: jax.Array,
    k_BxTxGxA: jax.Array,
    v_BxTxGxC: jax.Array,
    segments_BxT: jax.Array | None,
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
    block = min(block or T, T)
    if block == T:
        out = _rows(0, 0, cap, q, k, v, segments_BxT, segments_BxT, window)
    else:
        reach = window if isinstance(window, int) else T
        # In float32, so that what the blocks add to the gradients of keys and values is added so.
        k32, v32 = k.astype(jnp.float32), v.astype(jnp.float32)
        pieces = []
        for first in range(0, T, block):
            end = min(first + block, T)
            left = max(0, first - reach + 1) // block * block
            run = jax.checkpoint(functools.partial(_rows, first, left, cap))
            s_q, s_k = (
                (None, None)
                if segments_BxT is None
                else (segments_BxT[:, first:end], segments_BxT[:, left:end])
            )
            near = k32[..., left:end].astype(k.dtype), v32[:, :, left:end].astype(v.dtype)
            pieces.append(run(q[:, :, :, first:end], *near, s_q, s_k, window))
        out = jnp.concatenate(pieces, axis=3)
    return jnp.transpose(out, (0, 3, 1, 2, 4)).reshape(B, T, H, C)


def _rows(
    first: int,
    left: int,
    cap: float | None,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    segments_q: jax.Array | None,
    segments_k: jax.Array | None,
    window: Window,
) -> jax.Array:
    """Queries [B, G, M, Q, A] from place `first` on, keys [B, G, A, K] from `left` on: [B, G, M, Q, C]."""
    B, G, M, Q, A = q.shape
    K = k.shape[-1]
    logits = softcap(dot(q.reshape(B, G, M * Q, A), k), cap).reshape(B, G, M, Q, K)
    both = None if segments_q is None or segments_k is None else (segments_q, segments_k)
    mask = seen(first + jnp.arange(Q), left + jnp.arange(K), both, window)
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
