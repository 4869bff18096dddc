"""Weights laid out for decoding give what they gave before, in every family and form."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.engine.shape import EngineModel
from rstar_jax.kernels import attention_mesh
from rstar_jax.models import Decoder, cache, from_policy, init_random
from rstar_jax.models.linear import FusedWithGate, LowRank, OutputMajor, Quantized, Unstacked
from rstar_jax.transforms.decode_layout import for_decode, keep_apart
from rstar_jax.transforms.lora import LoraConfig, adapt
from rstar_jax.transforms.quantize import to_int8
from tests.models import zoo


def outcomes(model: Decoder, params: dict[str, Any]) -> list[jax.Array]:
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

    return run(params)


def assert_same(some: list[jax.Array], others: list[jax.Array]) -> None:
    for before, found in zip(some, others, strict=True):
        np.testing.assert_allclose(found, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", zoo.ZOO)
def test_every_family_says_the_same(family: str) -> None:
    model = init_random(zoo.config(family), 0)
    params = model.params()
    assert_same(outcomes(model, params), outcomes(model, for_decode(params, model.config)))


def test_scanned_layers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("cache", "decoder"):
        monkeypatch.setattr(f"rstar_jax.models.{module}.UNROLL_UP_TO", 0)
    monkeypatch.setattr("rstar_jax.models.cache.UNROLL_DECODING_UP_TO", {})
    model = init_random(zoo.config("qwen2"), 0)
    laid_out = for_decode(model.params(), model.config)
    assert isinstance(laid_out["layers.q"], OutputMajor) and isinstance(laid_out["layers.up"], FusedWithGate)
    assert_same(outcomes(model, model.params()), outcomes(model, laid_out))


def test_bfloat16_rows_are_looked_up_as_they_are() -> None:
    model = init_random(zoo.config("qwen2"), 0, dtype=jnp.bfloat16)
    laid_out = for_decode(model.params(), model.config)
    table, at = laid_out["embed"], jnp.array([[3, 0], [5, 3]])
    assert isinstance(table, OutputMajor) and table.bits is not None
    np.testing.assert_array_equal(jax.jit(lambda t: t[at])(table), model.params()["embed"][at])
    assert isinstance(laid_out["layers.q"], Unstacked)
    assert all(laid_out[name].shape == array.shape for name, array in model.params().items())


def in_form(family: str, form: str) -> Decoder:
    model = init_random(zoo.config(family), 0)
    if form == "int8":
        to_int8(model)
    if form == "low rank":
        adapt(model, LoraConfig(2, 2.0, ("q", "o", "kv_up" if model.config.latent else "down")), seed=0)
        for stack in model.config.stacks:  # additions start as zeros
            for name in ("q", "o"):
                added = getattr(model, stack.name)[name].b
                added[...] = jax.random.normal(jax.random.key(1), added[...].shape)
    return model


@pytest.mark.parametrize(
    ("family", "form"),
    [
        ("gemma2", "plain"),  # layers of two kinds
        ("deepseek-v2-lite", "int8"),  # latent attention, experts, two stacks
        ("deepseek-v2-lite", "low rank"),
    ],
)
def test_layers_kept_apart_say_the_same(monkeypatch: pytest.MonkeyPatch, family: str, form: str) -> None:
    """As on an NVIDIA GPU, where of these layers a scan is made for nothing but training."""
    model = in_form(family, form)
    plain = model.params()
    expected = outcomes(model, plain)
    for module in ("cache", "decoder"):
        monkeypatch.setattr(f"rstar_jax.models.{module}.UNROLL_UP_TO", 0)
    monkeypatch.setattr(attention_mesh, "platform", lambda mesh: "cuda")
    params = EngineModel.of(model).place(plain)
    assert all(params[name].shape == weight.shape for name, weight in plain.items())
    kind = {"plain": jax.Array, "int8": Quantized, "low rank": LowRank}[form]
    for name, weight in params.items():
        assert isinstance(weight, Unstacked) == ("." in name)
        assert not name.endswith(".q") or all(isinstance(one, kind) for one in weight.layers)
    assert_same(expected, outcomes(model, params))
    if form == "plain":  # caches by layer, but weights in stacks
        assert_same(expected, outcomes(model, plain))


def test_a_model_split_in_place_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_mesh, "platform", lambda mesh: "cuda")
    reward = from_policy(init_random(zoo.config("qwen2"), 0), seed=1)
    before = reward.decoder.params()
    keep_apart(reward, reward.decoder.config)
    params = reward.decoder.params()
    for name, weight in params.items():
        if isinstance(weight, Unstacked):
            np.testing.assert_array_equal(jnp.stack(weight.layers), before[name])
    placed = EngineModel.of(reward.decoder).place({**params, "score": reward.score[...]})
    assert jax.tree.structure({n: placed[n] for n in params}) == jax.tree.structure(params)
    for name, weight in params.items():
        for own, given in zip(jax.tree.leaves(placed[name]), jax.tree.leaves(weight), strict=True):
            assert own.unsafe_buffer_pointer() == given.unsafe_buffer_pointer()
