"""Descriptions of folders that are no model folders of safetensors files, and of what to do about them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# "model-00002-of-00005.safetensors": its number, and of how many.
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<total>\d+)\.safetensors")
_PART = (".incomplete", ".part", ".crdownload", ".aria2", ".tmp")


def shards(folder: Path) -> dict[str, list[Path]]:
    """Files that are called like shards, by what they are shards of ("model", 5), in order."""
    found: dict[str, list[Path]] = {}
    for path in sorted(_names(folder)):
        if match := SHARD.fullmatch(path.name):
            found.setdefault(f"{match['stem']} of {int(match['total'])}", []).append(path)
    return found


def missing_shards(files: Iterable[Path]) -> list[str]:
    """The names of those that the others' names ask for."""
    first, *_ = found = {path.name for path in files}
    match = SHARD.fullmatch(first)
    assert match is not None
    digits, total = len(match["number"]), match["total"]
    wanted = [f"{match['stem']}-{i:0{digits}}-of-{total}.safetensors" for i in range(1, int(total) + 1)]
    return [name for name in wanted if name not in found]


def without_config(folder: Path) -> str:
    """Describe a folder without config.json, and what to do."""
    there = {path.name for path in _names(folder)}
    if "params.json" in there and any(name.startswith("consolidated") for name in there):
        return (
            "the publisher's own format (params.json, consolidated.*), which is not read. The Hugging Face "
            "format of the same model has a config.json; take that folder, or convert with transformers' "
            "convert_llama_weights_to_hf or convert_mistral_weights_to_hf."
        )
    if gguf := _ending(there, ".gguf"):
        return _gguf(gguf)
    inside = sorted(path.parent.name for path in folder.glob("*/config.json"))
    inside += sorted(str(path.parent.relative_to(folder)) for path in folder.glob("snapshots/*/config.json"))
    inside += sorted(path.parent.name for path in folder.glob("*/adapter_config.json"))
    if inside:
        return f"no config.json there, but in {', '.join(inside[:4])}. Give the folder that holds it."
    if not there:
        return "an empty folder. A Hugging Face model folder (config.json, *.safetensors) is expected."
    return (
        f"no config.json there, so no Hugging Face model folder; it holds {_few(there)}. Copy config.json "
        "and the tokenizer's files from where the weights come from."
    )


def without_weights(folder: Path, wanted: str) -> str:
    """Describe a folder with a config and no weights that are read: what lies there instead, what to do.

    wanted: the names of the files that are read.
    """
    there = {path.name for path in _names(folder)}
    if unfinished := _ending(there, *_PART):
        return f"a download that did not end ({_few(unfinished)}). Do it again."
    if gguf := _ending(there, ".gguf"):
        return _gguf(gguf)
    if (
        any(re.fullmatch(r"consolidated.*\.(safetensors|pth)", name) for name in there)
        or (folder / "original").is_dir()
    ):
        return (
            f"no {wanted}, but the publisher's own format (consolidated.*, original/), which is not read. "
            "Download the *.safetensors files beside it, which have the same weights."
        )
    if other := _ending(there, ".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5"):
        return (
            f"no {wanted}, but {_few(other)}. Weights are read from safetensors files only (others can run "
            "code). Convert them where you trust them: transformers' "
            "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW, safe_serialization=True)."
        )
    if named := sorted(_ending(there, ".safetensors")):
        return f"no {wanted}, but {_few(named)}. If it is the model, call it {wanted.split()[0]}."
    return (
        f"no {wanted}. Weights are read from safetensors files only; convert others with transformers' "
        "save_pretrained."
    )


def _gguf(names: Iterable[str]) -> str:
    return (
        f"weights in llama.cpp's GGUF format ({_few(names)}), which is not read. Take the folder that they "
        "were converted from: config.json, tokenizer.json and *.safetensors."
    )


def _names(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []


def _ending(names: Iterable[str], *ends: str) -> list[str]:
    return sorted(name for name in names if name.endswith(ends))


def _few(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
