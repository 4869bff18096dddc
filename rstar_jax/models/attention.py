"""Attention, all of it: causal inside segments and trees, and candidates against a prefix that they share.

Queries come scaled and rotated, keys rotated; windows and soft caps are applied here. Softmax is in float32.
Heads are grouped: query head h reads key/value head h // (H / G), and keys are never repeated. Masked logits
are a large negative number, not -inf, so that a row with nothing to see stays finite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh

from rstar_jax.kernels import attention_gpu, attention_mesh, attention_tpu, attention_xla
from rstar_jax.kernels.attention_xla import MASKED, Intervals, Packed, Sometimes, Window, bound, softcap
from rstar_jax.models.bfloat16 import rounded, select
from rstar_jax.models.config import DecoderConfig

__all__ = [
    "MASKED",
    "Intervals",
    "Packed",
    "Sometimes",
    "Window",
    "causal",
    "choose",
    "describe",
    "shared_prefix",
    "softcap",
]

KV = tuple[jax.Array, jax.Array]
# What `part` returns of queries [B, G, N * T * M, A], or [B, N, G, T * M, A] where it is a candidate's own.
AttendPart = Callable[[jax.Array], tuple[jax.Array, jax.Array, jax.Array]]
# Plain attention by platform: queries per block, and from how many tokens on. On a CPU blocks of 64 and 128
# are best, and below 512 tokens what they save does not pay for the longer compilation.
BLOCKS = {"cpu": (64, 512)}
OTHER_BLOCKS = (512, 1024)


def causal(
    q_BxTxHxA: jax.Array,
    k_BxTxGxA: jax.Array,
    v_BxTxGxC: jax.Array,
    packed: Packed,
    window: Window = None,
    cap: float | None = None,
    *,
    mesh: Mesh | AbstractMesh | None = None,
    kind: str = "auto",
) -> jax.Array:
    """Each token sees itself and what stands before it in its own segment (all of the row if None), or above
    it in its tree.

    Returns [B, T, H, C] in the values' dtype. "Before" is by place in the row, whatever the positions; so
    is `window`, but in trees, by depth: a token sees itself and the window - 1 tokens before it. cap: soft
    cap of the logits.

    mesh: over which batch and heads are split, and by its context axis the queries' tokens; by default that
    of `jax.set_mesh`, else one device. Its platform decides on the kernel, also when compiling ahead of time
    for another one than is here. kind: a result of `choose`, or "auto": what `choose` says. A kernel that
    cannot do it raises what it raises.
    """
    mesh = attention_mesh.current_mesh() if mesh is None else mesh
    platform = attention_mesh.platform(mesh)
    if kind == "auto":
        shapes = q_BxTxHxA.shape, k_BxTxGxA.shape, v_BxTxGxC.shape
        kind, _ = choose(*shapes, v_BxTxGxC.dtype, packed is not None, window, cap, platform)
    block = BLOCKS.get(platform, OTHER_BLOCKS)[0] if kind == "blocks" else None
    if attention_mesh.splits_tokens(mesh, q_BxTxHxA.shape[1]):

        def of_part(q, k, v, packed, window, part):
            if kind == "splash" and not attention_tpu.missing(q.shape, v.shape, window):
                return attention_tpu.of_part(q, k, v, packed, window, cap, part, interpret=platform != "tpu")
            return attention_xla.of_part(q, k, v, packed, window, cap, part, block or OTHER_BLOCKS[0])

        return attention_mesh.split(mesh, of_part, q_BxTxHxA, k_BxTxGxA, v_BxTxGxC, packed, window)
    if kind in ("whole", "blocks"):
        return attention_xla.causal(q_BxTxHxA, k_BxTxGxA, v_BxTxGxC, packed, window, cap, block)

    def kernel(q, k, v, packed, window):
        if kind == "splash":
            return attention_tpu.causal(q, k, v, packed, window, cap, interpret=platform != "tpu")
        return attention_gpu.causal(q, k, v, packed, window)

    return attention_mesh.split(mesh, kernel, q_BxTxHxA, k_BxTxGxA, v_BxTxGxC, packed, window)


def choose(
    q_shape: tuple[int, ...],
    k_shape: tuple[int, ...],
    v_shape: tuple[int, ...],
    dtype: Any,
    segments: bool,
    window: Window,
    cap: float | None,
    platform: str,
) -> tuple[str, str]:
    """Choose the way of `causal` for arrays of these shapes; say why not the platform's kernel ("" if it is).

    "splash" on a TPU, "cudnn" on an NVIDIA GPU; else, or where they cannot, plain operations: "blocks" of
    queries for rows long enough, "whole" for short ones. platform: as `attention_mesh.platform` has it.
    """
    why = f"no kernel for {platform}"
    if platform == "tpu":
        why = attention_tpu.missing(q_shape, v_shape, window)
    elif platform == "cuda":
        why = attention_gpu.missing(q_shape, v_shape, dtype, segments, cap)
    if not why:
        return ("splash" if platform == "tpu" else "cudnn"), ""
    return ("blocks" if q_shape[1] >= BLOCKS.get(platform, OTHER_BLOCKS)[1] else "whole"), why


def describe(c: DecoderConfig, T: int, dtype: Any, mesh: Mesh | None = None) -> str:
    """One line for a log: how packed rows of T tokens are attended to in this decoder."""
    platform = attention_mesh.platform(mesh)
    A, C = (c.latent.nope + c.latent.rope, c.latent.value) if c.latent else (c.head_dim, c.head_dim)
    G = c.heads if c.latent else c.kv_heads
    shapes = (1, T, c.heads, A), (1, T, G, A), (1, T, G, C)
    kind, why = choose(*shapes, dtype, True, c.window, c.attention_softcap, platform)
    return f"attention over {T} tokens on {platform}: {kind}" + (f" ({why})" if why else "")


def widen(v: jax.Array, vector: int = 16) -> jax.Array:
    """Values [..., A] with A filled up with zeros to whole vectors, as they are cached.

    On a CPU weights x values takes half as long again with odd widths; usual heads are whole already.
    """
    more = -v.shape[-1] % vector
    return jnp.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, more)]) if more else v


def per_row(start: jax.Array) -> jax.Array:
    """A start that is a scalar, [B] or [B, N], so shaped that it broadcasts against [B, N]."""
    return start if start.ndim == 2 else start.reshape(-1, 1)


def write_suffix(k: jax.Array, v: jax.Array, new: KV, start: jax.Array) -> KV:
    """Put new keys and values [B, N, T, G, A] into slots start … start+T-1 of one layer's suffix cache.

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
    # [B, N or 1, S]: the new token that a slot gets
    token = jnp.arange(S)[None, None] - per_row(start)[..., None]
    written = (token >= 0) & (token < T)
    if T > 1:
        token = jnp.clip(token, 0, T - 1)
        new_k = jnp.take_along_axis(new_k, token[:, :, None, None, :], axis=4)
        new_v = jnp.take_along_axis(new_v, token[:, :, None, :, None], axis=3)
    return (
        jnp.where(written[:, :, None, None, :], new_k, k),  # `select` is three times as slow here
        select(written[:, :, None, :, None], new_v, v),
    )


def shared_prefix(
    q_BxNxTxHxA: jax.Array,
    prefix: KV,
    prefix_length_B: jax.Array,
    suffix: KV,
    start: jax.Array,
    window: Window = None,
    cap: float | None = None,
    attend_prefix: AttendPart | None = None,
    attend_suffix: AttendPart | None = None,
) -> jax.Array:
    """Token t of each candidate sees its leaf's prefix and its own suffix slots up to start + t.

    prefix: keys [B, G, A, P] and values [B, G, P, A'], one matmul for all candidates of a leaf; entries
    from prefix_length on are not seen. suffix: keys [B, N, G, A, S] and values [B, N, G, S, A'], the new
    ones written already. start: scalar, [B] or [B, N]. window, cap: as for `causal`. Each part has its
    softmax; the two are joined by their maxima and sums, as one softmax over both would give.
    attend_prefix, attend_suffix: in the place of plain operations, see `candidates`. Returns
    [B, N, T, H, A] in the values' dtype.
    """
    k, v = suffix
    B, N, T, H, A = q_BxNxTxHxA.shape
    G, S, P = k.shape[2], k.shape[4], prefix[0].shape[-1]
    M = H // G
    q = q_BxNxTxHxA.reshape(B, N, T, G, M, A)
    slots = jnp.arange(S)[None, None, None]
    place = (per_row(start)[..., None] + jnp.arange(T)[None, None])[..., None]  # [B or 1, N or 1, T, 1]: own
    seen = slots <= place
    width = bound(window)
    if width is not None:
        seen = seen & (place - slots < width)
    q_suffix = jnp.transpose(q, (0, 1, 3, 2, 4, 5)).reshape(B, N, G, T * M, A)
    seen = jnp.repeat(seen, M, axis=2)[:, :, None]
    out, top, total = attend_suffix(q_suffix) if attend_suffix else part(q_suffix, k, v, seen, cap)
    out = out.reshape(B, N, G, T, M, -1)
    top, total = top.reshape(B, N, G, T, M, 1), total.reshape(B, N, G, T, M, 1)
    if P:
        q_prefix = jnp.transpose(q, (0, 3, 1, 2, 4, 5)).reshape(B, G, N * T * M, A)
        columns = jnp.arange(P)
        seen = (columns[None] < prefix_length_B[:, None])[:, None]  # [B, 1, P]
        if width is not None:
            inside = prefix_length_B[:, None, None, None] + place - columns[None, None, None] < width
            inside = jnp.broadcast_to(inside[..., None, :], (B, N, T, M, P)).reshape(B, N * T * M, P)
            seen = seen & inside
        seen = seen[:, None]
        prefix_part = attend_prefix(q_prefix) if attend_prefix else part(q_prefix, *prefix, seen, cap)
        prefix_out, prefix_top, prefix_total = (
            jnp.transpose(x.reshape(B, G, N, T, M, -1), (0, 2, 1, 3, 4, 5)) for x in prefix_part
        )
        joint_top = jnp.maximum(top, prefix_top)
        suffix_share, prefix_share = jnp.exp(top - joint_top), jnp.exp(prefix_top - joint_top)
        out = out * suffix_share + prefix_out * prefix_share
        total = total * suffix_share + prefix_total * prefix_share
    out = jnp.transpose(out[..., :A] / total, (0, 1, 3, 2, 4, 5))
    return rounded(out.reshape(B, N, T, H, A), v.dtype)


def part(
    q: jax.Array, k: jax.Array, v: jax.Array, seen: jax.Array, cap: float | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Attention over some of the keys: [..., Q, A] x [..., A, K] x [..., K, A], all sums in float32.

    Returns the weighted sum of values, not yet divided, the maximal logit and the sum of exponentials.
    """
    logits = softcap(jnp.matmul(q, k, preferred_element_type=jnp.float32), cap)
    logits = jnp.where(seen, logits, MASKED)
    top = jnp.max(logits, axis=-1, keepdims=True)
    weights = jnp.exp(logits - top)
    out = jnp.matmul(rounded(weights, v.dtype), v, preferred_element_type=jnp.float32)
    return out, top, jnp.sum(weights, axis=-1, keepdims=True)
