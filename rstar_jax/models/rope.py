"""Rotary positions: frequencies of every kind of stretching, angles, and the rotation itself.

Formulas as in transformers' modeling_rope_utils, computed in float64 and used in float32. "longrope" has two
sets of frequencies, for short texts and for long ones. transformers picks one by the longest text of the
batch; here each text has that which transformers gives it alone, so that rows do not influence each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax.kernels.attention_mesh import current_platform
from rstar_jax.models.config import Rope

Tables = tuple[jax.Array, jax.Array]  # cosines and sines [..., R/2] float32 of R rotated dimensions


def _plain(rope: Rope, dim: int) -> np.ndarray:
    return 1.0 / rope.theta ** (np.arange(0, dim, 2, dtype=np.float64) / dim)


def _linear(rope: Rope, dim: int) -> np.ndarray:
    return _plain(rope, dim) / _required(rope.factor)


def _llama3(rope: Rope, dim: int) -> np.ndarray:
    frequency, factor = _plain(rope, dim), _required(rope.factor)
    low, high = _required(rope.low_freq_factor), _required(rope.high_freq_factor)
    context = _required(rope.original_max_position_embeddings)  # the old one, over which turns are counted
    turns = context * frequency / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - smooth) * frequency / factor + smooth * frequency


def _yarn(rope: Rope, dim: int) -> np.ndarray:
    def dimension(turns: float) -> float:
        context = _required(rope.original_max_position_embeddings)
        return dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = dimension(rope.beta_fast or 32), dimension(rope.beta_slow or 1)
    if rope.truncate is not False:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    high += 0.001 if high == low else 0  # as transformers has it, against a division by zero
    stretched = np.clip((np.arange(dim // 2) - low) / (high - low), 0, 1)
    return _plain(rope, dim) * (stretched / _required(rope.factor) + 1 - stretched)


def _short(rope: Rope, dim: int) -> np.ndarray:
    return _plain(rope, dim) / np.asarray(rope.short_factor, np.float64)


# Frequencies [R/2] of every kind; of "longrope" those for texts that are not long.
KINDS: dict[str, Callable[[Rope, int], np.ndarray]] = {
    "default": _plain,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _short,
}


def magnitude(rope: Rope, max_positions: int) -> float:
    """Return the factor of cosines and sines (arXiv 2309.00071 and 2402.13753)."""
    if rope.attention_factor is not None or rope.kind not in ("yarn", "longrope"):
        return 1.0 if rope.attention_factor is None else rope.attention_factor
    factor = rope.factor or max_positions / _required(rope.original_max_position_embeddings)
    if rope.kind == "longrope":
        context = _required(rope.original_max_position_embeddings)
        return math.sqrt(1 + math.log(factor) / math.log(context)) if factor > 1 else 1.0
    if rope.mscale and rope.mscale_all_dim:
        return yarn_scale(factor, rope.mscale) / yarn_scale(factor, rope.mscale_all_dim)
    return yarn_scale(factor, 1.0)


def yarn_scale(factor: float, mscale: float) -> float:
    """The growth of logits that "yarn" makes up for, with DeepSeek's weight `mscale`."""
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0


def tables(
    rope: Rope, positions: jax.Array, dim: int, max_positions: int, long: jax.Array | None = None
) -> Tables:
    """Cosines and sines of positions [..., T], for heads of `dim` dimensions.

    long: bool, broadcast against the positions: which tokens stand in a text longer than
    `original_max_position_embeddings`; read for "longrope" only.
    """
    rotated = int(dim * rope.partial_rotary_factor)
    position = positions[..., None].astype(jnp.float32)
    before = tuple(range(positions.ndim))
    angle = position * jnp.expand_dims(jnp.asarray(KINDS[rope.kind](rope, rotated), jnp.float32), before)
    if rope.kind == "longrope" and long is not None:
        frequency = _plain(rope, rotated) / np.asarray(rope.long_factor, np.float64)
        angle = jnp.where(
            long[..., None], position * jnp.expand_dims(jnp.asarray(frequency, jnp.float32), before), angle
        )
    scale = magnitude(rope, max_positions)
    if current_platform() == "cpu" and angle.size:
        # XLA:CPU does not fuse a branch: else it computes them again for every head of every layer. Both
        # branches are the same: positions are any, below 0, too (padding on the left), or not a number.
        cos, sin = jax.lax.cond(angle.ravel()[0] >= 0, _cos_sin, _cos_sin, angle)
    else:
        cos, sin = _cos_sin(angle)
    return (cos, sin) if scale == 1.0 else (cos * scale, sin * scale)


def _cos_sin(angle: jax.Array) -> Tables:
    return jnp.cos(angle), jnp.sin(angle)


def long_from(rope: Rope) -> int | None:
    """The most tokens of a text that is not long; None: there are no others."""
    return int(_required(rope.original_max_position_embeddings)) if rope.kind == "longrope" else None


def in_long_text(rope: Rope, positions: jax.Array, segment_ids: jax.Array | None) -> jax.Array | None:
    """Find the tokens [..., T] that stand in a text of more positions than the short factors are for."""
    if rope.kind != "longrope":
        return None
    last = jnp.max(positions, axis=-1, keepdims=True)
    if segment_ids is not None:
        same = segment_ids[..., :, None] == segment_ids[..., None, :]
        last = jnp.max(jnp.where(same, positions[..., None, :], 0), axis=-1)
    return last >= _required(rope.original_max_position_embeddings)


def rotate(x: jax.Array, table: Tables, *, interleaved: bool = False) -> jax.Array:
    """Rotate pairs of the last axis of x, those that the table has angles for, in float32."""
    cos, sin = table
    rotated = 2 * cos.shape[-1]
    unrotated = x[..., rotated:]
    x = x[..., :rotated] if unrotated.shape[-1] else x
    if interleaved:
        first, second = x[..., ::2], x[..., 1::2]
        pairs = jnp.stack([first * cos - second * sin, second * cos + first * sin], axis=-1)
        out = pairs.reshape(x.shape)
    else:
        first, second = jnp.split(x, 2, axis=-1)
        out = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return jnp.concatenate([out, unrotated], axis=-1) if unrotated.shape[-1] else out


def _required(value: float | None) -> float:
    if value is None:
        raise ValueError("a number that this kind of rotary positions needs is missing")
    return value
