"""Folders that were made to hang, to fill memory or to run code: one clear line, soon."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from rstar_jax.errors import UserError
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.weights import FAMILIES, check_pretrained, model_hash
from rstar_jax.weights.weight_files import INDEX, WEIGHTS

TINY = Path(__file__).resolve().parents[2] / "rstar_jax/assets/tiny-base"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(TINY, tmp_path / "m")
    return tmp_path / "m"


def change(folder: Path, **fields: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as told:
        check_pretrained(folder)
    message = str(told.value)
    assert len(message) < 5000
    return message


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"model_type": ["qwen2"]}, "model_type"),
        ({"model_type": {"a": 1}}, "model_type"),
        ({"hidden_size": 10**15}, "hidden_size"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps"),
        ({"hidden_act": ["silu"]}, "hidden_act"),
        ({"hidden_act": "x" * 18_000_000}, "hidden_act"),
        ({"model_type": "x" * 18_000_000}, "model_type"),
    ],
)
def test_a_config_that_no_model_has_is_refused_in_a_line(folder, fields, named):
    change(folder, **fields)
    message = refused(folder)
    assert named in message and "config.json" in message


def test_layer_types_that_are_no_words_are_refused(folder):
    change(folder, model_type="qwen3", layer_types=[["full_attention"]] * 2, num_hidden_layers=2)
    refused(folder)


def test_experts_times_layers_have_a_bound(folder):
    change(folder, model_type="deepseek_v2", num_hidden_layers=4000, n_routed_experts=4000)
    refused(folder)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", WEIGHTS])
@pytest.mark.parametrize("odd", ["pipe", "device"])
def test_what_is_no_file_is_not_read(folder, name, odd):
    (folder / name).unlink(missing_ok=True)
    if odd == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero")
    message = refused(folder)
    assert f"{name}: a {'named pipe' if odd == 'pipe' else 'device'}, a regular file expected" in message
    if name.startswith("tokenizer"):
        with pytest.raises(UserError, match="a regular file expected"):
            Tokenizer.load(folder, CODE_STEPS)
    if name == WEIGHTS:
        with pytest.raises(UserError, match="a regular file expected"):
            model_hash(folder)


def test_a_million_tensors_are_refused_before_they_are_counted(folder):
    entry = '"t%d":{"dtype":"F32","shape":[],"data_offsets":[0,0]}'
    text = ("{" + ",".join(entry % i for i in range(10**6)) + "}").encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text)
    assert f"its header has {len(text)} bytes" in refused(folder)


def test_an_index_beyond_all_sizes_is_refused(folder):
    (folder / WEIGHTS).unlink()
    with open(folder / INDEX, "wb") as file:
        file.truncate(2**30)
    assert f"{INDEX}: 1,073,741,824 bytes" in refused(folder)


def test_a_tokenizer_that_panics_is_refused_in_a_line(folder, monkeypatch):
    panic = type("PanicException", (BaseException,), {})

    def fail(*_: object, **__: object) -> None:
        raise panic("the expression is pathological")

    class Backend:
        encode = fail

    tokenizer = Tokenizer.load(folder, CODE_STEPS)
    tokenizer._backend = Backend()
    with pytest.raises(UserError, match=r"fails at the text 'ab'.*pathological"):
        tokenizer.encode("ab")
    library = type("T", (), {"from_file": fail})
    monkeypatch.setattr("rstar_jax.text.tokenizer_files.tokenizers.Tokenizer", library)
    with pytest.raises(UserError, match=r"cannot be read \(the expression is pathological"):
        Tokenizer.load(folder, CODE_STEPS)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_code_in_a_models_folder_is_never_run(tmp_path, monkeypatch, family):
    """transformers asks "run the custom code? [y/N]" for such a folder; somebody may answer yes."""
    ran = tmp_path / "ran"
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    maps = {"AutoConfig": "evil.Evil", "AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    config = json.loads((TINY / "config.json").read_text()) | {"model_type": family, "auto_map": maps}
    (folder / "config.json").write_text(json.dumps(config))
    about = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("")
    asked = []
    monkeypatch.setattr("builtins.input", lambda *text: asked.append(text) or "y")
    try:
        Tokenizer.load(folder, CODE_STEPS)
    except UserError as error:
        assert "never run" in str(error)
    assert not ran.exists() and not asked


def test_code_is_not_named_in_folders_that_are_written(folder, tmp_path):
    file = folder / "tokenizer_config.json"
    named = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    file.write_text(json.dumps(json.loads(file.read_text()) | named))
    Tokenizer.load(folder, CODE_STEPS).save(tmp_path / "saved")
    assert "auto_map" not in json.loads((tmp_path / "saved/tokenizer_config.json").read_text())
