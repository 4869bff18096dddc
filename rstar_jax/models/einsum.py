"""The product of an activation and a weight, with a backward pass in the dtype of the forward one.

Backward the float32 cotangent is taken as `dtype`, too: JAX would multiply in float32, which costs a CPU
three times as much, and memory everywhere. The weight's gradient is summed in float32 whatever `dtype` is.

    einsum("...d,dha->...ha", bfloat16, x [B, T, D], w [D, H, A])   ->  [B, T, H, A] float32
      backward: dx = "ABha,dha->ABd" of g and w,  dw = "ABd,ABha->dha" of x and g
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from rstar_jax.kernels.attention_mesh import current_platform


def letters(pattern: str) -> tuple[str, str, str]:
    """The letters of an einsum's activation, weight and result, leading dots left out."""
    inputs, out = pattern.split("->")
    x, weight = inputs.split(",")
    return x.removeprefix("..."), weight, out.removeprefix("...")


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def einsum(pattern: str, dtype: Any, x: jax.Array, weight: jax.Array) -> jax.Array:
    """jnp.einsum of an activation and a weight, both taken as `dtype`; float32."""
    return _forward(pattern, dtype, x, weight)[0]


def _forward(pattern: str, dtype: Any, x: jax.Array, weight: jax.Array) -> tuple[jax.Array, Any]:
    sums = _sums(dtype) if letters(pattern)[2] == "d" else jnp.float32  # states are rounded next
    product = jnp.einsum(pattern, x.astype(dtype), weight.astype(dtype), preferred_element_type=sums)
    return product.astype(jnp.float32), (x, weight)


def _backward(pattern: str, dtype: Any, kept: Any, g: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    x, weight = kept
    x_names, w_names, out_names = letters(pattern)
    lead = "ABCDEFGH"[: x.ndim - len(x_names)]
    sum32 = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    g = g.astype(dtype)
    pattern = f"{lead}{out_names},{w_names}->{lead}{x_names}"
    dx = jnp.einsum(pattern, g, weight.astype(dtype), preferred_element_type=_sums(x.dtype)).astype(x.dtype)
    if not jnp.issubdtype(weight.dtype, jnp.floating):
        return dx, None
    dw = sum32(f"{lead}{x_names},{lead}{out_names}->{w_names}", x.astype(dtype), g)
    return dx, dw.astype(weight.dtype)


def _sums(dtype: Any) -> Any:
    """The dtype to multiply in what is rounded to this one next.

    Devices that split what is summed over send each other their sums. A TPU, which adds up in float32
    whatever it returns, sends half as much if they are rounded before; a CPU is slower at such products.
    """
    return dtype if current_platform() == "tpu" else jnp.float32


einsum.defvjp(_forward, _backward)
