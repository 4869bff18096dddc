"""Where weights meet activations: every matmul of a decoder goes through here.

A transform over the parameters (weights in int8, low-rank additions) changes these functions and nothing
else. Sums are in float32: exact enough for bfloat16, and faster than bfloat16 output on a CPU.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def matmul(pattern: str, x: jax.Array, weight: jax.Array, dtype: Any) -> jax.Array:
    """einsum of an activation and a weight, both taken as `dtype`; float32."""
    return jnp.einsum(pattern, x.astype(dtype), weight.astype(dtype), preferred_element_type=jnp.float32)


def grouped_matmul(x_RxK: jax.Array, weight_ExKxF: jax.Array, sizes_E: jax.Array, dtype: Any) -> jax.Array:
    """Rows sorted by group, each times the weight of its own group: [R, F] float32.

    sizes: int32, how many rows each group has; they add up to R.
    """
    return jax.lax.ragged_dot(
        x_RxK.astype(dtype), weight_ExKxF.astype(dtype), sizes_E, preferred_element_type=jnp.float32
    )
