"""safetensors files: written as the library reads them, and every way of being broken refused by name."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from rstar_jax.errors import UserError
from rstar_jax.models import Decoder
from rstar_jax.weights import load_pretrained, save_pretrained
from rstar_jax.weights.weight_files import INDEX, WEIGHTS, WeightFiles, write_weights

NORM, UP = "model.norm.weight", "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def folder(tiny: Decoder) -> Iterator[Path]:
    """A model in two shards or more, where other users may look."""
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        save_pretrained(tiny, Path(root) / "model", shard_bytes=4000)
        yield Path(root) / "model"


@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16])
@pytest.mark.parametrize("rows", [1, 300])
def test_the_library_reads_what_is_written(tmp_path: Path, dtype, rows: int) -> None:
    rng = np.random.default_rng(0)
    parts = {"a": [rng.normal(size=(rows, 700))], "b": [rng.normal(size=(4, 5)).T, np.ones((2, 4))]}
    parts = {name: [part.astype(dtype) for part in of_one] for name, of_one in parts.items()}
    whole = {name: np.concatenate(of_one) for name, of_one in parts.items()}
    shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in whole.items()}
    write_weights(tmp_path, shapes, parts.__getitem__)
    for name, tensor in load_file(tmp_path / WEIGHTS).items():
        np.testing.assert_array_equal(tensor, whole[name])
    with safe_open(tmp_path / WEIGHTS, "numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_blocks_are_read_and_counted(tmp_path: Path) -> None:
    tensor = np.arange(30, dtype=np.float32).reshape(5, 6)
    save_file({"a": tensor, "v": tensor[0]}, tmp_path / WEIGHTS)
    with WeightFiles(tmp_path) as files:
        np.testing.assert_array_equal(files.read("a", (1, 4), (0, 6)), tensor[1:4])
        np.testing.assert_array_equal(files.read("a", (1, 4), (2, 3)), tensor[1:4, 2:3])
        np.testing.assert_array_equal(files.read("v", (2, 6), (0, 1)), tensor[0, 2:, None])
        assert files.bytes_read == 4 * (18 + 3 + 4)


def shard_of(folder: Path, tensor: str) -> Path:
    return folder / json.loads((folder / INDEX).read_text())["weight_map"][tensor]


def header(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Changes the header of the norm's file, and leaves all else as it is."""

    def spoil(folder: Path) -> None:
        file = shard_of(folder, NORM)
        data = file.read_bytes()
        length = int.from_bytes(data[:8], "little")
        content = json.loads(data[8 : 8 + length])
        new = change(content)
        text = new if isinstance(new, bytes) else json.dumps(content).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])

    return spoil


def entry(**changes: object) -> Callable[[Path], None]:
    return header(lambda content: content[NORM].update(changes))


def first_bytes(value: int, tensor: str = NORM) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = shard_of(folder, tensor)
        file.write_bytes(value.to_bytes(8, "little") + file.read_bytes()[8:])

    return spoil


def cut(keep: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(
        shard_of(folder, NORM), keep if keep >= 0 else shard_of(folder, NORM).stat().st_size + keep
    )


def index(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / INDEX).read_text())
        change(content)
        (folder / INDEX).write_text(json.dumps(content))

    return spoil


def instead(what: Callable[[Path], object], name: str | None = None) -> Callable[[Path], None]:
    """Puts something else in the place of the norm's file, or of the file of this name."""

    def spoil(folder: Path) -> None:
        file = shard_of(folder, NORM) if name is None else folder / name
        shutil.rmtree(file) if file.is_dir() else file.unlink()
        what(file)

    return spoil


def loop(file: Path) -> None:
    file.symlink_to(file.name)


def twice(folder: Path) -> None:
    one, other = shard_of(folder, NORM), shard_of(folder, UP)
    assert one != other
    save_file(load_file(one) | load_file(other), other)


def tokenizer(vocab: object, added: object = ()) -> Callable[[Path], None]:
    content = {"model": {"vocab": vocab}, "added_tokens": added}
    return lambda folder: (folder / "tokenizer.json").write_text(json.dumps(content)) and None


SHARD = "model-0"  # how the shards' names begin
BAD = {
    "empty": (cut(0), [SHARD, "truncated", "0 bytes long"]),
    "cut within the length": (cut(5), [SHARD, "truncated", "5 bytes long"]),
    "cut within the header": (cut(40), [SHARD, "truncated", "40 bytes long"]),
    "cut within the last tensor": (cut(-1), [SHARD, "truncated", "its header asks for"]),
    "more than the header says": (
        lambda folder: shard_of(folder, NORM).open("ab").write(b"more") and None,
        [SHARD, "its header asks for"],
    ),
    "no header": (first_bytes(0), [SHARD, "header should be 0"]),
    "header longer than the file": (first_bytes(10**6), [SHARD, "header should be 1000000"]),
    "header of 2^64 - 1": (first_bytes(2**64 - 1), [SHARD, f"header should be {2**64 - 1}"]),
    "header that is no JSON": (header(lambda _: b"\xff{]"), [SHARD, "damaged"]),
    "header that is a list": (header(lambda _: b"[1, 2]"), [SHARD, "no JSON object"]),
    "header of brackets": (header(lambda _: b"[" * 10**5), [SHARD, "damaged"]),
    "NaN for an offset": (entry(data_offsets=[float("nan"), 4]), [SHARD, "NaN"]),
    "infinite shape": (entry(shape=[float("inf")]), [SHARD, "Infinity"]),
    "negative offset": (entry(data_offsets=[-64, 0]), [SHARD, NORM, "-64"]),
    "negative shape": (entry(shape=[-16]), [SHARD, NORM, "-16"]),
    "true for a size": (entry(shape=[True]), [SHARD, NORM, "True"]),
    "shape and bytes disagree": (entry(shape=[17]), [SHARD, NORM, "(17,)", "64 bytes"]),
    "no type": (header(lambda c: c[NORM].pop("dtype")), [SHARD, NORM]),
    "entry that is none": (header(lambda c: c.update({NORM: None})), [SHARD, NORM]),
    "a tensor twice in a header": (
        header(lambda c: b'{"a": 1, "a": 1}'),
        [SHARD, "'a' is there twice"],
    ),
    "a tensor in two shards": (twice, [SHARD, "model.", "too"]),
    "overlapping tensors": (
        header(lambda c: c.update(extra=c[NORM] | {"dtype": "I8"})),
        [SHARD, "expected at"],
    ),
    "a type that is not read": (entry(dtype="F64", shape=[8]), [SHARD, NORM, "(8,)"]),
    "a type of eight bits": (entry(dtype="F8_E4M3"), [SHARD, NORM, "F8_E4M3", "BF16"]),
    "index without a map": (index(lambda c: c.pop("weight_map")), [INDEX, "weight_map"]),
    "index that is a list": (instead(lambda f: f.write_text("[]"), INDEX), [INDEX, "list"]),
    "index with a number for a file": (
        index(lambda c: c["weight_map"].update({NORM: 3})),
        [INDEX, NORM, "3"],
    ),
    "index that leads out of the folder": (
        index(lambda c: c["weight_map"].update({NORM: "../x.safetensors"})),
        [INDEX, NORM, "../x"],
    ),
    "index with a file that is not there": (
        index(lambda c: c["weight_map"].update({NORM: "absent.safetensors"})),
        ["absent.safetensors", "missing"],
    ),
    "index with a tensor that is not there": (
        index(lambda c: c["weight_map"].update({"bonus": c["weight_map"][NORM]})),
        [SHARD, "'bonus'", INDEX],
    ),
    "a folder for a file": (instead(Path.mkdir), [SHARD, "cannot be read", "directory"]),
    "shard in a loop": (instead(loop), [SHARD, "symbolic links"]),
    "index in a loop": (instead(loop, INDEX), [INDEX, "leads nowhere", "symbolic links"]),
    "config in a loop": (instead(loop, "config.json"), ["config.json", "leads nowhere"]),
    "folder in a loop": (instead(loop, ""), ["model", "leads nowhere"]),
    "link to nothing": (
        instead(lambda f: f.symlink_to("nowhere"), "config.json"),
        ["config.json", "leads nowhere"],
    ),
    "tokenizer with more ids than rows": (
        tokenizer({"a": 0, "b": 63}, [{"id": 64, "content": "c"}]),
        ["tokenizer.json", "highest id is 64", "embed_tokens", "64 rows"],
    ),
    "unigram tokenizer with more ids": (
        tokenizer([["a", 0.0]] * 70),
        ["tokenizer.json", "highest id is 69", "64 rows"],
    ),
    "tokenizer that is no JSON": (
        lambda folder: (folder / "tokenizer.json").write_text("{") and None,
        ["tokenizer.json", "JSON"],
    ),
    "older tokenizer": (
        lambda folder: (folder / "vocab.json").write_text('{"a": 64}') and None,
        ["vocab.json", "highest id is 64"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_broken_files_are_refused_by_name(folder: Path, case: str) -> None:
    spoil, words = BAD[case]
    spoil(folder)
    with pytest.raises(UserError) as caught:
        load_pretrained(folder)
    for word in words:
        assert word in str(caught.value)


@contextlib.contextmanager
def somebody() -> Iterator[None]:
    """Lets root be an ordinary user for a while: nothing is closed to root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("name", ["", "config.json", WEIGHTS])
def test_what_may_not_be_read_is_named(tiny: Decoder, folder: Path, name: str) -> None:
    save_pretrained(tiny, folder)
    with somebody():
        load_pretrained(folder)
    (folder / name).chmod(0)
    try:
        with somebody(), pytest.raises(UserError, match=f"{name or 'config.json'}.*Permission denied"):
            load_pretrained(folder)
    finally:
        (folder / name).chmod(0o755)


def test_a_file_cut_while_it_is_read_is_named(folder: Path) -> None:
    with WeightFiles(folder) as files:
        file = files.tensors[NORM].file
        os.truncate(file, files.tensors[NORM].start + 8)
        with pytest.raises(UserError, match=f"{file.name}.*'{NORM}'"):
            files.read(NORM, (0, 16), (0, 1))


def test_a_tokenizer_with_fewer_ids_than_rows_fits(folder: Path) -> None:
    tokenizer({"a": 0, "b": 40})(folder)
    load_pretrained(folder)
