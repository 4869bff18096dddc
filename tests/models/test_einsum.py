"""Dtypes that products are made in: sums between devices are as small as what is made of them."""

import jax
import jax.numpy as jnp
import pytest

from rstar_jax.models import einsum


def products(pattern, x, w):
    """Dtypes of the products of a forward and a backward pass: forward, by x, by w."""

    def total(x, w):
        return einsum.einsum(pattern, jnp.bfloat16, x, w).sum()

    text = jax.make_jaxpr(jax.grad(total, argnums=(0, 1)))(x, w)
    return [
        str(equation.outvars[0].aval.dtype)
        for equation in text.eqns
        for equation in (equation, *_inside(equation))
        if equation.primitive.name == "dot_general"
    ]


def _inside(equation):
    for value in equation.params.values():
        inner = getattr(value, "jaxpr", value)
        for each in getattr(inner, "eqns", ()):
            yield each
            yield from _inside(each)


@pytest.mark.parametrize(
    ("platform", "pattern", "shape", "expected"),
    [
        ("cpu", "...f,fd->...d", (8, 4), ["float32"] * 3),
        ("tpu", "...f,fd->...d", (8, 4), ["bfloat16", "bfloat16", "float32"]),  # states: rounded next
        ("tpu", "...d,df->...f", (8, 4), ["float32", "bfloat16", "float32"]),
        ("tpu", "...d,vd->...v", (4, 8), ["float32", "bfloat16", "float32"]),  # logits stay exact
    ],
)
def test_what_is_rounded_next_is_multiplied_so_on_a_tpu(platform, pattern, shape, expected, monkeypatch):
    monkeypatch.setattr(einsum, "current_platform", lambda: platform)
    x, w = jnp.ones((2, 3, 8), jnp.bfloat16), jnp.ones(shape, jnp.float32)
    assert products(pattern, x, w) == expected
