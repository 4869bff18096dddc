"""What PEFT itself writes, against the model that it runs. PEFT is no requirement: without it these skip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.weights import load_pretrained
from tests.models import zoo

# of peft.LoraConfig, over those below: the base, what differs, rows that the vocabulary is given first
BY_PEFT: dict[str, tuple[str, dict[str, Any], int]] = {
    "every layer's weights": ("phi3", {}, 0),
    "a trained copy of the embeddings": ("qwen2", {"modules_to_save": ["embed_tokens"]}, 0),
    "the same of tied ones": ("qwen2-window", {"modules_to_save": ["embed_tokens"]}, 0),
    "embeddings and head": ("qwen2", {"target_modules": ["embed_tokens", "lm_head", "q_proj"]}, 0),
    "tied embeddings": ("qwen2-window", {"target_modules": ["embed_tokens", "q_proj"]}, 0),
    "a tied head": ("qwen2-window", {"target_modules": ["lm_head", "q_proj"]}, 0),
    "all biases": ("llama-bias-linear", {"bias": "all"}, 0),
    "a grown vocabulary": ("qwen2", {}, 103),
    "a grown vocabulary, tied": ("qwen2-window", {}, 103),
}


@pytest.mark.torch
@pytest.mark.parametrize("case", BY_PEFT)
def test_what_peft_writes_is_the_model_that_it_runs(tmp_path: Path, case: str) -> None:
    try:
        import peft
        import torch
    except ImportError as error:
        pytest.skip(f"peft cannot be imported ({error})")
    name, options, rows = BY_PEFT[case]
    theirs = zoo.make(name, tmp_path / "base")
    theirs.config._name_or_path = theirs.name_or_path = str(tmp_path / "base")
    if rows:
        theirs.resize_token_embeddings(rows)
    patterns = {"rank_pattern": {"layers.1.mlp.down_proj": 2}, "alpha_pattern": {"o_proj": 3}}
    known = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "use_rslora": True, **patterns}
    wrapped = peft.get_peft_model(theirs, peft.LoraConfig(**known | options, init_lora_weights=False)).eval()
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    wrapped.save_pretrained(tmp_path / "adapter")
    tokens = np.random.default_rng(1).integers(3, zoo.VOCAB, size=11)
    with torch.no_grad():
        wanted = wrapped(torch.tensor(tokens)[None]).logits.numpy()
    found = np.asarray(load_pretrained(tmp_path / "adapter")(jnp.asarray(tokens, jnp.int32)[None]))
    np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(wanted).max())
