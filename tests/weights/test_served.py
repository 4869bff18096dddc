"""What others read of our folders: types, padding, tokenizers with the grammar's tokens."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import transformers

from rstar_jax.errors import UserError
from rstar_jax.models import Decoder, from_policy, init_random, resize_vocab
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.weights import load_pretrained, save_pretrained, save_reward_model

BASE = Path(__file__).parents[2] / "rstar_jax" / "assets" / "tiny-base"


def test_the_tokenizer_that_is_saved_knows_the_added_tokens(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(["one two three"] * 3, 300, CODE_STEPS)
    tokenizer.add_special_tokens()
    model = resize_vocab(load_pretrained(BASE), tokenizer.vocab_size)
    save_pretrained(model, tmp_path / "m", tokenizer_from=tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    for token in CODE_STEPS.delimiters:
        assert theirs.encode(token, add_special_tokens=False) == tokenizer.encode(token)
    assert load_pretrained(tmp_path / "m").config.vocab_size == tokenizer.vocab_size == len(theirs)


def test_a_tokenizer_with_more_ids_than_rows_is_not_saved(tiny: Decoder, tmp_path: Path) -> None:
    save_pretrained(tiny, tmp_path / "m")
    with pytest.raises(UserError, match=r"tokenizer\.json.*64 rows"):
        save_pretrained(init_random(tiny.config, 5), tmp_path / "m", tokenizer_from=BASE)
    assert not (tmp_path / "m" / "tokenizer.json").exists()
    np.testing.assert_array_equal(load_pretrained(tmp_path / "m").embed[...], tiny.embed[...])
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_config_names_the_type(tiny: Decoder, tmp_path: Path, dtype: str) -> None:
    save_pretrained(init_random(tiny.config, 5, dtype=jnp.dtype(dtype)), tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == dtype


@pytest.mark.torch
def test_padded_texts_are_scored_at_their_last_token(tiny: Decoder, tmp_path: Path) -> None:
    import torch

    model = from_policy(tiny, seed=1)
    save_reward_model(model, tmp_path / "m")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").eval()
    assert theirs.config.problem_type == "regression" and theirs.config.num_labels == 1
    pad = theirs.config.pad_token_id
    texts = np.array([[5, 9, 2, 7], [8, 3, pad, pad]])
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    with torch.no_grad():
        found = theirs(input_ids=torch.tensor(texts), attention_mask=torch.tensor(mask)).logits[:, 0]
    values = model.raw(jnp.asarray(texts), None, jnp.asarray(mask))
    np.testing.assert_allclose(found, [values[0, 3], values[1, 1]], rtol=1e-4, atol=1e-5)
