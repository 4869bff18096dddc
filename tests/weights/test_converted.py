"""The cache of converted weights: used while it fits, else made again, with a word about it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.errors import UserError
from rstar_jax.models import Decoder, from_policy, init_random
from rstar_jax.weights import load_pretrained, load_reward_model, loading, save_pretrained, save_reward_model

# After a damaged file orbax leaves its other readers to a loop that is closed: they complain when collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tensors that are read from the model's own files."""
    seen: list[str] = []
    fill = loading.fill
    monkeypatch.setattr(loading, "fill", lambda *args: (seen.append(args[2]), fill(*args)))
    return seen


def assert_same(one: Decoder, other: Decoder) -> None:
    for name, value in one.params().items():
        assert value.dtype == other.params()[name].dtype
        np.testing.assert_array_equal(value, other.params()[name])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_second_load_reads_the_cache_alone(tiny: Decoder, tmp_path: Path, reads, dtype) -> None:
    save_pretrained(tiny, tmp_path / "m")
    first = load_pretrained(tmp_path / "m", dtype=dtype, cache=tmp_path / "cache")
    assert reads
    reads.clear()
    again = load_pretrained(tmp_path / "m", dtype=dtype, cache=tmp_path / "cache")
    assert not reads
    assert_same(first, again)


def test_a_reward_model_has_its_own(tiny: Decoder, tmp_path: Path, reads) -> None:
    model = from_policy(tiny, seed=1)
    save_reward_model(model, tmp_path / "m")
    for _ in range(2):
        again = load_reward_model(tmp_path / "m", cache=tmp_path / "cache")
        np.testing.assert_array_equal(again.score[...], model.score[...])
        assert_same(again.decoder, model.decoder)
    assert reads.count("score.weight") == 1


def other_weights(model: Path, cache: Path) -> None:
    save_pretrained(init_random(load_pretrained(model).config, seed=7), model)


def other_config(model: Path, cache: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))


def flipped(model: Path, cache: Path) -> None:
    """Another bit in the middle of the largest file."""
    file = max(cache.rglob("d/*"), key=lambda file: file.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def cut(model: Path, cache: Path) -> None:
    for file in cache.rglob("d/*"):
        os.truncate(file, file.stat().st_size // 2)


def damaged_record(model: Path, cache: Path) -> None:
    next(cache.glob("*/record.json")).write_text("{")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (other_weights, "stale: made with other files"),
        (other_config, "stale: made with other config"),
        (flipped, "not used"),
        (cut, "not used"),
        (damaged_record, "not used"),
    ],
)
def test_a_stale_or_damaged_cache_is_made_again(
    tiny: Decoder, tmp_path: Path, reads, caplog, spoil: Callable[[Path, Path], None], why: str
) -> None:
    model, cache = tmp_path / "m", tmp_path / "cache"
    save_pretrained(tiny, model)
    load_pretrained(model, cache=cache)
    spoil(model, cache)
    reads.clear()
    again = load_pretrained(model, cache=cache)
    assert reads and why in caplog.text and str(cache) in caplog.text
    reads.clear()
    assert_same(again, load_pretrained(model))
    reads.clear()
    load_pretrained(model, cache=cache)
    assert not reads


def test_a_cache_that_cannot_be_written_is_named(tiny: Decoder, tmp_path: Path) -> None:
    save_pretrained(tiny, tmp_path / "m")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match="cache"):
        load_pretrained(tmp_path / "m", cache=tmp_path / "cache")
