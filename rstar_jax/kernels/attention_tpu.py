"""Causal attention on a TPU: JAX's splash kernel, whose logits stay in the chip's fast memory.

Letters as in `types.py`; C: width of a value.

    grid (B, H, T / block, blocks of keys), the last axis innermost (B by vmap):

                    keys 0    block     ...     T
      queries  0         +-------+
                         | part  |                  part: the mask is applied, number by number
                         +-------+-------+
      `block` a row      | whole | part  |          whole: no mask is needed
                         +-------+-------+-------+  blocks beyond the diagonal, or before the window, are
                  T      | whole | whole | part  |  neither fetched nor computed, by a table of the mask
                         +-------+-------+-------+

    HBM   q [B, H, T, A], keys [B, G, T, A], values [B, G, T, C], out [B, H, T, C]
    VMEM  a block of each: q [block, A], k [block, A], v [block, C]; over a row's blocks: the running maximum
          and sum [block, 128] and out [block, C], float32
    SMEM  the table: for each step, which block is next and whether its mask is whole, part or none

Trees have masks of their own, made where the rows are: bool [T, T] of a row in HBM, of which a partial block
is fetched with its keys, and a table of each row. What no token of a block is above is neither computed.
"""

from __future__ import annotations

import functools
from typing import cast

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

from rstar_jax.kernels.attention_xla import Intervals, Packed, Part, Sometimes, Window, seen

LANES = 128  # of a vector register: blocks are whole multiples
BLOCKS = (512, 256, LANES)


def missing(q_shape: tuple[int, ...], v_shape: tuple[int, ...], window: Window) -> str:
    """Return why the kernel cannot do it, or ""."""
    if q_shape[1] % LANES:
        return f"splash: {q_shape[1]} tokens are no multiple of {LANES}"
    if q_shape[3] % 16 or v_shape[3] % 16:
        return f"splash: head dimension {q_shape[3]} or {v_shape[3]} is no multiple of 16"
    return "splash: a window that is an array" if isinstance(window, jax.Array) else ""


def causal(
    q_BxTxHxA: jax.Array,
    k_BxTxGxA: jax.Array,
    v_BxTxGxC: jax.Array,
    packed: Packed,
    window: Window,
    cap: float | None,
    *,
    interpret: bool = False,
) -> jax.Array:
    """`attention.causal` on one device. interpret: anywhere, very slowly, by the same steps."""
    T, H = q_BxTxHxA.shape[1:3]
    if isinstance(packed, Intervals):
        places = jnp.arange(T)

        def row_of_trees(q, k, v, packed):
            one = jax.tree.map(lambda x: x[None], packed)
            return _row(q, k, v, None, seen(places, places, (one, one), window), cap, interpret)

        return jax.vmap(row_of_trees)(q_BxTxHxA, k_BxTxGxA, v_BxTxGxC, packed)
    if isinstance(window, Sometimes):
        branches = [
            functools.partial(causal, window=width, cap=cap, interpret=interpret)
            for width in (window.size, None)
        ]
        return jax.lax.cond(window.applies, *branches, q_BxTxHxA, k_BxTxGxA, v_BxTxGxC, packed)
    assert window is None or isinstance(window, int)
    mask = masks.CausalMask((T, T)) if window is None else masks.LocalMask((T, T), (window - 1, 0), offset=0)
    heads = masks.MultiHeadMask([mask] * H)
    row = functools.partial(_row, mask=heads, cap=cap, interpret=interpret)
    return jax.vmap(row)(q_BxTxHxA, k_BxTxGxA, v_BxTxGxC, packed)


def of_part(
    q_BxQxHxA: jax.Array,
    k_BxTxGxA: jax.Array,
    v_BxTxGxC: jax.Array,
    packed: Packed,
    window: Window,
    cap: float | None,
    part: Part,
    *,
    interpret: bool = False,
) -> jax.Array:
    """`causal` for the queries of a part of a row, by a mask [Q, T] that is made as it runs: [B, Q, H, C]."""
    places = part.first + jnp.arange(q_BxQxHxA.shape[1]), jnp.arange(k_BxTxGxA.shape[1])

    def row(q, k, v, own, packed):
        both = jax.tree.map(lambda x: x[None], (own, packed))
        return _row(q, k, v, None, seen(*places, both, window), cap, interpret)

    return jax.vmap(row)(q_BxQxHxA, k_BxTxGxA, v_BxTxGxC, part.packed, packed)


def _row(
    q_QxHxA: jax.Array,
    k_TxGxA: jax.Array,
    v_TxGxC: jax.Array,
    segments_T: jax.Array | None,
    mask: masks.MultiHeadMask | jax.Array,
    cap: float | None,
    interpret: bool,
) -> jax.Array:
    """mask: of every head, or bool [1, Q, T] for all of them."""
    block = next(size for size in BLOCKS if q_QxHxA.shape[0] % size == 0)
    kernel = splash.make_splash_mha(
        mask=mask,
        block_sizes=splash.BlockSizes(
            block_q=block,
            block_kv=block,
            block_kv_compute=block,
            block_q_dkv=block,
            block_kv_dkv=block,
            block_kv_dkv_compute=block,
            block_q_dq=block,
            block_kv_dq=block,
        ),
        head_shards=1,
        q_seq_shards=1,
        attn_logits_soft_cap=cap,
        interpret=interpret,
    )
    if isinstance(mask, jax.Array):  # under jit its own flag of that is an array, which it then asks for
        for name in ("fwd_mask_info", "dq_mask_info", "dkv_mask_info"):
            setattr(kernel, name, getattr(kernel, name)._replace(is_dynamic_mask=True))
    ids = None if segments_T is None else splash.SegmentIds(segments_T, segments_T)
    q, k, v = (jnp.swapaxes(x, 0, 1) for x in (q_QxHxA, k_TxGxA, v_TxGxC))
    return jnp.swapaxes(cast(jax.Array, kernel(q, k, v, segment_ids=ids)), 0, 1)
