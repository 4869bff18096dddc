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
    product = jnp.einsum(pattern, x.astype(dtype), weight.astype(dtype), preferred_element_type=jnp.float32)
    return product, (x, weight)


def _backward(pattern: str, dtype: Any, kept: Any, g: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    x, weight = kept
    x_names, w_names, out_names = letters(pattern)
    lead = "ABCDEFGH"[: x.ndim - len(x_names)]
    sum32 = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    g = g.astype(dtype)
    dx = sum32(f"{lead}{out_names},{w_names}->{lead}{x_names}", g, weight.astype(dtype)).astype(x.dtype)
    if not jnp.issubdtype(weight.dtype, jnp.floating):
        return dx, None
    dw = sum32(f"{lead}{x_names},{lead}{out_names}->{w_names}", x.astype(dtype), g)
    return dx, dw.astype(weight.dtype)


einsum.defvjp(_forward, _backward)
