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
"""

from __future__ import annotations

import functools
from typing import cast

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

from rstar_jax.kernels.attention_xla import Sometimes, Window

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
    segments_BxT: jax.Array | None,
    window: Window,
    cap: float | None,
    *,
    interpret: bool = False,
) -> jax.Array:
    """`attention.causal` on one device. interpret: anywhere, very slowly, by the same steps."""
    if isinstance(window, Sometimes):
        branches = [
            functools.partial(causal, window=width, cap=cap, interpret=interpret)
            for width in (window.size, None)
        ]
        return jax.lax.cond(window.applies, *branches, q_BxTxHxA, k_BxTxGxA, v_BxTxGxC, segments_BxT)
    assert window is None or isinstance(window, int)
    T, H = q_BxTxHxA.shape[1:3]
    mask = masks.CausalMask((T, T)) if window is None else masks.LocalMask((T, T), (window - 1, 0), offset=0)
    block = next(size for size in BLOCKS if T % size == 0)
    kernel = splash.make_splash_mha(
        mask=masks.MultiHeadMask([mask] * H),
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

    def row(q, k, v, segments):
        ids = None if segments is None else splash.SegmentIds(segments, segments)
        q, k, v = (jnp.swapaxes(x, 0, 1) for x in (q, k, v))
        return jnp.swapaxes(cast(jax.Array, kernel(q, k, v, segment_ids=ids)), 0, 1)

    return jax.vmap(row)(q_BxTxHxA, k_BxTxGxA, v_BxTxGxC, segments_BxT)
