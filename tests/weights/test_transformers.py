"""Live comparison with transformers of what does not vary by family; the rest is in test_families.py."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import transformers
from flax import nnx

from rstar_jax.models import resize_vocab
from rstar_jax.weights import load_pretrained, save_pretrained

pytestmark = pytest.mark.torch

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
LENGTHS = [9, 4, 7]


@pytest.fixture(scope="module", params=["qwen2", "qwen2-tied"])
def pair(request):
    folder = GOLDEN / request.param
    return load_pretrained(folder), transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def rows() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(64, size=n).astype(np.int32) for n in LENGTHS]


def theirs(model, tokens: np.ndarray, **kwargs) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model(torch.tensor(tokens), **kwargs).logits.numpy()


def assert_close(ours: np.ndarray, reference: np.ndarray) -> None:
    assert np.abs(ours - reference).max() < 1e-4 * np.abs(reference).max()


def test_gradients_agree(pair) -> None:
    import torch

    model, reference = pair
    tokens = np.stack([row[:4] for row in rows()])
    gradients = nnx.jit(nnx.grad(lambda m: jnp.mean(jnp.square(m(jnp.asarray(tokens))))))(model)
    reference.zero_grad()
    reference(torch.tensor(tokens)).logits.square().mean().backward()
    ours, theirs = gradients.layers, reference.model.layers
    assert_close(gradients.embed[...], reference.model.embed_tokens.weight.grad.numpy())
    for layer in range(3):
        q = theirs[layer].self_attn.q_proj.weight.grad.numpy()
        assert_close(ours["q"][layer].reshape(q.shape[::-1]).T, q)
        assert_close(ours["down"][layer].T, theirs[layer].mlp.down_proj.weight.grad.numpy())


def test_transformers_loads_a_folder_with_more_tokens(pair, tmp_path) -> None:
    model, _ = pair
    model = resize_vocab(model, 70)
    save_pretrained(model, tmp_path / "m", shard_bytes=4000)
    reloaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    tokens = np.arange(50, 70, dtype=np.int32)[None]
    assert_close(np.asarray(model(jnp.asarray(tokens))), theirs(reloaded, tokens))
