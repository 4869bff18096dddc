"""Operations on the bits of bfloat16, for which XLA:CPU would make float32 arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rstar_jax.kernels import attention_mesh


def rounded(x: jax.Array, dtype: Any) -> jax.Array:
    """x.astype(dtype), bit for bit (but that every NaN becomes the same one).

    XLA:CPU rounds to bfloat16 in a loop of its own, once the float32 array is in memory; arithmetic on
    whole numbers it does within the loop that makes the numbers.
    """
    if x.dtype != jnp.float32 or not _slow(dtype):
        return x.astype(dtype)
    return _rounded(x)


def select(which: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """jnp.where; of two arrays of bfloat16 XLA:CPU would make float32, and round what it chose."""
    if x.dtype != y.dtype or not _slow(x.dtype):
        return jnp.where(which, x, y)
    return _selected(which, x, y)


def as_bits(x: jax.Array) -> jax.Array:
    """x as `same_bits` takes it back: bfloat16 that is only to be moved, of which XLA:CPU would make float32
    and round it again, number by number."""
    return same_bits(x, jnp.uint16) if _slow(x.dtype) else x


def same_bits(x: jax.Array, dtype: Any) -> jax.Array:
    """x as `dtype`, which is as wide: bfloat16 as uint16, which XLA:CPU moves as it is, or the way back."""
    return x if x.dtype == dtype else jax.lax.bitcast_convert_type(x, dtype)


@jax.custom_jvp
def _rounded(x: jax.Array) -> jax.Array:
    wide = jax.lax.bitcast_convert_type(x, jnp.uint32)
    up = (wide + 0x7FFF + ((wide >> 16) & 1)) >> 16  # to the nearest, of two as near to the even one
    return same_bits(jnp.where(x != x, 0x7FC0, up).astype(jnp.uint16), jnp.bfloat16)


@_rounded.defjvp
def _rounded_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return _rounded(*primals), tangents[0].astype(jnp.bfloat16)


@jax.custom_jvp
def _selected(which: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    return same_bits(jnp.where(which, *(same_bits(z, jnp.uint16) for z in (x, y))), jnp.bfloat16)


@_selected.defjvp
def _selected_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return _selected(*primals), jnp.where(primals[0], *tangents[1:])


def _slow(dtype: Any) -> bool:
    return jnp.dtype(dtype) == jnp.bfloat16 and attention_mesh.current_platform() == "cpu"
