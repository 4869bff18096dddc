"""The three ways to say where a candidate's next tokens stand agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rstar_jax.models import DecoderConfig, init_random

extend = nnx.jit(lambda model, *args: model.extend(*args))


@pytest.mark.parametrize("T", [1, 3])
def test_start_by_leaf_equals_start_by_row(T: int) -> None:
    model = init_random(
        DecoderConfig(vocab_size=32, width=16, layers=2, heads=4, kv_heads=2, head_dim=4, mlp=24), seed=0
    )
    B, N, P, S = 3, 2, 5, 8
    rng = np.random.default_rng(0)
    _, prefix = model.prefill(jnp.asarray(rng.integers(32, size=(B, P))), jnp.array([5, 2, 3]))
    suffix = jax.tree.map(
        lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), model.empty_suffix(B, N, S)
    )
    tokens = jnp.asarray(rng.integers(32, size=(B, N, T)))
    start = jnp.array([0, 4, 2])
    by_leaf = extend(model, tokens, start, prefix, jnp.array([5, 2, 3]), suffix)
    rows = jnp.broadcast_to(start[:, None], (B, N))
    by_row = extend(model, tokens, rows, prefix, jnp.array([5, 2, 3]), suffix)
    for one, other in zip(jax.tree.leaves(by_leaf), jax.tree.leaves(by_row), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_scalar_start_equals_start_by_leaf() -> None:
    model = init_random(
        DecoderConfig(vocab_size=32, width=16, layers=2, heads=4, kv_heads=2, head_dim=4, mlp=24), seed=0
    )
    tokens = jnp.arange(6).reshape(3, 2, 1)
    _, prefix = model.prefill(jnp.arange(12).reshape(3, 4), jnp.array([4, 2, 3]))
    args = prefix, jnp.array([4, 2, 3]), model.empty_suffix(3, 2, 8)
    one, other = extend(model, tokens, jnp.int32(2), *args), extend(model, tokens, jnp.full(3, 2), *args)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
