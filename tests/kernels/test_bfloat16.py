"""What is done on the bits of bfloat16 gives what JAX's own operations give."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax.models.bfloat16 import rounded, select


def test_rounding_is_that_of_astype_for_every_kind_of_number() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(2**32, size=200_000, dtype=np.uint32)  # all signs and exponents, NaN and subnormals
    halves = (rng.integers(2**16, size=5_000, dtype=np.uint32) << 16) | 0x8000  # between two of bfloat16
    edges = np.array([0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 1e-45], np.float32)
    x = np.concatenate([np.concatenate([bits, halves, halves - 1, halves + 1]).view(np.float32), edges])
    expected, found = (
        np.asarray(a) for a in jax.jit(lambda x: (x.astype(jnp.bfloat16), rounded(x, jnp.bfloat16)))(x)
    )
    numbers = ~np.isnan(x)
    np.testing.assert_array_equal(found.view(np.uint16)[numbers], expected.view(np.uint16)[numbers])
    assert np.isnan(found[~numbers].astype(np.float32)).all() and (~numbers).any()
    assert rounded(jnp.asarray(edges), jnp.float32).dtype == jnp.float32


def test_gradients_are_those_of_the_operations_they_stand_for() -> None:
    x, y = jax.random.normal(jax.random.key(0), (2, 7, 5))
    which = x > 0

    def norm(round_: Any, where: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        chosen = where(which, round_(x * y, jnp.bfloat16), round_(y, jnp.bfloat16))
        return jnp.sum(chosen.astype(jnp.float32) ** 2)

    found, expected = (
        jax.grad(norm, argnums=(2, 3))(*how, x, y) for how in ((rounded, select), (jnp.astype, jnp.where))
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_select_keeps_every_bit() -> None:
    x, y = jax.random.normal(jax.random.key(0), (2, 7, 5), jnp.bfloat16)
    which = jax.random.bernoulli(jax.random.key(1), shape=(7, 5))
    np.testing.assert_array_equal(jax.jit(select)(which, x, y), jnp.where(which, x, y))
