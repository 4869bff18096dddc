"""Causal attention on an NVIDIA GPU: cuDNN's flash attention by way of `jax.nn.dot_product_attention`.

The grid and its blocks are cuDNN's own, and logits stay on the chip. Ours is what lies in the GPU's memory:

    q [B, T, H, A]   keys [B, T, G, A]   values [B, T, G, A], filled up from C   out [B, T, H, A], cut to C
    mask [B or 1, 1, T, T], only of packed rows, of trees or of a window that is an array:

      segments 1 1 2 2 0   1              a token sees its own segment up to itself;
                           1 1            without segments `is_causal` says the same
                           . . 2          and no mask is made
                           . . 2 2
                           . . . . 0      0: padding, a segment like others
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rstar_jax.kernels.attention_xla import Packed, Window, seen


def missing(
    q_shape: tuple[int, ...], v_shape: tuple[int, ...], dtype: Any, segments: bool, cap: float | None
) -> str:
    """Return why cuDNN cannot do it, or "": its conditions as JAX states them for a forward and backward
    pass."""
    # No GPU is here when compiling ahead of time.
    capability = float(getattr(jax.devices()[0], "compute_capability", 0.0))
    widest = 256 if capability >= 9.0 else 128
    A, C = q_shape[3], v_shape[3]
    if jnp.dtype(dtype) not in (jnp.bfloat16, jnp.float16):
        return f"cuDNN: {jnp.dtype(dtype).name}, not bfloat16 or float16"
    if cap is not None:
        return "cuDNN: soft caps"
    if A % 8 or widest < A or A < C:
        return f"cuDNN: head dimensions {A} and {C}; they must be multiples of 8 up to {widest}"
    if q_shape[1] % 2:
        return f"cuDNN: {q_shape[1]} tokens, an odd number"
    return ""


def causal(
    q_BxTxHxA: jax.Array,
    k_BxTxGxA: jax.Array,
    v_BxTxGxC: jax.Array,
    packed: Packed,
    window: Window,
) -> jax.Array:
    """`attention.causal` on one device.

    Segments and trees go in as a mask [B, 1, T, T], which costs 2 bytes a pair, not 4 H: cuDNN's own packed
    rows take segments that are contiguous and counted beforehand. A window goes into the same mask, for cuDNN
    takes one beside a mask only if there is none. Values narrower than keys are filled up with zeros.
    """
    T, A, C = q_BxTxHxA.shape[1], q_BxTxHxA.shape[3], v_BxTxGxC.shape[3]
    mask, local = None, None
    if packed is None and (window is None or isinstance(window, int)):
        local = None if window is None else (window - 1, 0)
    else:
        mask = seen(jnp.arange(T), jnp.arange(T), (packed, packed), window)[:, None]
    v = jnp.pad(v_BxTxGxC, [(0, 0)] * 3 + [(0, A - C)]) if C < A else v_BxTxGxC
    out = jax.nn.dot_product_attention(
        q_BxTxHxA,
        k_BxTxGxA,
        v,
        mask=mask,
        scale=1.0,
        is_causal=True,
        local_window_size=local,
        implementation="cudnn",
    )
    return out[..., :C]
