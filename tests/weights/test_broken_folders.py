"""Folders that are not what they should be: what lies there is said, what is whole by other names is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rstar_jax.errors import UserError
from rstar_jax.models import Decoder, from_policy
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.weights import (
    check_pretrained,
    load_pretrained,
    load_reward_model,
    save_pretrained,
    save_reward_model,
)
from rstar_jax.weights.weight_files import INDEX, WEIGHTS

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 988097824\n"
)
NORM = "model.norm.weight"


@pytest.fixture
def folder(tiny: Decoder, tmp_path: Path) -> Path:
    save_pretrained(tiny, tmp_path / "m")
    return tmp_path / "m"


def without_weights(folder: Path, *instead: str) -> None:
    (folder / WEIGHTS).unlink()
    for name in instead:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def without_config(folder: Path, *instead: str) -> None:
    (folder / "config.json").unlink()
    without_weights(folder, *instead)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights not fetched": (
        lambda f: (f / WEIGHTS).write_text(POINTER),
        "model.safetensors: a git-lfs pointer",
    ),
    "config not fetched": (
        lambda f: (f / "config.json").write_text(POINTER),
        "config.json: a git-lfs pointer",
    ),
    "tokenizer not fetched": (
        lambda f: (f / "tokenizer.json").write_text(POINTER),
        "tokenizer.json: a git-lfs pointer",
    ),
    "index not fetched": (
        lambda f: (without_weights(f), (f / INDEX).write_text(POINTER)),
        "index.json: a git-lfs pointer",
    ),
    "pickles": (
        lambda f: without_weights(f, "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"),
        "but pytorch_model-00001-of-00002.bin, pytorch_model-00002-of-00002.bin. Weights are read from "
        "safetensors files only",
    ),
    "a checkpoint": (lambda f: without_weights(f, "model.pt"), "but model.pt."),
    "gguf beside a config": (lambda f: without_weights(f, "m-q4.gguf"), "GGUF format (m-q4.gguf)"),
    "gguf alone": (lambda f: without_config(f, "m-q4.gguf"), "GGUF format (m-q4.gguf)"),
    "Mistral's own": (
        lambda f: without_config(f, "params.json", "consolidated.safetensors", "tokenizer.model.v3"),
        "the publisher's own format (params.json, consolidated.*)",
    ),
    "Llama's own": (
        lambda f: without_config(f, "params.json", "consolidated.00.pth"),
        "the publisher's own format",
    ),
    "Llama's own in a corner": (
        lambda f: without_weights(f, "original/consolidated.00.pth"),
        "the publisher's own format (consolidated.*, original/)",
    ),
    "a download that stopped": (
        lambda f: without_weights(f, "model.safetensors.incomplete"),
        "a download that did not end (model.safetensors.incomplete)",
    ),
    "another name": (
        lambda f: (f / WEIGHTS).rename(f / "weights.safetensors"),
        "but weights.safetensors. If it is the model, call it model.safetensors.",
    ),
    "one folder up": (
        lambda f: (without_config(f, "checkpoint-7/config.json"), (f / "checkpoint-7" / WEIGHTS).touch()),
        "no config.json there, but in checkpoint-7. Give the folder that holds it.",
    ),
    "the hub's cache": (
        lambda f: without_config(f, "snapshots/0123abc/config.json", "blobs/x"),
        "but in snapshots/0123abc.",
    ),
    "nothing": (lambda f: without_config(f), "an empty folder"),
    "something else": (lambda f: without_config(f, "notes.txt"), "it holds notes.txt. Copy config.json"),
    "nothing but a config": (lambda f: without_weights(f), "no model.safetensors or model.safetensors.index"),
    "names of another library": (
        lambda f: rename(f, lambda name: f"transformer.h.{name.replace('.', '_')}"),
        "is missing (27 of 27 are); config.json asks for it. What is there is called 'transformer.h.",
    ),
    "two models in one": (
        lambda f: save_file(
            load_file(f / WEIGHTS) | {f"module.{NORM}": np.ones(16, np.float32)}, f / WEIGHTS
        ),
        f"'{NORM}' and 'module.{NORM}' are both",
    ),
}


def rename(folder: Path, new: Callable[[str], str]) -> None:
    save_file({new(name): value for name, value in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)


@pytest.mark.parametrize("case", BROKEN)
def test_what_lies_there_is_said(folder: Path, case: str) -> None:
    spoil, message = BROKEN[case]
    spoil(folder)
    with pytest.raises(UserError) as caught:
        check_pretrained(folder)
    assert message in str(caught.value) and str(folder) in str(caught.value)


def test_a_tokenizer_that_was_not_fetched_says_so(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer.model"):
        (folder / name).write_text(POINTER)
        with pytest.raises(UserError, match=rf"{name}: a git-lfs pointer.*git lfs pull"):
            Tokenizer.load(folder, CODE_STEPS)
        (folder / name).unlink()


WRAPPED: dict[str, Callable[[str], str]] = {
    "data parallel": lambda name: f"module.{name}",
    "compiled": lambda name: f"_orig_mod.{name}",
    "compiled inside": lambda name: name.replace("model.", "model._orig_mod.", 1),
    "sharded by torch": lambda name: (
        "_fsdp_wrapped_module."
        + name.replace("layers.1.", "layers.1._fsdp_wrapped_module._checkpoint_wrapped_module.")
    ),
    "a part of several": lambda name: f"language_model.{name}",
    "unloaded by PEFT": lambda name: f"base_model.model.{name}",
    "several at once": lambda name: f"module._orig_mod.language_model.{name}",
}


@pytest.mark.parametrize("case", WRAPPED)
def test_wrapped_names_are_read_as_what_they_are(folder: Path, tiny: Decoder, case: str) -> None:
    rename(folder, WRAPPED[case])
    loaded = load_pretrained(folder).params()
    for name, value in tiny.params().items():
        np.testing.assert_array_equal(loaded[name], value)
    save_reward_model(from_policy(tiny, seed=1), folder)
    rename(folder, WRAPPED[case])
    np.testing.assert_array_equal(load_reward_model(folder).score[...], from_policy(tiny, seed=1).score[...])


def test_a_model_saved_without_its_head_is_read_where_the_head_is_tied(tiny: Decoder, tmp_path: Path) -> None:
    """As transformers' AutoModel saves it."""
    reward = from_policy(tiny)
    save_pretrained(reward.decoder, tmp_path)
    rename(tmp_path, lambda name: name.removeprefix("model."))
    np.testing.assert_array_equal(load_pretrained(tmp_path).embed[...], tiny.embed[...])


@pytest.fixture
def shards(tiny: Decoder, tmp_path: Path) -> Path:
    """In several, without the index that says which tensor is where."""
    save_pretrained(tiny, tmp_path / "s", shard_bytes=4000)
    (tmp_path / "s" / INDEX).unlink()
    return tmp_path / "s"


def test_shards_without_an_index_are_read_if_they_are_all_there(shards: Path, tiny: Decoder) -> None:
    assert len(list(shards.glob("*.safetensors"))) > 2
    loaded = load_pretrained(shards).params()
    for name, value in tiny.params().items():
        np.testing.assert_array_equal(loaded[name], value)


def test_shards_that_are_missing_are_named(shards: Path) -> None:
    first, second, *rest = sorted(shards.glob("*.safetensors"))
    second.rename(second.with_suffix(".safetensors.incomplete"))
    total = len(rest) + 2
    with pytest.raises(UserError) as caught:
        check_pretrained(shards)
    assert f"{second.name} is missing (1 of {total})" in str(caught.value)
    first.rename(first.with_name(first.name.replace("model-", "other-")))
    with pytest.raises(UserError, match=rf"shards of several models: model of {total}, other of {total}"):
        check_pretrained(shards)


def test_a_shard_that_its_index_names_and_that_is_a_pointer(tiny: Decoder, tmp_path: Path) -> None:
    save_pretrained(tiny, tmp_path / "s", shard_bytes=4000)
    named = json.loads((tmp_path / "s" / INDEX).read_text())["weight_map"][NORM]
    (tmp_path / "s" / named).write_text(POINTER)
    with pytest.raises(UserError, match=rf"{named}: a git-lfs pointer"):
        check_pretrained(tmp_path / "s")
