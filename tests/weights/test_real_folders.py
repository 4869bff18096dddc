"""What is odd about real folders: heads stored twice or under another name, leftovers, tokens for images."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file, save_file

from rstar_jax.errors import UserError
from rstar_jax.models import from_policy, init_random
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.weights import (
    check_pretrained,
    load_pretrained,
    load_reward_model,
    save_pretrained,
    save_reward_model,
)
from rstar_jax.weights.weight_files import WEIGHTS
from tests.models import zoo
from tests.models.compare import error, reference, run, texts
from tests.weights import hub

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
Tensors = dict[str, np.ndarray]


@pytest.fixture
def tied(tmp_path: Path) -> Path:
    """A small folder whose config ties head and embeddings."""
    save_pretrained(init_random(zoo.config("smollm2-yarn"), seed=3), tmp_path / "tied")
    return tmp_path / "tied"


def change(folder: Path, edit: Callable[[Tensors], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / WEIGHTS)


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


HEADS: dict[str, tuple[Callable[[Tensors], object], bool]] = {
    "stored twice": (lambda t: t.update({HEAD: t[EMBED]}), True),
    "stored as the head alone": (lambda t: t.update({HEAD: t.pop(EMBED)}), True),
    "stored differing": (lambda t: t.update({HEAD: t[EMBED][::-1].copy()}), False),
}


@pytest.mark.torch
@pytest.mark.parametrize("case", HEADS)
def test_a_tied_head_is_what_transformers_takes_it_for(
    tied: Path, case: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    edit, same = HEADS[case]
    change(tied, edit)
    with caplog.at_level(logging.WARNING):
        ours = load_pretrained(tied)
    assert ours.config.tied == same
    assert (HEAD in caplog.text) == (not same)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tied, attn_implementation="eager").eval()
    assert error(run(ours, texts()[0][None])[0], reference(theirs, texts()[0])) < 1e-4
    save_pretrained(ours, tmp_path / "again")
    assert load_pretrained(tmp_path / "again").config == ours.config


def test_a_tied_head_of_another_shape_is_refused(tied: Path) -> None:
    change(tied, lambda t: t.update({HEAD: t[EMBED][:50]}))
    with pytest.raises(UserError, match=rf"'{HEAD}' has shape \(50, 32\)"):
        load_pretrained(tied)


def test_a_folder_may_mix_the_types_that_are_read(tied: Path) -> None:
    types = (np.float16, jnp.bfloat16, np.float32)
    change(tied, lambda t: t.update({name: t[name].astype(types[i % 3]) for i, name in enumerate(t)}))
    stored = load_file(tied / WEIGHTS)
    np.testing.assert_array_equal(load_pretrained(tied).embed[...], stored[EMBED].astype(np.float32))
    half = load_pretrained(tied, dtype=jnp.bfloat16)
    up = stored["model.layers.1.mlp.up_proj.weight"].astype(jnp.bfloat16)
    np.testing.assert_array_equal(half.layers["up"][1], up.T)


def test_a_vocabulary_head_beside_a_score_is_left_behind(tied: Path) -> None:
    save_reward_model(from_policy(load_pretrained(tied), seed=1), tied)
    change(tied, lambda t: t.update({HEAD: t[EMBED][::-1].copy()}))
    assert load_reward_model(tied).decoder.config.tied


def test_frequencies_of_old_folders_are_read_past_and_nothing_else_is(tied: Path) -> None:
    old = "model.layers.0.self_attn.rotary_emb.inv_freq"
    change(tied, lambda t: t.update({old: np.ones(4, np.float32)}))
    load_pretrained(tied)
    change(tied, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.bias": np.ones(4, np.float32)}))
    with pytest.raises(UserError, match=r"'model\.layers\.0\.self_attn\.rotary_emb\.bias' has no place"):
        load_pretrained(tied)


def test_a_whole_file_counts_before_an_index(tied: Path, tmp_path: Path) -> None:
    """As it does for transformers: the index is what a sharded save has left."""
    other = init_random(zoo.config("smollm2-yarn"), seed=4)
    save_pretrained(other, tmp_path / "other", shard_bytes=10_000)
    for file in (tmp_path / "other").glob("model*"):
        shutil.copy2(file, tied)
    config = zoo.config("smollm2-yarn")
    np.testing.assert_array_equal(load_pretrained(tied).embed[...], init_random(config, seed=3).embed[...])


@pytest.mark.parametrize("method", ["fp8", "gptq", "bitsandbytes"])
def test_weights_of_few_bits_are_refused_by_name(tied: Path, method: str) -> None:
    edit_config(tied, quantization_config={"quant_method": method})
    with pytest.raises(UserError, match=rf"config\.json: field 'quantization_config' \({method}\)"):
        check_pretrained(tied)


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("config.json", "eos_token_id", "</s>"),
        ("config.json", "bos_token_id", [1, 2]),
        ("config.json", "pad_token_id", 1.5),
        ("config.json", "rms_norm_eps", None),
        ("generation_config.json", "eos_token_id", [1, "</s>"]),
    ],
)
def test_fields_of_a_wrong_kind_are_refused_by_name(tied: Path, file: str, field: str, value: object) -> None:
    if not (tied / file).exists():
        (tied / file).write_text("{}")
    content = json.loads((tied / file).read_text())
    (tied / file).write_text(json.dumps(content | {field: value}))
    with pytest.raises(UserError, match=rf"{file}: field '{field}' is "):
        check_pretrained(tied)


def test_a_reward_model_is_padded_with_the_first_of_several_ends(tied: Path, tmp_path: Path) -> None:
    edit_config(tied, eos_token_id=[7, 8], pad_token_id=None)
    (tied / "generation_config.json").write_text("{}")
    model = from_policy(load_pretrained(tied))
    save_reward_model(model, tmp_path / "r")
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert config["pad_token_id"] == 7 and config["eos_token_id"] == [7, 8]
    assert not (tmp_path / "r" / "generation_config.json").exists()
    assert load_reward_model(tmp_path / "r").decoder.config.eos_ids == (7, 8)


IMAGE = "<image_soft_token>"


@pytest.fixture
def sees(tied: Path) -> Path:
    """A folder like gemma-3-1b's: its tokenizer has a token for images just beyond the embeddings."""
    tokenizer = Tokenizer.train(["one two three"] * 3, 280, CODE_STEPS)
    config = dataclasses.replace(zoo.config("smollm2-yarn"), vocab_size=tokenizer.vocab_size)
    save_pretrained(init_random(config, seed=3), tied, tokenizer_from=tokenizer)
    add_token(tied, IMAGE, config.vocab_size)
    return tied


def add_token(folder: Path, token: str, index: int) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"].append({**content["added_tokens"][0], "id": index, "content": token})
    (folder / "tokenizer.json").write_text(json.dumps(content))


def test_a_token_for_images_beyond_the_embeddings_is_kept_from_the_model(sees: Path, tmp_path: Path) -> None:
    model, tokenizer = load_pretrained(sees), Tokenizer.load(sees, CODE_STEPS)
    rows = model.config.vocab_size
    assert tokenizer.used_ids == rows == tokenizer.vocab_size - 1
    with pytest.raises(UserError, match=rf"{IMAGE}.*{rows} embeddings"):
        tokenizer.encode(f"What is on {IMAGE}?")
    with pytest.raises(UserError, match=IMAGE):
        tokenizer.encode_solution(f"What is on {IMAGE}?", ["x = 1\n<end_of_step>"])
    # A model or a program may write its letters: they are no prompt, and no run should end with them.
    steps = [f"print('{IMAGE}{IMAGE}')\n<end_of_code>\n<output>{IMAGE}<end_of_output>"]
    ids = tokenizer.encode_steps(steps)
    assert max(ids) < rows and tokenizer.decode(ids) == steps[0]
    save_pretrained(model, tmp_path / "again", tokenizer_from=sees)
    load_pretrained(tmp_path / "again")


def test_other_tokens_beyond_the_embeddings_are_a_disagreement(sees: Path) -> None:
    add_token(sees, "<step>", load_pretrained(sees).config.vocab_size + 1)
    with pytest.raises(UserError, match=r"tokenizer\.json: its highest id is"):
        load_pretrained(sees)


def test_embeddings_that_are_added_for_new_tokens_cover_it(sees: Path) -> None:
    content = json.loads((sees / "tokenizer.json").read_text())
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] != "<end_of_step>"]
    content["model"]["vocab"]["unused"] = content["model"]["vocab"].pop("<end_of_step>")
    (sees / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = Tokenizer.load(sees, CODE_STEPS)
    assert tokenizer.add_special_tokens() == 1
    assert tokenizer.used_ids == tokenizer.vocab_size == load_pretrained(sees).config.vocab_size + 2
    assert tokenizer.encode(IMAGE) == [tokenizer.vocab_size - 2]


HUB_NAMES = {  # what transformers 5 calls it: what the hub does
    "model.language_model.": "language_model.model.",
    "model.vision_tower.": "vision_tower.",
    "model.multi_modal_projector.": "multi_modal_projector.",
}


@pytest.mark.torch
@pytest.mark.parametrize("renamed", [HUB_NAMES, {}], ids=["names of the hub", "names of transformers 5"])
def test_the_text_part_of_a_model_that_sees_is_read(tmp_path: Path, renamed: dict[str, str]) -> None:
    """Without a look at the rest; what is written is a model of text."""
    theirs = zoo.randomise(transformers.AutoConfig.for_model(**hub.small("gemma-3-4b-it")))
    tensors = {name: np.array(value.detach()) for name, value in theirs.state_dict().items() if name != HEAD}
    for new, old in renamed.items():
        tensors = {
            old + name.removeprefix(new) if name.startswith(new) else name: tensor
            for name, tensor in tensors.items()
        }
    norm = next(name for name in tensors if "language_model" in name and name.endswith(".norm.weight"))
    assert norm.startswith(tuple(renamed.values()) or "model.")
    folder = tmp_path / "sees"
    folder.mkdir()
    save_file(tensors, folder / WEIGHTS)
    (folder / "config.json").write_text(json.dumps(hub.small("gemma-3-4b-it")))
    ours = load_pretrained(folder)
    assert error(run(ours, texts()[0][None])[0], reference(theirs, texts()[0])) < 1e-4
    save_pretrained(ours, tmp_path / "reads")
    assert json.loads((tmp_path / "reads" / "config.json").read_text())["model_type"] == "gemma3_text"
    change(folder, lambda t: t.pop(norm))
    with pytest.raises(UserError, match=norm):
        load_pretrained(folder)
