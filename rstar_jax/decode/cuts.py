"""Where top-k, top-p and min-p cut a distribution: the least log-weight that is kept, without a sort.

The cut is found by bisection over the bit patterns of float32, whose order is that of the numbers: 31 passes of
compare and add give the exact value, whatever the ties. XLA:CPU takes its fast selection of the largest few
where the vocabulary is large (on accelerators that selection is a sort). Which way a row goes depends on that
row alone, so that its draw does not depend on its neighbours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

_LARGE = 8192  # entries from which reading a row again costs more than selecting its largest
_SELECTED = 128  # the largest looked at before a row is bisected for top-p
_SELECTABLE = 512  # the largest k for which selecting beats bisecting
_INF_BITS = 0x7F800000


def least_kept(scaled_BxV: jax.Array, *, top_k: int, top_p: float, min_p: float) -> jax.Array:
    """The least log-weight kept, float32 [B]: top-k, top-p of what that leaves, then min-p.

    scaled_BxV: float32 logits over temperature, less the largest of the row (0 is the likeliest token).
    Tokens tied with the last one kept are kept too.
    """
    B, V = scaled_BxV.shape
    least_B = jnp.full(B, -jnp.inf)
    if 0 < top_k < V:
        least_B = _top_k(scaled_BxV, top_k)
        if top_p < 1:
            scaled_BxV = jnp.where(scaled_BxV >= least_B[:, None], scaled_BxV, -jnp.inf)
    if top_p < 1:
        least_B = jnp.maximum(least_B, _top_p(scaled_BxV, top_p))
    if min_p > 0:
        least_B = jnp.maximum(least_B, jnp.log(jnp.float32(min_p)))
    return least_B


def _top_k(scaled: jax.Array, k: int) -> jax.Array:
    def bisected(scaled: jax.Array) -> jax.Array:
        return _bisect(lambda t: jnp.sum((scaled >= t[..., None]).astype(jnp.int32), axis=-1) >= k, scaled)

    def selected(scaled: jax.Array) -> jax.Array:
        # not the last column: XLA would merge that slice with the selection's own, and sort
        return jnp.min(jax.lax.top_k(scaled, k)[0], axis=-1)

    if scaled.shape[-1] < _LARGE:
        return bisected(scaled)
    cpu = selected if k <= _SELECTABLE else functools.partial(jax.lax.map, bisected)
    return jax.lax.platform_dependent(scaled, cpu=cpu, default=bisected)


def _top_p(scaled: jax.Array, p: float) -> jax.Array:
    def bisected(scaled: jax.Array) -> jax.Array:
        weights = jnp.exp(scaled)
        target = p * jnp.sum(weights, axis=-1)
        return _bisect(
            lambda t: jnp.sum(jnp.where(scaled >= t[..., None], weights, 0.0), axis=-1) >= target, scaled
        )

    def selected(scaled: jax.Array) -> jax.Array:
        target = p * jnp.sum(jnp.exp(scaled), axis=-1, keepdims=True)
        largest = jax.lax.top_k(scaled, _SELECTED)[0]
        reached = jnp.cumsum(jnp.exp(largest), axis=-1) >= target
        least = jnp.max(jnp.where(reached, largest, -jnp.inf), axis=-1)
        found = jnp.any(reached, axis=-1)
        # row by row, so that a row stays in the cache for all its passes
        return jax.lax.cond(
            jnp.all(found),
            lambda _: least,
            lambda scaled: jnp.where(found, least, jax.lax.map(bisected, scaled)),
            scaled,
        )

    if scaled.shape[-1] < _LARGE:
        return bisected(scaled)
    return jax.lax.platform_dependent(scaled, cpu=selected, default=bisected)


def _bisect(enough: Callable[[jax.Array], jax.Array], scaled: jax.Array) -> jax.Array:
    """The largest t <= 0 in each row for which `enough(t)` holds; -inf if none does. Once it holds it must hold
    for everything below."""

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = low + (high - low) // 2
        holds = enough(-jax.lax.bitcast_convert_type(middle, jnp.float32))
        return jnp.where(holds, low, middle + 1), jnp.where(holds, middle, high)

    rows = scaled.shape[:-1]
    bounds = jnp.zeros(rows, jnp.int32), jnp.full(rows, _INF_BITS, jnp.int32)
    return -jax.lax.bitcast_convert_type(jax.lax.fori_loop(0, 31, halve, bounds)[1], jnp.float32)
