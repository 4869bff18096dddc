"""Learning-rate schedules, with the number of steps as an array: another length of training is no
recompile.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

# The share of the peak rate left when a share `done` of the steps after warm-up is behind us.
SCHEDULES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + jnp.cos(jnp.pi * done)),
}


def rate(
    schedule: str, step: jax.Array, total_steps: jax.Array, peak: jax.Array, warmup_fraction: jax.Array
) -> jax.Array:
    """The learning rate of step `step` (from 0), float32 scalar.

    Rises linearly over the first warmup_fraction * total_steps steps, reaches `peak`, and falls to 0 at
    total_steps: the last step, total_steps - 1, still learns a little.
    """
    step, total = jnp.float32(step), jnp.float32(total_steps)
    warmup = jnp.floor(warmup_fraction * total)
    rising = (step + 1.0) / jnp.maximum(warmup, 1.0)
    done = (step - warmup) / jnp.maximum(total - warmup, 1.0)
    falling = SCHEDULES[schedule](jnp.clip(done, 0.0, 1.0))
    return peak * jnp.where(step < warmup, rising, falling)
