"""Logits equal the frozen ones of transformers (made by make_reference.py), for every folder of goldens."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.weights import load_pretrained

ROOT = Path(__file__).parents[2]
REFERENCES = sorted((ROOT / "tests" / "golden" / "models").glob("*/reference.npz"))


@pytest.mark.parametrize("file", REFERENCES, ids=lambda file: file.parent.name)
def test_logits_equal_the_frozen_reference(file: Path) -> None:
    frozen = np.load(file)
    model = load_pretrained(ROOT / str(frozen["folder"]))
    logits = np.asarray(model(jnp.asarray(frozen["tokens"])))[:, frozen["at"]]
    assert logits.dtype == np.float32
    assert np.abs(logits - frozen["logits"]).max() < 1e-4 * np.abs(frozen["logits"]).max()


def test_there_are_references() -> None:
    assert {"qwen2", "qwen2-tied"} <= {file.parent.name for file in REFERENCES}
