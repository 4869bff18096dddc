"""Folders as the hub has them, in small: old-style configs, lists of ends, what the tensors are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file

from rstar_jax.models import Decoder
from rstar_jax.weights import load_pretrained, save_pretrained
from rstar_jax.weights.weight_files import WEIGHTS
from tests.models import zoo
from tests.models.compare import LENGTHS, batch, error, reference, run, texts
from tests.weights import hub

pytestmark = pytest.mark.torch

# Llama 3.1's, and what Phi-3 says over and above its config
GENERATION = {"do_sample": True, "temperature": 0.6, "eos_token_id": [7, 8, 9], "pad_token_id": 3}


class Small(NamedTuple):
    name: str
    folder: Path
    theirs: Any
    ours: Decoder


@pytest.fixture(scope="module", params=hub.HUB)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("hub") / "model"
    config = hub.small(request.param)
    theirs = zoo.randomise(transformers.AutoConfig.for_model(**config))
    theirs.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps(GENERATION))
    return Small(request.param, folder, theirs, load_pretrained(folder))


def test_logits_agree_however_texts_are_padded_and_packed(small: Small) -> None:
    tokens, positions, segments, where = batch()
    ours = np.asarray(run(small.ours, tokens, positions, segments))
    wanted = [reference(small.theirs, text) for text in texts()]
    for i, row, first in where:
        assert error(ours[row, first : first + LENGTHS[i]], wanted[i]) < 1e-4


def test_what_is_saved_again_is_the_same(small: Small, tmp_path: Path) -> None:
    """transformers has the same logits of it; and a second saving writes the same bytes."""
    save_pretrained(small.ours, tmp_path / "once")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "once", attn_implementation="eager")
    assert error(reference(again.eval(), texts()[0]), reference(small.theirs, texts()[0])) < 1e-6
    assert again.generation_config.eos_token_id == [7, 8, 9]
    whole = hub.small(small.name)["eos_token_id"]
    assert json.loads((tmp_path / "once" / "config.json").read_text())["eos_token_id"] == whole
    assert set(small.ours.config.end_ids) == {7, 8, 9, *(whole if isinstance(whole, list) else [whole])}
    save_pretrained(load_pretrained(tmp_path / "once"), tmp_path / "twice")
    names = sorted(path.name for path in (tmp_path / "once").iterdir())
    assert names == ["config.json", "generation_config.json", WEIGHTS]
    for name in names:
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()
    given, saved = load_file(small.folder / WEIGHTS), load_file(tmp_path / "once" / WEIGHTS)
    for name, tensor in saved.items():
        original = next(theirs for theirs in (name, *renamed(name)) if theirs in given)
        np.testing.assert_array_equal(tensor, given[original])


def renamed(name: str) -> tuple[str, str]:
    """What models that see images call a tensor of their text part, before and since transformers 5."""
    return f"language_model.{name}", name.replace("model.", "model.language_model.", 1)
