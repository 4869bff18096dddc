"""The steps of a training that count: one that is not finite, or a spike, changes nothing.

Decided on the device, within the update, from figures that all devices have alike, so that no host is asked
and all processes of a mesh decide the same. How many were skipped is counted by the host (`progress.py`).

A step is bad if its loss or its gradient norm is not finite (as `optax.apply_if_finite`), or, with
`train.spike`, above the median of the last 128 steps by so many standard deviations. OLMo 2's rule (arXiv
2501.00656, OLMo-core's SkipStepOptimizer) takes mean and deviation of the last 128; median and median
absolute deviation are not moved by the spikes themselves. Spikes enter the window, too: where losses stay at
another level, half a window later that is no spike any more.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

WINDOW = 128  # steps that a spike is held against
_AT_LEAST = WINDOW // 2  # of them, before there are spikes
_DEVIATION = 1.4826  # a standard deviation in median absolute deviations, of a normal distribution


def window() -> jax.Array:
    """Return the figures of no step: [2, WINDOW] float32, losses and gradient norms, NaN where none is."""
    return jnp.full((2, WINDOW), jnp.nan, jnp.float32)


def judge(
    loss: jax.Array, grad_norm: jax.Array, recent: jax.Array | None, spike: float
) -> tuple[jax.Array, jax.Array | None]:
    """Tell whether a step counts, and return the window with its figures.

    loss, grad_norm: float32 scalars. recent: [2, WINDOW], as of `window`, in no order; None: no spikes.
    spike: standard deviations above the median from which on a step is one.
    """
    figures = jnp.stack([loss, grad_norm]).astype(jnp.float32)
    finite = jnp.isfinite(figures).all()
    if recent is None:
        return finite, None
    median = jnp.nanmedian(recent, axis=1)
    deviation = _DEVIATION * jnp.nanmedian(jnp.abs(recent - median[:, None]), axis=1)
    known = jnp.isfinite(recent[0]).sum() >= _AT_LEAST
    spiked = known & (figures > median + spike * deviation).any()
    moved = jnp.concatenate([recent[:, 1:], figures[:, None]], axis=1)
    return finite & ~spiked, jnp.where(finite, moved, recent)


def unsteadiness(skipped: int, steps: int) -> str:
    """Say, where steps were skipped, how many, or nothing."""
    if not skipped:
        return ""
    return (
        f"{skipped:,} of {steps:,} steps changed nothing, as their loss or gradient norm was not finite or a "
        "spike (train.spike); metrics.jsonl says which"
    )
