"""Low-rank additions: nothing at first, alone in training, part of the weights after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import transformers
from flax import nnx

from rstar_jax.errors import UserError
from rstar_jax.models import Decoder, from_policy, init_random
from rstar_jax.transforms.lora import Adapted, LoraConfig, adapt, adapted, additions, merge
from rstar_jax.transforms.quantize import to_int8
from rstar_jax.weights import load_pretrained, save_pretrained
from tests.models import zoo

CONFIG = LoraConfig(rank=3, alpha=6.0)
TEXT = np.random.default_rng(0).integers(64, size=(2, 7)).astype(np.int32)
ALL = ("q", "q_down", "kv_down", "kv_up", "o", "gate", "down", "experts_gate", "experts_up", "experts_down")


@nnx.jit
def logits(model: Decoder, tokens: jax.Array) -> jax.Array:
    return model(tokens)


def trained_and_saved(name: str, folder: Path) -> jax.Array:
    """The logits of a model before its additions became part of the weights; its folder."""
    model = init_random(zoo.config(name), seed=1)
    adapt(model, LoraConfig(2, 4.0, ("q", "o", "gate", "down")), seed=0)
    stir(model)
    trained = logits(model, TEXT)
    merge(model)
    save_pretrained(model, folder)
    return trained


def stir(model: nnx.Module) -> None:
    """Gives every parameter that trains other values, as a training would."""
    rng = np.random.default_rng(3)
    for _, node in nnx.iter_graph(model):
        if isinstance(node, nnx.Param):
            value = node.get_value()
            node.set_value(value + jnp.asarray(0.1 * rng.standard_normal(value.shape), value.dtype))


def close(one: Any, other: Any, tolerance: float = 1e-5) -> None:
    assert np.abs(one - other).max() < tolerance * np.abs(other).max()


@pytest.mark.parametrize(
    ("name", "targets"), [("qwen2", CONFIG.targets), ("mistral", ("v", "up")), ("deepseek-v2", ALL)]
)
def test_it_starts_as_the_base_and_ends_in_the_weights(name: str, targets: tuple[str, ...]) -> None:
    model = init_random(zoo.config(name), seed=1)
    before, base = model.params(), logits(model, TEXT)
    adapt(model, LoraConfig(3, 6.0, targets), seed=0)
    np.testing.assert_array_equal(logits(model, TEXT), base)
    stir(model)
    trained = logits(model, TEXT)
    assert np.abs(trained - base).max() > 0.05 * np.abs(base).max()
    merge(model)
    close(logits(model, TEXT), trained)
    after = model.params()
    changed = {full.rpartition(".")[2] for full in after if not np.array_equal(after[full], before[full])}
    assert changed == set(targets)
    assert {str(path[-1]) for path, node in nnx.iter_graph(model) if isinstance(node, nnx.Param)} == {
        full.rpartition(".")[2] for full in before
    }


def test_latents_and_experts_are_adapted_in_cached_decoding_too() -> None:
    """There latents' weights are used the other way round."""

    @nnx.jit
    def extended(model: Decoder, tokens: jax.Array) -> jax.Array:
        length = jnp.array([4, 2])
        _, cache = model.prefill(tokens[:, :4], length)
        suffix = model.empty_suffix(2, 1, 3)
        return model.extend(tokens[:, None, 4:], jnp.int32(0), cache, length, suffix)[0]

    model = init_random(zoo.config("deepseek-v2"), seed=1)
    adapt(model, LoraConfig(2, 2.0, ALL), seed=0)
    stir(model)
    trained = extended(model, TEXT)
    merge(model)
    close(extended(model, TEXT), trained)


@pytest.mark.parametrize(("name", "int8"), [("qwen2", False), ("gemma2", False), ("qwen2", True)])
def test_rows_of_new_tokens_train_beside_them_and_end_in_the_table(name: str, int8: bool) -> None:
    """An untied head has rows of its own; a tied one with a soft-cap shares them."""
    c = zoo.config(name)
    model, new = init_random(c, seed=1), range(40, 45)
    if int8:
        to_int8(model)
    before, base = model.params(), logits(model, TEXT)
    adapt(model, CONFIG, seed=0, new_tokens=new)
    close(logits(model, TEXT), base, 1e-6 if int8 else 1e-9)
    tables = ["embed"] if c.tied else ["embed", "head"]
    assert {n for n in additions(model) if n.endswith("rows")} == {f"{n}.rows" for n in tables}
    gradients = nnx.grad(lambda m: jnp.sum(jnp.square(m(jnp.array([[41, 3, 44]])))))(model)
    for table in tables:
        rows = gradients[table]["rows"][...]
        assert rows.shape == (5, c.width) and bool(jnp.all(jnp.any(rows != 0, axis=1)) or table == "embed")
    stir(model)
    trained = logits(model, TEXT)
    merge(model)
    close(logits(model, TEXT), trained)
    for table in tables:
        was, now = (np.asarray(p[table].astype(jnp.float32)) for p in (before, model.params()))
        changed = np.any(was != now, axis=1)
        assert np.flatnonzero(changed).tolist() == list(new)


def test_only_the_additions_train(tiny: Decoder) -> None:
    model = init_random(tiny.config, seed=2)
    adapt(model, LoraConfig(2, 8.0, ("q", "down")), seed=0)
    names = {f"layers.{name}.{part}" for name in ("q", "down") for part in "ab"}
    assert additions(model).keys() == names
    params = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    assert {".".join(str(key.key) for key in path) for path, _ in params} == names  # type: ignore[union-attr]
    c = tiny.config
    shapes = [additions(model)[f"layers.{n}"].shape for n in ("q.a", "q.b", "down.a", "down.b")]
    wanted = [(c.width, 2), (2, c.heads, c.head_dim), (c.mlp, 2), (2, c.width)]
    assert shapes == [(c.layers, *shape) for shape in wanted]


def test_the_start_depends_on_the_seed_alone(tiny: Decoder) -> None:
    def start(seed: int) -> dict[str, jax.Array]:
        model = init_random(tiny.config, seed=0)
        adapt(model, CONFIG, seed=seed)
        return additions(model)

    jax.tree.map(np.testing.assert_array_equal, start(1), start(1))
    assert not np.array_equal(start(1)["layers.q.a"], start(2)["layers.q.a"])
    a = start(1)["layers.gate.a"]
    assert not np.array_equal(a, start(1)["layers.up.a"])
    assert float(jnp.std(a)) == pytest.approx(tiny.config.width**-0.5, rel=0.2)


def test_a_reward_models_head_trains_whole_and_in_float32(tiny: Decoder) -> None:
    params = {name: value.astype(jnp.bfloat16) for name, value in tiny.params().items()}
    model = from_policy(Decoder(tiny.config, params), seed=0)
    head = np.asarray(model.score[...])
    with adapted(model, CONFIG, seed=0):
        assert model.score[...].dtype == jnp.float32 and isinstance(model.score.times, nnx.Param)
        assert all(x.dtype == jnp.float32 for x in additions(model.decoder).values())
        stir(model)
    assert model.score[...].dtype == model.decoder.params()["layers.q"].dtype == jnp.bfloat16
    assert isinstance(model.score, nnx.Param) and not np.array_equal(model.score[...], head)


def test_a_head_trains_times_the_norm_of_the_states_that_it_reads(tiny: Decoder) -> None:
    """Else a step of Adam would move all values together by more the longer the states of a model are."""
    params = {**tiny.params(), "norm": 20 * tiny.params()["norm"]}
    model = from_policy(Decoder(tiny.config, params), seed=0)
    head, tokens = np.asarray(model.score[...]), jnp.arange(8)[None]
    norms = jnp.linalg.norm(model.decoder.hidden(tokens), axis=-1)
    values = model.raw(tokens)
    with adapted(model, CONFIG, seed=0):
        np.testing.assert_allclose(model.raw(tokens), values, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(model.score.by[...] / norms, 1, rtol=0.01)
        model.score.times.set_value(model.score.times[...] + 1)
    np.testing.assert_allclose(model.score[...] - head, 1 / norms.mean(), rtol=0.01)


def test_what_fails_inside_still_leaves_weights(tiny: Decoder) -> None:
    model = init_random(tiny.config, seed=2)
    base = model.params()
    with pytest.raises(KeyboardInterrupt), adapted(model, CONFIG, seed=0):
        raise KeyboardInterrupt
    jax.tree.map(np.testing.assert_array_equal, model.params(), base)


def test_additions_to_int8_weights(tiny: Decoder) -> None:
    model = init_random(tiny.config, seed=2)
    to_int8(model)
    base = logits(model, TEXT)
    adapt(model, CONFIG, seed=0)
    np.testing.assert_array_equal(logits(model, TEXT), base)
    stir(model)
    trained = logits(model, TEXT)
    merge(model)
    assert model.params()["layers.q"].dtype == jnp.float32
    close(logits(model, TEXT), trained)


def test_without_a_rank_nothing_happens(tiny: Decoder) -> None:
    model = init_random(tiny.config, seed=2)
    with adapted(model, LoraConfig(), seed=0):
        assert not any(isinstance(node, Adapted) for _, node in nnx.iter_graph(model))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"targets": ("q", "upp")}, "train.lora.targets: 'upp' is no weight of a layer. Did you mean 'up'?"),
        ({"targets": ("embed",)}, "'embed' is no weight of a layer"),
        ({"targets": ()}, "train.lora.targets: none given"),
        ({"rank": -1}, "train.lora.rank: -1 given, 0"),
        ({"alpha": 0.0}, "train.lora.alpha: 0.0 given"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        LoraConfig(**options)


def test_a_weight_that_the_model_lacks_is_named(tiny: Decoder) -> None:
    model = init_random(tiny.config, seed=2)
    with pytest.raises(
        UserError, match=r"'kv_up' given, but this qwen2 .* It has q, k, v, o, gate, up, down\."
    ):
        adapt(model, LoraConfig(2, 2.0, ("q", "kv_up")), seed=0)
    assert isinstance(model.embed, nnx.Param)


@pytest.mark.parametrize("name", ["qwen2", "phi3", "deepseek-v2-lite"])
def test_a_saved_folder_holds_the_trained_model(name: str, tmp_path: Path) -> None:
    trained = trained_and_saved(name, tmp_path / "m")
    close(logits(load_pretrained(tmp_path / "m"), TEXT), trained)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["qwen2", "phi3", "deepseek-v2-lite"])
def test_transformers_reads_the_trained_model(name: str, tmp_path: Path) -> None:
    import torch

    trained = trained_and_saved(name, tmp_path / "m")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "m", attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        close(theirs(torch.tensor(TEXT), use_cache=False).logits.float().numpy(), np.asarray(trained), 1e-4)
