"""Stacks of weights taken apart, where layers run one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rstar_jax.models.bfloat16 import as_bits, same_bits
from rstar_jax.models.linear import Unstacked


def of_layers(weight: Any) -> Sequence[Any]:
    """A stack of weights [L, ...], of whatever form, as one of each layer."""
    if isinstance(weight, Unstacked):
        return weight.layers
    leaves, form = jax.tree.flatten(weight)
    if not leaves:  # `FusedWithGate`, which has nothing of its own
        return [weight] * weight.shape[0]
    return [form.unflatten(layer) for layer in zip(*map(_cut, leaves), strict=True)]


def _cut(stack: jax.Array) -> Sequence[jax.Array]:
    differentiable = jnp.issubdtype(stack.dtype, jnp.floating)
    return _cut_with_gradient(stack) if differentiable else _layers(stack)


def _layers(stack: jax.Array) -> list[jax.Array]:
    bits = as_bits(stack)
    return [same_bits(bits[layer], stack.dtype) for layer in range(len(stack))]


def _together(layers: list[jax.Array]) -> jax.Array:
    return same_bits(jnp.stack([as_bits(layer) for layer in layers]), layers[0].dtype)


@jax.custom_vjp
def _cut_with_gradient(stack: jax.Array) -> list[jax.Array]:
    """The layers of a stack, whose gradients are put together at once.

    Left alone each gradient would be one of the whole stack, zero in all other layers, and these added up.
    """
    return _layers(stack)


_cut_with_gradient.defvjp(lambda stack: (_layers(stack), None), lambda _, layers: (_together(layers),))
