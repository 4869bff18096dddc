"""A model's hash: a copy has the same; whatever changes what it computes changes it."""

import errno
import json
import shutil
from pathlib import Path

import pytest

from rstar_jax.errors import UserError
from rstar_jax.models import Decoder
from rstar_jax.weights import hashes, model_hash, save_pretrained
from rstar_jax.weights.weight_files import WEIGHTS, WeightFiles

# Files hashed whole, and by samples of which a tensor of this model may hold several, one, or a part.
LIMITS = [(1 << 20, 1 << 20), (0, 16), (0, 1 << 10)]


@pytest.fixture
def folder(tiny: Decoder, tmp_path: Path) -> Path:
    save_pretrained(tiny, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    return tmp_path / "model"


@pytest.fixture(params=LIMITS)
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(("_WHOLE", "_SAMPLE"), request.param, strict=True):
        monkeypatch.setattr(hashes, name, value)


@pytest.mark.usefixtures("limits")
def test_a_copy_has_the_same_whatever_else_lies_beside_it(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("about it")
    assert model_hash(tmp_path / "copy") == model_hash(folder)


@pytest.mark.usefixtures("limits")
def test_every_tensor_counts(folder: Path) -> None:
    before = model_hash(folder)
    with WeightFiles(folder) as weights:
        starts = [tensor.start for tensor in weights.tensors.values()]
    whole = (folder / WEIGHTS).read_bytes()
    for start in starts:
        (folder / WEIGHTS).write_bytes(whole[:start] + bytes([whole[start] ^ 1]) + whole[start + 1 :])
        assert model_hash(folder) != before
    (folder / WEIGHTS).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert model_hash(folder) != before
    (folder / WEIGHTS).write_bytes(whole)
    assert model_hash(folder) == before


def test_config_and_tokenizer_count(folder: Path) -> None:
    found = {model_hash(folder)}
    (folder / "tokenizer.json").write_text("{ }")
    found.add(model_hash(folder))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": 7}))
    found.add(model_hash(folder))
    (folder / "generation_config.json").write_text("{}")
    found.add(model_hash(folder))
    assert len(found) == 4


def test_of_a_large_file_a_part_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, pread = [], hashes.os.pread

    def counting(descriptor: int, count: int, at: int) -> bytes:
        read.append(count)
        return pread(descriptor, count, at)

    monkeypatch.setattr(hashes, "_WHOLE", 0)
    monkeypatch.setattr(hashes, "_SAMPLE", 4)
    with WeightFiles(folder) as weights:
        tensors, first = len(weights.tensors), min(t.start for t in weights.tensors.values())
    monkeypatch.setattr(hashes.os, "pread", counting)
    model_hash(folder)
    sizes = sum(read) - (8 + first)  # the header's length and text are read twice
    assert sizes <= tensors * 3 * 4 + first


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        model_hash(tmp_path)


def test_what_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", fails)
    with pytest.raises(UserError, match=r"config\.json: cannot be read \(Permission denied\)"):
        model_hash(folder)
    monkeypatch.undo()
    monkeypatch.setattr(hashes.os, "pread", fails)
    with pytest.raises(UserError, match=rf"{WEIGHTS}: cannot be read \(Permission denied\)"):
        model_hash(folder)
