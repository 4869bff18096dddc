"""Hugging Face folders in and out: policies (causal language models) and reward models.

A reward model is a sequence-classification folder with one label, whose `score.weight` is the head: its
scores are the values before tanh. Folders are written beside their place and renamed, so that a killed save
leaves the old folder or none. Tokenizer files are copied, never read here.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from safetensors import SafetensorError

from rstar_jax import sharding
from rstar_jax.errors import UserError
from rstar_jax.models.config import DecoderConfig
from rstar_jax.models.decoder import Decoder
from rstar_jax.models.families import FAMILIES, Family, Weight, places
from rstar_jax.models.params import param_specs
from rstar_jax.models.scalar_head import RewardModel
from rstar_jax.models.weight_files import INDEX, SHARD_BYTES, WEIGHTS, WeightFiles, read_json, write_weights

SCORE = "score.weight"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)
HUB_FILES = ("config.json", "*.safetensors", INDEX, *TOKENIZER_FILES)
StrPath = str | os.PathLike[str]
_Part = tuple[Weight, str, tuple[int, ...]]  # where a parameter stands, its name, the index of its entry


def load_pretrained(
    path: StrPath, *, dtype: Any = jnp.float32, compute_dtype: Any = None, mesh: Mesh | None = None
) -> Decoder:
    """The decoder in a folder, or under a hub id such as Qwen/Qwen2.5-Math-1.5B.

    dtype: of the parameters; compute_dtype: of the matmuls, by default the same. With a mesh every
    parameter is placed by `sharding.preset_for`. Raises UserError naming the file, field or tensor.
    """
    folder = local_folder(path)
    family, config = _read_config(folder)
    files = WeightFiles(folder)
    if SCORE in files.where:
        raise UserError(
            f"{files.where[SCORE]}: tensor '{SCORE}' makes this a reward model; load_reward_model reads it."
        )
    return _read_decoder(files, family, config, dtype, compute_dtype, mesh)


def check_pretrained(path: StrPath) -> None:
    """Raises UserError, as load_pretrained would, for what can be told without reading the weights."""
    folder = local_folder(path)
    family, config = _read_config(folder)
    _check_names(WeightFiles(folder), family, config)


def load_reward_model(
    path: StrPath, *, dtype: Any = jnp.float32, compute_dtype: Any = None, mesh: Mesh | None = None
) -> RewardModel:
    """The reward model in a sequence-classification folder with one label. Arguments as load_pretrained."""
    folder = local_folder(path)
    family, config = _read_config(folder)
    files = WeightFiles(folder)
    if SCORE not in files.where:
        raise UserError(f"{folder}: no tensor '{SCORE}': not a reward model. load_pretrained reads policies.")
    score = files.read(SCORE, (1, config.width))[0]
    config = dataclasses.replace(config, tied=True)  # there is no vocabulary head to look for
    decoder = _read_decoder(files, family, config, dtype, compute_dtype, mesh)
    return RewardModel(decoder, _place(score, ("embed",), dtype, mesh))


def save_pretrained(
    model: Decoder,
    path: StrPath,
    *,
    tokenizer_from: StrPath | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes the folder that transformers' AutoModelForCausalLM loads, in the parameters' dtype.

    tokenizer_from: a folder whose tokenizer files are copied. Other files already at `path` stay.
    Raises UserError if it cannot be written (what was there before is then untouched).
    """
    config = {"architectures": [FAMILIES[model.config.family].architecture]}
    _write_folder(path, model, config, {}, tokenizer_from, shard_bytes)


def save_reward_model(
    model: RewardModel,
    path: StrPath,
    *,
    tokenizer_from: StrPath | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes the folder that AutoModelForSequenceClassification loads. Arguments as save_pretrained."""
    config = {
        "architectures": [FAMILIES[model.decoder.config.family].reward_architecture],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "num_labels": 1,
    }
    score = _host(model.score[...])[None]
    _write_folder(path, model.decoder, config, {SCORE: score}, tokenizer_from, shard_bytes)


def local_folder(path: StrPath) -> Path:
    """The local folder of a path or hub id, downloaded if need be. Raises UserError if there is neither."""
    folder = Path(path)
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise UserError(f"{folder}: no config.json there, so no Hugging Face model folder.")
        return folder
    if folder.exists():
        raise UserError(f"{folder}: a file; the folder that holds config.json is expected.")
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(path)):
        raise UserError(f"{path}: no such folder (and no hub id, which looks like 'owner/name').")
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(
            f"{path}: no such folder. To load it as a hub id: pip install huggingface_hub."
        ) from error
    try:
        return Path(hub.snapshot_download(str(path), allow_patterns=list(HUB_FILES)))
    except Exception as error:
        raise UserError(
            f"{path}: no such folder here, and not to be had from the hub ({type(error).__name__}: {error}). "
            "Check the name and the network, or download the folder and give its path."
        ) from error


def _read_config(folder: Path) -> tuple[Family, DecoderConfig]:
    file = folder / "config.json"
    config = read_json(file)
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise UserError(
            f"{file}: model_type {kind!r} is not supported. Supported: {', '.join(sorted(FAMILIES))}."
        )
    return FAMILIES[kind], FAMILIES[kind].read(config, str(file))


def _read_decoder(
    files: WeightFiles,
    family: Family,
    config: DecoderConfig,
    dtype: Any,
    compute_dtype: Any,
    mesh: Mesh | None,
) -> Decoder:
    _check_names(files, family, config)
    params = {}
    for ours, weight in family.weights(config).items():
        spec = param_specs(config)[ours]
        value = np.empty(spec.shape, np.dtype(dtype))
        for index, name in places(ours, weight, config):
            part = files.read(name, weight.shape, weight.rows)
            value[index] = weight.to_ours(part, spec.shape[len(index) :])
        params[ours] = _place(value, spec.axes, dtype, mesh)
    return Decoder(config, params, compute_dtype=compute_dtype, mesh=mesh)


def _check_names(files: WeightFiles, family: Family, config: DecoderConfig) -> None:
    table = family.weights(config)
    wanted = {name for ours, weight in table.items() for _, name in places(ours, weight, config)}
    missing = sorted(wanted - files.where.keys())
    if missing:
        raise UserError(
            f"{_some_file(files)}: tensor '{missing[0]}' is missing ({len(missing)} of {len(wanted)} are); "
            "config.json asks for it."
        )
    known = {SCORE, "lm_head.weight"}  # some folders store a tied head again
    extra = [n for n in files.where if n not in wanted | known and not n.endswith(family.ignored)]
    if extra:
        raise UserError(
            f"{files.where[extra[0]]}: tensor '{extra[0]}' has no place in a {config.family} model "
            f"({len(extra)} such)."
        )


def _some_file(files: WeightFiles) -> Path:
    found = sorted(set(files.where.values()))
    return found[0] if len(found) == 1 else found[0].with_name(INDEX)


def _place(value: np.ndarray, axes: tuple[str | None, ...], dtype: Any, mesh: Mesh | None) -> jax.Array:
    value = np.asarray(value, np.dtype(dtype))
    if mesh is None:
        return jnp.asarray(value)
    where = sharding.sharding(mesh, axes, value.shape, sharding.preset_for(mesh))
    return jax.device_put(value, where)


def _host(value: jax.Array) -> np.ndarray:
    return np.asarray(jax.device_get(value))


def _write_folder(
    path: StrPath,
    model: Decoder,
    config: dict[str, Any],
    more: Mapping[str, np.ndarray],
    tokenizer_from: StrPath | None,
    shard_bytes: int,
) -> None:
    c = model.config
    family = FAMILIES[c.family]
    params = model.params()
    config = config | family.write(c) | {"torch_dtype": str(params["embed"].dtype)}
    parts: dict[str, list[_Part]] = {}  # tensor name -> what it is made of
    for ours, weight in family.weights(c).items():
        for index, theirs in places(ours, weight, c):
            parts.setdefault(theirs, []).append((weight, ours, index))

    def value(theirs: str) -> np.ndarray:
        if theirs in more:
            return more[theirs]
        ordered = sorted(parts[theirs], key=lambda part: part[0].rows or (0, 0))
        rows = [weight.to_theirs(_host(params[ours][index])) for weight, ours, index in ordered]
        return np.concatenate(rows) if len(rows) > 1 else rows[0]

    sizes = {
        theirs: int(np.prod(weight.shape)) * params[ours].dtype.itemsize
        for theirs, ((weight, ours, _), *_) in parts.items()
    } | {theirs: tensor.nbytes for theirs, tensor in more.items()}

    def fill(folder: Path) -> None:
        write_weights(folder, sizes, value, shard_bytes)
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        for name in TOKENIZER_FILES if tokenizer_from is not None else ():
            if (Path(tokenizer_from or "") / name).exists():
                shutil.copy2(Path(tokenizer_from or "") / name, folder / name)

    _replace_folder(Path(path), fill, sum(sizes.values()))


def _replace_folder(path: Path, fill: Callable[[Path], None], size: int) -> None:
    """Makes the folder at `path` hold what `fill` writes, and what else it held, at once or not at all."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: a file is in the way of the model folder. Name another path.")
    fresh = path.with_name(f".{path.name}.new-{os.getpid()}")
    old = path.with_name(f".{path.name}.old-{os.getpid()}")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        if path.exists():
            weights = {INDEX, WEIGHTS, *(f.name for f in path.glob("model-*-of-*.safetensors"))}
            shutil.copytree(path, fresh, ignore=lambda _, names: weights & set(names), dirs_exist_ok=True)
        fill(fresh)
        if path.exists():
            path.rename(old)
        fresh.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        raise UserError(
            f"{path}: the model ({size / 1e6:.1f} MB) could not be written: {error}. "
            "Free some space or name another path; nothing half-written was left."
        ) from error
