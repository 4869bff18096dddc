"""Weights laid out for decoding on a CPU give what they gave before, in every family and form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from rstar_jax.models import Decoder, cache, init_random
from rstar_jax.models.decode_layout import for_decode
from rstar_jax.models.linear import Beneath, Layers, Rows


def outcomes(model: Decoder) -> list[jax.Array]:
    """Logits of a text, and of two candidates after it."""
    tokens = jnp.asarray(np.random.default_rng(0).integers(60, size=(1, 7)))
    length = jnp.array([7])

    @jax.jit
    def run(params: dict) -> list[jax.Array]:
        m = Decoder(model.config, params, compute_dtype=model.compute_dtype)
        x, kv = m.prefill(tokens, length)
        shared = m.share(cache.lay_out(kv), length, 2)
        candidates = tokens[:, :4].reshape(1, 2, 2)
        more, _, _ = m.extend(candidates, jnp.int32(0), shared, length, m.empty_suffix(1, 2, 2))
        return [m.logits(x), m.logits(more)]

    return run(model.params()) + run(for_decode(model.params(), model.config))


@pytest.mark.parametrize("family", zoo.ZOO)
def test_every_family_says_the_same(family: str) -> None:
    text, after, *laid_out = outcomes(init_random(zoo.config(family), 0))
    for before, found in zip((text, after), laid_out, strict=True):
        np.testing.assert_allclose(found, before, rtol=1e-4, atol=1e-5)


def test_scanned_layers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("cache", "decoder", "decode_layout"):
        monkeypatch.setattr(f"rstar_jax.models.{module}.UNROLL_UP_TO", 0)
    model = init_random(zoo.config("qwen2"), 0)
    laid_out = for_decode(model.params(), model.config)
    assert isinstance(laid_out["layers.q"], Rows) and isinstance(laid_out["layers.up"], Beneath)
    text, after, *others = outcomes(model)
    for before, found in zip((text, after), others, strict=True):
        np.testing.assert_allclose(found, before, rtol=1e-4, atol=1e-5)


def test_bfloat16_rows_are_looked_up_as_they_are() -> None:
    model = init_random(zoo.config("qwen2"), 0, dtype=jnp.bfloat16)
    laid_out = for_decode(model.params(), model.config)
    table, at = laid_out["embed"], jnp.array([[3, 0], [5, 3]])
    assert isinstance(table, Rows) and table.bits is not None
    np.testing.assert_array_equal(jax.jit(lambda t: t[at])(table), model.params()["embed"][at])
    assert isinstance(laid_out["layers.q"], Layers)
    assert all(laid_out[name].shape == array.shape for name, array in model.params().items())
