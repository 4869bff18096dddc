"""Adam whose two moments take a byte each, quantised by blocks (arXiv 2110.02861).

A moment is kept as 8-bit codes of the parameter's own shape, so that it is sharded as the parameter, and a
float32 scale a block: the largest magnitude in it. A block has up to 256 numbers along one axis, `size / 256`
apart, so that an axis that is split over up to 256 devices has a part of each block on every device:

    axis of 1024, blocks of 256     0 4 8 ... 1020 | 1 5 9 ... | 2 6 10 ... | 3 7 11 ... 1023     4 scales

Codes are cubic, finest about 0, as the moments of a block differ by orders of magnitude:

    mean                scale * (code / 127)^3     code in -127 ... 127
    root of the square  scale * (code / 255)^3     code in 0 ... 255; 0 for 0 alone

Rounding is stochastic, unbiased in the mean and in the square: what a step changes of a moment with b2 =
0.999 is less than half a code, and rounding to the nearest would lose it for ever. It is a function of the
step's number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

BLOCK = 256  # numbers that share a scale, at most
LEAST = 32  # numbers of a block, else moments stay in float32: those of norms, biases, and sides that are odd
MEAN, ROOT = 127, 255  # the largest codes


class Adam8bitState(NamedTuple):
    """Codes int8 [shape], roots uint8 [shape], scales float32 [shape, the blocks' axis shorter].

    Moments that are not quantised stand in the place of the codes, in float32, and have scales [1].
    """

    count: jax.Array
    mean: Any
    mean_scale: Any
    root: Any
    root_scale: Any


def scale_by_adam8bit(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """`optax.scale_by_adam` with moments in 8 bits. Updates are made of moments before these are rounded."""

    def init(params: Any) -> Adam8bitState:
        def zeros(dtype: Any) -> tuple[Any, Any]:
            def codes(p: Any) -> jax.Array:
                return jnp.zeros(p.shape, jnp.float32 if axis_of(p.shape) is None else dtype)

            scales = jax.tree.map(lambda p: jnp.zeros(_scales(p.shape), jnp.float32), params)
            return jax.tree.map(codes, params), scales

        return Adam8bitState(jnp.zeros([], jnp.int32), *zeros(jnp.int8), *zeros(jnp.uint8))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Adam8bitState]:
        del params
        count = jnp.asarray(optax.safe_increment(state.count))
        key = jax.random.fold_in(jax.random.key(0), count)
        corrections = 1 - b1**count, 1 - b2**count

        def one(key: jax.Array, quantised: bool, g: jax.Array, *kept: jax.Array) -> tuple[jax.Array, ...]:
            g = g.astype(jnp.float32)
            mean, root = (dequantise(*kept[:2]), dequantise(*kept[2:])) if quantised else kept[::2]
            mean = b1 * mean + (1 - b1) * g
            square = b2 * jnp.square(root) + (1 - b2) * jnp.square(g)
            root = jnp.sqrt(square)
            step = (mean / corrections[0]) / (jnp.sqrt(square / corrections[1]) + eps)
            if not quantised:
                return step, mean, kept[1], root, kept[3]
            keys = jax.random.split(key)
            return step, *quantise(mean, keys[0]), *quantise(root, keys[1], root=True)

        def of_leaf(number: int, *arrays: jax.Array) -> tuple[jax.Array, ...]:
            """A stack is gone through layer by layer: its moments in float32, draws and shares at once would
            take several times what the codes save."""
            shape, own = arrays[0].shape, jax.random.fold_in(key, number)
            axis = axis_of(shape)
            if len(shape) < 3 or not axis:
                return one(own, axis is not None, *arrays)
            keys = jax.random.split(own, shape[0])
            return jax.lax.map(lambda layer: one(layer[0], True, *layer[1:]), (keys, *arrays))

        leaves, tree = jax.tree.flatten(updates)
        moments = (jax.tree.leaves(part) for part in state[1:])
        found = [of_leaf(i, *arrays) for i, arrays in enumerate(zip(leaves, *moments, strict=True))]
        steps, *parts = (jax.tree.unflatten(tree, part) for part in zip(*found, strict=True))
        return steps, Adam8bitState(count, *parts)

    return optax.GradientTransformation(init, update)


def axis_of(shape: tuple[int, ...]) -> int | None:
    """The axis along which an array has blocks: of those with the largest blocks the longest; None: of no
    axis are there blocks of LEAST."""
    if len(shape) < 2:
        return None
    best = max(range(len(shape)), key=lambda axis: (block_of(shape[axis]), shape[axis]))
    return best if block_of(shape[best]) >= LEAST else None


def block_of(size: int) -> int:
    """Numbers of a block along an axis: the largest power of 2 that divides it, up to BLOCK."""
    return min(BLOCK, size & -size)


def quantise(x: jax.Array, key: jax.Array, *, root: bool = False) -> tuple[jax.Array, jax.Array]:
    """Codes and scales of an array that has blocks, as a mean or, of numbers >= 0, as a root of squares.

    Of a root only 0 gets the code 0, as it is divided by.
    """
    levels = ROOT if root else MEAN
    blocks, axis = _blocked(x)
    scale = jnp.max(jnp.abs(blocks), axis=axis, keepdims=True)
    share = jnp.abs(blocks) / jnp.where(scale > 0, scale, 1)
    low = jnp.clip(jnp.floor(jnp.cbrt(share) * levels), 1 if root else 0, levels - 1)
    power = 6 if root else 3
    below, above = (low / levels) ** power, ((low + 1) / levels) ** power
    chance = ((jnp.square(share) if root else share) - below) / (above - below)
    draw = (jax.random.bits(key, blocks.shape, jnp.uint8) + 0.5) / 256
    codes = jnp.sign(blocks) * (low + (draw < chance))
    return codes.astype(jnp.uint8 if root else jnp.int8).reshape(x.shape), scale.squeeze(axis)


def dequantise(codes: jax.Array, scale: jax.Array) -> jax.Array:
    """The numbers that codes and scales stand for, float32."""
    blocks, axis = _blocked(codes.astype(jnp.float32))
    levels = ROOT if codes.dtype == jnp.uint8 else MEAN
    return ((blocks / levels) ** 3 * jnp.expand_dims(scale, axis)).reshape(codes.shape)


def _blocked(x: jax.Array) -> tuple[jax.Array, int]:
    """The array [..., block, blocks, ...], and the axis in which a block's numbers are."""
    axis = axis_of(x.shape)
    assert axis is not None
    return x.reshape(*x.shape[:axis], block_of(x.shape[axis]), -1, *x.shape[axis + 1 :]), axis


def _scales(shape: tuple[int, ...]) -> tuple[int, ...]:
    axis = axis_of(shape)
    if axis is None:
        return (1,)
    return (*shape[:axis], shape[axis] // block_of(shape[axis]), *shape[axis + 1 :])
