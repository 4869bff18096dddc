"""Speed of this host's CPU, by trying it: no table holds what CPUs differ by."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax.plan.cost import Device

WIDTH = 1024  # of the square product that is timed
BYTES = 2**26  # that are copied: more than most caches hold
TRIES = 3  # of which the fastest counts


def cpu(dtype: Any) -> Device:
    """This host as a `cost.Device`, all cores that JAX uses together; takes a fifth of a second.

    dtype: of the numbers that models compute with. Its memory is not told (needs.Machine.free is).
    """
    x = jnp.ones((WIDTH, WIDTH), dtype)
    product = jax.jit(lambda a: jnp.matmul(a, a, preferred_element_type=jnp.float32))
    product(x).block_until_ready()  # compiles
    source = np.ones(BYTES, np.uint8)
    target = source.copy()
    flops = 2 * WIDTH**3 / _fastest(lambda: product(x).block_until_ready())
    return Device("this CPU", 2 * BYTES / _fastest(lambda: np.copyto(target, source)), flops, math.inf)


def _fastest(work: Callable[[], Any]) -> float:
    best = math.inf
    for _ in range(TRIES):
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
    return best
