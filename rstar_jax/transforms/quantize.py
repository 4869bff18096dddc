"""Weights in int8, for search: a transform over a model's parameters.

Weight only, symmetric, one scale per output channel (and layer, and expert): activations keep their dtype,
and the error of a weight is at most half a 127th of the largest one of its channel. Embeddings have a scale
per token. Norms, biases and routers stay as they are.

Why not qwix: its providers catch the calls of one method and find weights by identity, and our weights reach
five methods as slices of stacked arrays; its functional core rounds the weight times its scale to bfloat16
before the matmul, where we scale the float32 result, and has no lookup of rows.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import NamedSharding

from rstar_jax import sharding
from rstar_jax.models.linear import SUMMED, Quantized

BLOCK = 4096  # rows of a vocabulary that are quantized at once, at most


def to_int8(model: nnx.Module) -> None:
    """Put int8 weights in the place of every matmul weight of a decoder or reward model.

    One parameter after the other, so that the peak is the model and one parameter's int8 beside it, unless
    the caller holds the arrays elsewhere. Where a parameter lies on a mesh its values lie the same way, and
    its scales as their dimensions do. What is int8 already stays.
    """
    for path, node in list(nnx.iter_graph(model)):
        if isinstance(node, nnx.Param) and (name := str(path[-1])) in SUMMED:
            value = node.get_value()
            if not isinstance(value, Quantized):
                axes = node.get_metadata().get("axes", (None,) * value.ndim)
                node.set_value(quantized(value, SUMMED[name], axes))


def abstract(params: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, Any]:
    """What `to_int8` makes of a model's parameters, of which none is there."""

    def one(name: str, weight: jax.ShapeDtypeStruct) -> Any:
        summed = SUMMED.get(name.rpartition(".")[2])
        if summed is None:
            return weight
        scale = jax.ShapeDtypeStruct(_channels(weight.shape, summed), jnp.float32)
        return Quantized(jax.ShapeDtypeStruct(weight.shape, jnp.int8), scale)  # type: ignore[arg-type]

    return {name: one(name, weight) for name, weight in params.items()}


def _channels(shape: tuple[int, ...], summed: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if i in summed else size for i, size in enumerate(shape))


def quantized(weight: jax.Array, summed: tuple[int, ...], axes: tuple[str | None, ...]) -> Quantized:
    """A weight in int8. summed: the dimensions that a matmul sums over. axes: logical names of all.

    A channel of zeros has the scale 1.
    """
    mesh = weight.sharding.mesh if isinstance(weight.sharding, NamedSharding) else None

    def zeros(shape: tuple[int, ...], dtype: Any) -> jax.Array:
        if mesh is None:
            return jnp.zeros(shape, dtype)
        placement = sharding.sharding(mesh, axes, shape, sharding.preset_for(mesh))  # type: ignore[arg-type]
        return jnp.zeros(shape, dtype, device=placement)

    int8 = Quantized(zeros(weight.shape, jnp.int8), zeros(_channels(weight.shape, summed), jnp.float32))
    if weight.ndim > 2:
        rows = 1
    else:  # those of a vocabulary on a mesh may lie on several devices
        rows = min(BLOCK, len(weight)) if mesh is None else len(weight)
    for first_row in range(0, len(weight), rows):
        int8 = _fill(int8, weight, jnp.int32(first_row), summed=summed, rows=rows)
    return int8


@functools.partial(jax.jit, static_argnames=("summed", "rows"), donate_argnums=0)
def _fill(
    int8: Quantized, weight: jax.Array, first_row: jax.Array, *, summed: tuple[int, ...], rows: int
) -> Quantized:
    """Some rows (layers) of a weight, from `first_row` or so early that they are all there.

    One call a layer: a loop on the device would hold the weight in float32 as a whole.
    """
    full = jax.lax.dynamic_slice_in_dim(weight, first_row, rows).astype(jnp.float32)
    largest = jnp.max(jnp.abs(full), axis=summed, keepdims=True)
    scale = jnp.where(largest > 0, largest / 127, 1.0)
    new = Quantized(jnp.round(full / scale).astype(jnp.int8), scale)
    return jax.tree.map(lambda a, b: jax.lax.dynamic_update_slice_in_dim(a, b, first_row, 0), int8, new)


def parameter_bytes(model: nnx.Module) -> int:
    """Bytes that a model's arrays take on all devices together, replicas counted once."""
    return sum(x.nbytes for x in jax.tree.leaves(nnx.state(model)))
