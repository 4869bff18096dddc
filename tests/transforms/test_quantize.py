"""int8 weights: how far off, how small, and that every way to run a decoder reads them alike."""

from __future__ import annotations

import gc
import importlib.util
import weakref
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rstar_jax.models import Decoder, from_policy, init_random
from rstar_jax.models.linear import SUMMED, Quantized
from rstar_jax.transforms import quantize
from rstar_jax.transforms.quantize import _fill, parameter_bytes, quantized, to_int8
from tests.models import zoo

FAMILIES = ("mistral", "gemma2", "deepseek-v2")  # scanned layers, two kinds of them, latents and experts


def dense(model: Decoder) -> Decoder:
    """The same weights, rounding and all, as plain arrays."""
    params = {
        name: value.astype(jnp.float32) if isinstance(value, Quantized) else value
        for name, value in model.params().items()
    }
    return Decoder(model.config, params)


@nnx.jit
def run(model: Decoder, tokens: jax.Array) -> Any:
    """Logits of a text, states of a prefill, and of candidates that follow it."""
    length = jnp.array([4, 2])
    x, cache = model.prefill(tokens[:, :4], length)
    own = tokens[:, None, 4:]
    later, _, _ = model.extend(own, jnp.int32(0), cache, length, model.empty_suffix(2, 1, own.shape[2]))
    return model(tokens), x, later


raw = nnx.jit(lambda model, tokens: model.raw(tokens))


def states(model: Decoder) -> list[jax.Array]:
    return list(run(model, np.random.default_rng(0).integers(64, size=(2, 7)).astype(np.int32)))


def error(found: jax.Array, wanted: jax.Array) -> float:
    return float(jnp.abs(found - wanted).max() / jnp.abs(wanted).max())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_computes_with_the_rounded_weights_in_every_way(name: str) -> None:
    model = init_random(zoo.config(name), seed=1)
    full = states(model)
    to_int8(model)
    for found, rounded, wanted in zip(states(model), states(dense(model)), full, strict=True):
        assert error(found, rounded) < 1e-5
        assert 1e-4 < error(found, wanted) < 0.15


def test_a_weight_is_off_by_half_a_step_of_its_channel_at_most() -> None:
    weight = (
        jax.random.normal(jax.random.key(0), (3, 16, 4, 2)) * jnp.geomspace(1e-3, 1e3, 4)[None, None, :, None]
    )
    weight = weight.at[1, :, 2].set(0.0)
    int8 = quantized(weight, (1,), ("layers", "embed", "heads", None))
    assert int8.scale.shape == (3, 1, 4, 2)
    assert jnp.all(jnp.abs(int8.astype(jnp.float32) - weight) <= int8.scale * 0.5001)
    np.testing.assert_array_equal(int8.astype(jnp.float32)[1, :, 2], 0.0)
    assert jnp.all(jnp.abs(int8.values).max(axis=1)[0] == 127)


def test_norms_biases_and_routers_stay_and_twice_is_once() -> None:
    model = init_random(zoo.config("deepseek-v2"), seed=1)
    before = model.params()
    to_int8(model)
    once = model.params()
    to_int8(model)
    for name, value in model.params().items():
        small = name.rpartition(".")[2]
        if "norm" in small or "bias" in small or small == "router":
            np.testing.assert_array_equal(value, before[name])
        else:
            assert isinstance(value, Quantized)
            np.testing.assert_array_equal(value.values, once[name].values)


def test_a_reward_model_keeps_its_head(tiny: Decoder) -> None:
    model = from_policy(tiny)
    head = np.asarray(model.score[...])
    wanted = raw(model, np.arange(7)[None])
    to_int8(model)
    assert isinstance(model.decoder.params()["embed"], Quantized)
    np.testing.assert_array_equal(model.score[...], head)
    assert error(raw(model, np.arange(7)[None]), wanted) < 0.1


def test_the_peak_is_one_parameter_in_int8_and_a_layer_above_the_model() -> None:
    """In bfloat16, six layers: their int8 is filled in place, and one layer at a time is in float32."""
    weight = jax.ShapeDtypeStruct((6, 256, 512), jnp.bfloat16)
    int8 = Quantized(
        jax.ShapeDtypeStruct(weight.shape, jnp.int8), jax.ShapeDtypeStruct((6, 1, 512), jnp.float32)
    )
    lowered = _fill.lower(int8, weight, jnp.int32(0), summed=(1,), rows=1)
    used = lowered.compile().memory_analysis()
    assert used.alias_size_in_bytes == used.output_size_in_bytes - 16  # all but what holds the two together
    assert used.temp_size_in_bytes < 1.6 * 512 * 256 * 4


def test_full_arrays_are_let_go(tiny: Decoder) -> None:
    model = init_random(tiny.config, seed=3)
    full = parameter_bytes(model)
    held = [weakref.ref(value) for name, value in model.params().items() if name.rpartition(".")[2] in SUMMED]
    to_int8(model)
    gc.collect()
    assert len(held) == 9 and not any(value() is not None for value in held)
    assert parameter_bytes(model) < 0.45 * full  # scales weigh more in so small a model


def test_a_vocabulary_is_cut_into_blocks_that_may_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = jax.random.normal(jax.random.key(0), (19, 8))
    whole = quantized(weight, (1,), (None, None))
    monkeypatch.setattr(quantize, "BLOCK", 8)
    jax.tree.map(np.testing.assert_array_equal, quantized(weight, (1,), (None, None)), whole)


@pytest.fixture(scope="module")
def measured() -> Any:
    """What benchmarks/int8.py prints of the tiny base, on a few problems."""
    file = Path(__file__).parents[2] / "benchmarks" / "int8.py"
    spec = importlib.util.spec_from_file_location("int8_benchmark", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.measure(module.TINY_BASE, "float32", count=27)


def test_the_tiny_base_hardly_changes(measured: Any) -> None:
    assert measured.full_perplexity < 1.6  # it knows the suite
    assert measured.int8_perplexity == pytest.approx(measured.full_perplexity, rel=0.01)
    assert 1e-4 < measured.worst < 0.5
    assert measured.agreement > 0.99
    assert measured.same_steps > 0.9
    assert measured.int8_bytes < 0.28 * measured.full_bytes
