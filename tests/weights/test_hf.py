"""Model folders: exact round trips, whole replacement, and errors that name the file and the tensor."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rstar_jax.errors import UserError
from rstar_jax.models import Decoder, init_random
from rstar_jax.weights import load_pretrained, save_pretrained

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tiny: Decoder, tmp_path: Path) -> Path:
    save_pretrained(tiny, tmp_path / "model")
    return tmp_path / "model"


def assert_same(one: Decoder, other: Decoder) -> None:
    assert one.config == other.config
    for name, value in one.params().items():
        assert value.dtype == other.params()[name].dtype
        np.testing.assert_array_equal(value, other.params()[name])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shard_bytes", [10**9, 4000])
def test_round_trip_is_exact(tiny: Decoder, tmp_path: Path, dtype, shard_bytes: int) -> None:
    model = init_random(tiny.config, seed=5, dtype=dtype)
    save_pretrained(model, tmp_path / "m", shard_bytes=shard_bytes)
    assert (tmp_path / "m" / "model.safetensors.index.json").exists() == (shard_bytes == 4000)
    assert_same(model, load_pretrained(tmp_path / "m", dtype=dtype))


def test_saving_again_replaces_the_weights_and_keeps_the_rest(tiny: Decoder, tmp_path: Path) -> None:
    path, source = tmp_path / "m", tmp_path / "tokenizer"
    source.mkdir()
    (source / "tokenizer.json").write_text("{}")
    (source / "notes.txt").write_text("not a tokenizer file")
    save_pretrained(init_random(tiny.config, seed=9), path, tokenizer_from=source, shard_bytes=4000)
    (path / "README.md").write_text("card")
    save_pretrained(tiny, path)
    assert {p.name for p in path.iterdir()} == {WEIGHTS, "config.json", "tokenizer.json", "README.md"}
    assert {p.name for p in tmp_path.iterdir()} == {"m", "tokenizer"}
    assert_same(tiny, load_pretrained(path))


def test_a_failed_save_leaves_the_old_folder(folder: Path, tiny: Decoder, monkeypatch) -> None:
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rstar_jax.weights.weight_files.write_file", full)
    with pytest.raises(UserError, match="No space left"):
        save_pretrained(init_random(tiny.config, seed=9), folder)
    assert_same(tiny, load_pretrained(folder))
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def edit_config(**changes) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config = {k: v for k, v in (config | changes).items() if v != "absent"}
        (folder / "config.json").write_text(json.dumps(config))

    return edit


def edit_tensors(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return edit


def truncate(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


UP = "model.layers.1.mlp.up_proj.weight"
BAD = {
    "no folder": (shutil.rmtree, ["model", "no such folder"]),
    "no config": (lambda f: (f / "config.json").unlink(), ["config.json"]),
    "config is not JSON": (lambda f: (f / "config.json").write_text("{"), ["config.json", "JSON"]),
    "unknown family": (edit_config(model_type="mamba"), ["config.json", "'mamba'", "qwen2"]),
    "field missing": (edit_config(hidden_size="absent"), ["config.json", "hidden_size"]),
    "field of wrong type": (
        edit_config(vocab_size="many"),
        ["config.json", "vocab_size", "'many'", "a whole number"],
    ),
    "heads do not divide": (edit_config(num_key_value_heads=3), ["config.json", "num_key_value_heads=3"]),
    "activation": (edit_config(hidden_act="relu"), ["config.json", "hidden_act", "'relu'", "'silu'"]),
    "layer types": (
        edit_config(use_sliding_window=True, layer_types=["full_attention", "chunked"]),
        ["config.json", "layer_types", "'chunked'", "'sliding_attention'"],
    ),
    "kind of rope": (
        edit_config(rope_scaling={"rope_type": "dynamic", "factor": 2.0}),
        ["config.json: rope_scaling", "'dynamic'", "'longrope'"],
    ),
    "rope in transformers 5's words": (
        edit_config(rope_parameters={"rope_type": "magic"}),
        ["config.json: rope_parameters", "'magic'", "'llama3'"],
    ),
    "rope without its numbers": (
        edit_config(rope_scaling={"type": "yarn"}),
        ["config.json: rope_scaling", "'factor'"],
    ),
    "rope that is no object": (edit_config(rope_scaling=4), ["config.json", "rope_scaling", "an object"]),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), ["model", WEIGHTS]),
    "truncated": (truncate, [WEIGHTS, "truncated"]),
    "tensor missing": (edit_tensors(lambda t: t.pop(UP)), [WEIGHTS, UP, "missing"]),
    "tensor too many": (edit_tensors(lambda t: t.update(bonus=np.ones(2))), [WEIGHTS, "bonus"]),
    "wrong shape": (edit_tensors(lambda t: t.update({UP: np.ones((24, 15))})), [WEIGHTS, UP, "(24, 16)"]),
    "wrong dtype": (edit_tensors(lambda t: t.update({UP: np.ones((24, 16), np.int8)})), [WEIGHTS, UP, "I8"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_refused_by_name(folder: Path, case: str) -> None:
    spoil, words = BAD[case]
    spoil(folder)
    with pytest.raises(UserError) as caught:
        load_pretrained(folder)
    for word in words:
        assert word in str(caught.value)


def test_a_shard_that_the_index_names_must_be_there(tiny: Decoder, tmp_path: Path) -> None:
    save_pretrained(tiny, tmp_path / "m", shard_bytes=4000)
    shard = sorted((tmp_path / "m").glob("model-*"))[1]
    shard.unlink()
    with pytest.raises(UserError, match=shard.name):
        load_pretrained(tmp_path / "m")


def test_saving_over_a_file_is_refused(tiny: Decoder, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("precious")
    with pytest.raises(UserError, match="in the way"):
        save_pretrained(tiny, tmp_path / "m")
    assert (tmp_path / "m").read_text() == "precious"


def test_a_hub_id_that_cannot_be_had_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    with pytest.raises(UserError, match=r"nobody/nothing.*no network"):
        load_pretrained("nobody/nothing")
