"""Every family against transformers: logits, generation by caches, folders in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import transformers
from flax import nnx

from rstar_jax.models import Decoder, from_policy
from rstar_jax.models.cache import lay_out
from rstar_jax.weights import load_pretrained, load_reward_model, save_pretrained, save_reward_model
from tests.models.compare import LENGTHS, batch, error, reference, run, texts
from tests.models.zoo import ZOO, make

pytestmark = pytest.mark.torch

NEW = 64


class Pair(NamedTuple):
    name: str
    folder: Path
    theirs: Any
    ours: Decoder


@pytest.fixture(scope="module", params=ZOO)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("zoo") / "model"
    theirs = make(request.param, folder)
    return Pair(request.param, folder, theirs, load_pretrained(folder))


def one_of_each(pair: Pair) -> None:
    """Skips all but one member of each family, where members do not differ in what is tested."""
    kinds = {prefix: name for name, (prefix, _) in ZOO.items()}
    if pair.name not in kinds.values():
        pytest.skip("another member of this family is tested")


def test_logits_agree_however_texts_are_padded_and_packed(pair: Pair) -> None:
    tokens, positions, segments, where = batch()
    ours = np.asarray(run(pair.ours, tokens, positions, segments))
    wanted = [reference(pair.theirs, text) for text in texts()]
    for i, row, first in where:
        assert error(ours[row, first : first + LENGTHS[i]], wanted[i]) < 1e-4


def test_bfloat16_is_as_near_as_that_of_transformers(pair: Pair) -> None:
    one_of_each(pair)
    text = texts()[0]
    exact = reference(pair.theirs, text)
    half = transformers.AutoModelForCausalLM.from_pretrained(pair.folder, dtype="bfloat16").eval()
    ours = run(load_pretrained(pair.folder, dtype=jnp.bfloat16), text[None])
    assert ours.dtype == jnp.float32
    mean = np.abs(np.asarray(ours)[0] - exact).mean()
    assert 0 < mean < 1.5 * np.abs(reference(half, text) - exact).mean() + 0.005 * np.abs(exact).mean()


@nnx.jit
def generate(model: Decoder, prefixes: jax.Array, length: jax.Array, pending: jax.Array) -> jax.Array:
    """Greedy texts [B, N, 1 + NEW] that begin with `pending`, each fed back through the caches."""
    B, N = pending.shape
    S = NEW + 1
    _, prefix = model.prefill(prefixes, length)
    shared = model.share(lay_out(prefix), length, S)

    def step(carry: tuple[jax.Array, Any], i: jax.Array) -> tuple[tuple[jax.Array, Any], jax.Array]:
        token, suffix = carry
        x, suffix, _ = model.extend(token[..., None], i, shared, length, suffix)
        new = jnp.argmax(model.logits(x[:, :, 0]), axis=-1).astype(jnp.int32)
        return (new, suffix), new

    _, tokens = jax.lax.scan(step, (pending, model.empty_suffix(B, N, S)), jnp.arange(NEW))
    return jnp.concatenate([pending[..., None], jnp.moveaxis(tokens, 0, -1)], axis=-1)


def test_greedy_generation_agrees_token_for_token(pair: Pair) -> None:
    """Each token is the one that transformers finds most probable after all that stands before it."""
    tokens = np.stack([np.resize(text, max(LENGTHS)) for text in texts()])[[0, 2]]
    length = np.array([LENGTHS[0], LENGTHS[2]], np.int32)
    pending = np.array([[5, 17], [60, 99]], np.int32)
    found = np.asarray(generate(pair.ours, tokens, length, pending))
    for b in range(2):
        for n in range(2):
            whole = np.concatenate([tokens[b, : length[b]], found[b, n]])
            best = reference(pair.theirs, whole).argmax(axis=-1)
            np.testing.assert_array_equal(best[length[b] : -1], found[b, n, 1:])


def test_transformers_loads_our_folder_with_the_same_logits(pair: Pair, tmp_path: Path) -> None:
    save_pretrained(pair.ours, tmp_path / "m", shard_bytes=20_000)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m", attn_implementation="eager")
    text = texts()[0]
    assert error(reference(again.eval(), text), reference(pair.theirs, text)) < 1e-6
    assert load_pretrained(tmp_path / "m").config == pair.ours.config


def test_transformers_loads_our_reward_folder_with_the_same_values(pair: Pair, tmp_path: Path) -> None:
    one_of_each(pair)
    model = from_policy(pair.ours, seed=3)
    save_reward_model(model, tmp_path / "r")
    again = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "r", attn_implementation="eager"
    ).eval()
    assert again.num_labels == 1
    text = texts()[0]
    values = np.asarray(nnx.jit(lambda m, t: m.raw(t))(model, text[None]))
    assert error(values[:, -1], reference(again, text)) < 1e-4
    same = load_reward_model(tmp_path / "r")
    assert same.decoder.config == model.decoder.config
    np.testing.assert_array_equal(same.score[...], model.score[...])
