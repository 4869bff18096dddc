"""Attention, all of it: causal inside segments, and candidates against a prefix that they share.

Queries come scaled and rotated, keys rotated; windows and soft caps are applied here. Softmax is in float32.
Heads are grouped: query head h reads key/value head h // (H / G), and keys are never repeated. Masked logits
are a large negative number, not -inf, so that a row with nothing to see stays finite.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

MASKED = -1e30

KV = tuple[jax.Array, jax.Array]
# How many tokens, itself among them, a token sees; an array where layers that are scanned differ; None: all.
Window = int | jax.Array | None


def causal(
    q_BxTxHxA: jax.Array,
    k_BxTxGxA: jax.Array,
    v_BxTxGxC: jax.Array,
    segments_BxT: jax.Array | None,
    window: Window = None,
    cap: float | None = None,
) -> jax.Array:
    """Each token sees itself and what stands before it in its own segment (all of the row if None).

    Returns [B, T, H, C] in the values' dtype. "Before" is by place in the row, whatever the positions; so
    is `window`: a token sees itself and the window - 1 tokens before it. cap: soft cap of the logits.
    """
    B, T, H, A = q_BxTxHxA.shape
    G, C = v_BxTxGxC.shape[2:]
    M = H // G
    q = jnp.transpose(q_BxTxHxA.reshape(B, T, G, M, A), (0, 2, 3, 1, 4)).reshape(B, G, M * T, A)
    k, v = jnp.transpose(k_BxTxGxA, (0, 2, 3, 1)), jnp.transpose(v_BxTxGxC, (0, 2, 1, 3))
    logits = jnp.matmul(q, k, preferred_element_type=jnp.float32).reshape(B, G, M, T, T)
    mask = jnp.tril(jnp.ones((T, T), bool))[None]
    if window is not None:
        mask = mask & (jnp.arange(T)[:, None] - jnp.arange(T) < window)
    if segments_BxT is not None:
        mask = mask & (segments_BxT[:, :, None] == segments_BxT[:, None, :])
    logits = jnp.where(mask[:, None, None], softcap(logits, cap), MASKED)
    weights = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
    total = jnp.sum(weights, axis=-1, keepdims=True)
    out = jnp.matmul(weights.astype(v.dtype).reshape(B, G, M * T, T), v, preferred_element_type=jnp.float32)
    out = jnp.transpose(out.reshape(B, G, M, T, C) / total, (0, 3, 1, 2, 4))
    return out.reshape(B, T, H, C).astype(v.dtype)


def softcap(x: jax.Array, cap: float | None) -> jax.Array:
    """cap * tanh(x / cap): x where it is small, never beyond the cap (arXiv 2408.00118, section 2)."""
    return x if cap is None else cap * jnp.tanh(x / cap)


def widen(v: jax.Array) -> jax.Array:
    """Values [..., A] with A filled up with zeros to whole vectors of 16, as they are cached.

    On a CPU weights x values takes half as long again with odd widths; usual heads are whole already.
    """
    more = -v.shape[-1] % 16
    return jnp.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, more)]) if more else v


def per_row(start: jax.Array) -> jax.Array:
    """A start that is a scalar, [B] or [B, N], so shaped that it broadcasts against [B, N]."""
    return start if start.ndim == 2 else start.reshape(-1, 1)


def write_suffix(k: jax.Array, v: jax.Array, new: KV, start: jax.Array) -> KV:
    """Puts new keys and values [B, N, T, G, A] into slots start … start+T-1 of one layer's suffix cache.

    k is [B, N, G, A, S] and v [B, N, G, S, A'], A' as `widen` has it: as the matmuls of `shared_prefix`
    read them, which on a CPU saves two transposed copies of the cache per token. `start` is a scalar (one
    slice update), [B] or [B, N] (a select over the cache, which XLA does in place).
    """
    S, T = v.shape[3], new[0].shape[2]
    new_k, new_v = jnp.transpose(new[0], (0, 1, 3, 4, 2)), widen(jnp.transpose(new[1], (0, 1, 3, 2, 4)))
    if start.ndim == 0:
        return (
            jax.lax.dynamic_update_slice(k, new_k, (0, 0, 0, 0, start)),
            jax.lax.dynamic_update_slice(v, new_v, (0, 0, 0, start, 0)),
        )
    which = jnp.arange(S) - per_row(start)[..., None]  # [B, N or 1, S]: the new token that a slot gets
    here = (which >= 0) & (which < T)
    if T > 1:
        at = jnp.clip(which, 0, T - 1)
        new_k = jnp.take_along_axis(new_k, at[:, :, None, None, :], axis=4)
        new_v = jnp.take_along_axis(new_v, at[:, :, None, :, None], axis=3)
    return (
        jnp.where(here[:, :, None, None, :], new_k, k),
        jnp.where(here[:, :, None, :, None], new_v, v),
    )


def shared_prefix(
    q_BxNxTxHxA: jax.Array,
    prefix: KV,
    prefix_length_B: jax.Array,
    suffix: KV,
    start: jax.Array,
    window: Window = None,
    cap: float | None = None,
) -> jax.Array:
    """Token t of each candidate sees its leaf's prefix and its own suffix slots up to start + t.

    prefix: keys [B, G, A, P] and values [B, G, P, A'], one matmul for all candidates of a leaf; entries
    from prefix_length on are not seen. suffix: keys [B, N, G, A, S] and values [B, N, G, S, A'], the new
    ones written already. start: scalar, [B] or [B, N]. window, cap: as for `causal`. Each part has its
    softmax; the two are joined by their maxima and sums, as one softmax over both would give. Returns
    [B, N, T, H, A] in the values' dtype.
    """
    k, v = suffix
    B, N, T, H, A = q_BxNxTxHxA.shape
    G, S, P = k.shape[2], k.shape[4], prefix[0].shape[-1]
    M = H // G
    q = q_BxNxTxHxA.reshape(B, N, T, G, M, A)
    place = (per_row(start)[..., None] + jnp.arange(T))[..., None]  # [B or 1, N or 1, T, 1]: own suffix slot
    seen = jnp.arange(S) <= place
    if window is not None:
        seen = seen & (place - jnp.arange(S) < window)
    q_near = jnp.transpose(q, (0, 1, 3, 2, 4, 5)).reshape(B, N, G, T * M, A)
    out, top, total = _part(q_near, k, v, jnp.repeat(seen, M, axis=2)[:, :, None], cap)
    out = out.reshape(B, N, G, T, M, -1)
    top, total = top.reshape(B, N, G, T, M, 1), total.reshape(B, N, G, T, M, 1)
    if P:
        q_far = jnp.transpose(q, (0, 3, 1, 2, 4, 5)).reshape(B, G, N * T * M, A)
        seen = (jnp.arange(P) < prefix_length_B[:, None])[:, None]  # [B, 1, P]
        if window is not None:
            near = prefix_length_B[:, None, None, None] + place - jnp.arange(P) < window
            near = jnp.broadcast_to(near[..., None, :], (B, N, T, M, P)).reshape(B, N * T * M, P)
            seen = seen & near
        far = _part(q_far, *prefix, seen[:, None], cap)
        far_out, far_top, far_total = (
            jnp.transpose(x.reshape(B, G, N, T, M, -1), (0, 2, 1, 3, 4, 5)) for x in far
        )
        both = jnp.maximum(top, far_top)
        near_share, far_share = jnp.exp(top - both), jnp.exp(far_top - both)
        out = out * near_share + far_out * far_share
        total = total * near_share + far_total * far_share
    out = jnp.transpose(out[..., :A] / total, (0, 1, 3, 2, 4, 5))
    return out.reshape(B, N, T, H, A).astype(v.dtype)


def _part(
    q: jax.Array, k: jax.Array, v: jax.Array, seen: jax.Array, cap: float | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Attention over some of the keys: [..., Q, A] x [..., A, K] x [..., K, A], all sums in float32.

    Returns the weighted sum of values, not yet divided, the maximal logit and the sum of exponentials.
    """
    logits = softcap(jnp.matmul(q, k, preferred_element_type=jnp.float32), cap)
    logits = jnp.where(seen, logits, MASKED)
    top = jnp.max(logits, axis=-1, keepdims=True)
    weights = jnp.exp(logits - top)
    out = jnp.matmul(weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return out, top, jnp.sum(weights, axis=-1, keepdims=True)
