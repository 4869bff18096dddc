"""The optimiser of a training, by its options: gradients in, steps at a learning rate of 1 out.

A new one is a row of `SCALES`; what it keeps of each parameter is a tree like that of the parameters, for
`state_shardings` to place, and its bytes are counted in `plan/cost.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from rstar_jax.train.adam8bit import scale_by_adam8bit
from rstar_jax.train.config import TrainConfig


def _adafactor(config: TrainConfig) -> optax.GradientTransformation:
    """Adafactor as it was scaled up with AdamW's learning rates (arXiv 2106.04560, section 3.4): squares by
    rows and columns, their decay at most b2, updates clipped, the mean of updates in bfloat16 (none with b1 =
    0), and no scaling by the parameters' size."""

    def decay(step: Any, exponent: Any) -> jax.Array:
        return jnp.minimum(config.b2, 1 - (step + 1.0) ** -exponent)

    mean = optax.ema(config.b1, accumulator_dtype=jnp.bfloat16)
    return optax.chain(
        optax.scale_by_factored_rms(decay_rate_fn=decay),
        optax.clip_by_block_rms(1.0),
        mean if config.b1 else optax.identity(),
    )


SCALES: dict[str, Callable[[TrainConfig], optax.GradientTransformation]] = {
    "adamw": lambda c: optax.scale_by_adam(b1=c.b1, b2=c.b2, eps=c.eps),
    "adamw8bit": lambda c: scale_by_adam8bit(c.b1, c.b2, c.eps),
    "adafactor": _adafactor,
}


def optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Return the transformation whose updates, times the learning rate, are taken from the parameters.

    Weight decay comes last (decoupled, arXiv 1711.05101); gradients are clipped before (`clip`).
    """
    return optax.chain(
        optax.identity(),  # checkpoints name the state by its place
        SCALES[config.optimizer](config),
        optax.add_decayed_weights(config.weight_decay, mask=decays),
    )


def clip(gradient: jax.Array, norm: jax.Array, most: float) -> jax.Array:
    """A part of a gradient, whose norm as a whole is brought down to `most` where it is above; 0: never."""
    return jnp.where(norm < most, gradient, gradient / norm * most) if most else gradient


def decays(params: Any) -> Any:
    """Mark the parameters that weight decay touches: matrices (embeddings among them), not biases and norms.

    By name as well as by rank: layers are stacked, so that a norm's scale has two dimensions.
    """

    def matrix(path: tuple[Any, ...], leaf: jax.Array) -> bool:
        name = jax.tree_util.keystr(path)
        return leaf.ndim >= 2 and "bias" not in name and "norm" not in name

    return jax.tree_util.tree_map_with_path(matrix, params)


def state_bytes(config: TrainConfig, params: Any) -> int:
    """Bytes of what is kept beside parameters, which may be abstract, and their gradients."""
    state = jax.eval_shape(optimizer(config).init, params)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def state_shardings(transformation: optax.GradientTransformation, params: Any, everywhere: Any) -> Any:
    """Shardings of the state: what it has of a parameter is split as that is, along the sides that both have.

    params: abstract, with their shardings. everywhere: for what belongs to no parameter.
    """
    return optax.tree.map_params(
        transformation,
        lambda leaf, param: _beside(leaf.shape, param, everywhere),
        jax.eval_shape(transformation.init, params),
        params,
        transform_non_params=lambda _: everywhere,
    )


def _beside(shape: tuple[int, ...], param: Any, everywhere: Any) -> Any:
    """The sharding of an array of this shape: a parameter's own, one whose sides are shorter, or one that
    lacks a side."""
    where = param.sharding
    if shape == param.shape or not isinstance(where, NamedSharding):
        return where
    sides = [*where.spec, *(None,) * (len(param.shape) - len(where.spec))]
    lacking = [i for i in range(len(sides)) if param.shape[:i] + param.shape[i + 1 :] == shape]
    if lacking:
        sides.pop(lacking[0])
    elif len(shape) != len(sides):
        return everywhere
    for i, (size, names) in enumerate(zip(shape, sides, strict=True)):
        axes = (names,) if isinstance(names, str) else names or ()
        if size % math.prod(where.mesh.shape[axis] for axis in axes):
            sides[i] = None
    return NamedSharding(where.mesh, PartitionSpec(*sides))
