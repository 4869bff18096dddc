"""Cuts of a distribution by top-k, top-p and min-p: the least log-weight that is kept, without a sort.

The cut is found by bisection over the bit patterns of float32, whose order is that of the numbers: 31
passes of compare and add give the exact value, whatever the ties. XLA:CPU has a fast selection of the largest
few, worth its while where the vocabulary is large (on accelerators it is a sort). Which way a row goes
depends on that row alone, so that its draw does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

_SELECTED = 128  # the largest looked at before a row is bisected for top-p
_SELECTABLE = 512  # the largest k for which selecting beats bisecting
_INF_BITS = 0x7F800000


def least_kept(scaled_BxV: jax.Array, *, top_k: int, top_p: float, min_p: float, select: bool) -> jax.Array:
    """The least log-weight kept, float32 [B]: top-k, top-p of what that leaves, then min-p.

    scaled_BxV: float32 logits over temperature, less the largest of the row (0 is the likeliest token).
    Tokens tied with the last one kept are kept too. select: look at the largest few before bisecting.
    """
    B, V = scaled_BxV.shape
    least_B = jnp.full(B, -jnp.inf)
    if 0 < top_k < V:
        least_B = _top_k(scaled_BxV, top_k, select and top_k <= _SELECTABLE)
        if top_p < 1:
            scaled_BxV = jnp.where(scaled_BxV >= least_B[:, None], scaled_BxV, -jnp.inf)
    if top_p < 1:
        least_B = jnp.maximum(least_B, _top_p(scaled_BxV, top_p, select))
    if min_p > 0:
        least_B = jnp.maximum(least_B, jnp.log(jnp.float32(min_p)))
    return least_B


def _top_k(scaled: jax.Array, k: int, select: bool) -> jax.Array:
    if select:  # not the last column: XLA would merge that slice with the selection's own, and sort
        return jnp.min(jax.lax.top_k(scaled, k)[0], axis=-1)
    return _bisect(lambda t: jnp.sum((scaled >= t[:, None]).astype(jnp.int32), axis=-1) >= k, len(scaled))


def _top_p(scaled: jax.Array, p: float, select: bool) -> jax.Array:
    weights = jnp.exp(scaled)
    target = p * jnp.sum(weights, axis=-1)

    def reaches(t: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(scaled >= t[:, None], weights, 0.0), axis=-1) >= target

    if not select:
        return _bisect(reaches, len(scaled))
    largest = jax.lax.top_k(scaled, min(_SELECTED, scaled.shape[-1]))[0]
    reached = jnp.cumsum(jnp.exp(largest), axis=-1) >= target[:, None]
    least, found = jnp.max(jnp.where(reached, largest, -jnp.inf), axis=-1), jnp.any(reached, axis=-1)
    return jax.lax.cond(
        jnp.all(found), lambda: least, lambda: jnp.where(found, least, _bisect(reaches, len(scaled)))
    )


def _bisect(enough: Callable[[jax.Array], jax.Array], B: int) -> jax.Array:
    """The largest t <= 0 in each row for which `enough(t)` holds; -inf if none does.

    Once it holds it must hold for everything below.
    """

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = low + (high - low) // 2
        holds = enough(-jax.lax.bitcast_convert_type(middle, jnp.float32))
        return jnp.where(holds, low, middle + 1), jnp.where(holds, middle, high)

    bounds = jnp.zeros(B, jnp.int32), jnp.full(B, _INF_BITS, jnp.int32)
    return -jax.lax.bitcast_convert_type(jax.lax.fori_loop(0, 31, halve, bounds)[1], jnp.float32)
