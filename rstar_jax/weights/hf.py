"""Hugging Face folders in and out: policies (causal language models) and reward models.

The reward models that we write are sequence-classification folders with one label, whose `score.weight` is
the head: its scores are the values before tanh. Others' heads are read, too (`heads.py`), and PEFT adapters
with their bases (`adapter.py`). Folders are written beside their place and renamed, so that a killed save
leaves the old folder or none.
"""

from __future__ import annotations

import collections
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from rstar_jax.errors import UserError
from rstar_jax.models.config import DecoderConfig
from rstar_jax.models.decoder import Decoder
from rstar_jax.models.scalar_head import RewardModel
from rstar_jax.weights import heads
from rstar_jax.weights.families import FAMILIES, Weight, places
from rstar_jax.weights.folders import (
    CARD,
    GENERATION,
    StrPath,
    check_tokenizer,
    copy_tokenizer,
    replace_folder,
)
from rstar_jax.weights.handover import Handover
from rstar_jax.weights.heads import Reading
from rstar_jax.weights.loading import Progress
from rstar_jax.weights.source import Source
from rstar_jax.weights.weight_files import SHARD_BYTES, write_weights

_Part = tuple[Weight, jax.Array, tuple[int, ...]]  # where a parameter stands, its value, the entry's index


class Tokenizer(Protocol):
    """A tokenizer that writes its own files into a folder."""

    def save(self, path: Path, /) -> None: ...


def load_pretrained(
    path: StrPath,
    *,
    dtype: Any = jnp.float32,
    compute_dtype: Any = None,
    mesh: Mesh | None = None,
    cache: StrPath | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    held: Handover | None = None,
) -> Decoder:
    """The decoder in a folder, or under a hub id such as Qwen/Qwen2.5-Math-1.5B.

    dtype: of the parameters; compute_dtype: of the matmuls, by default the same. With a mesh every
    parameter is placed by `sharding.preset_for`, and each process reads the parts that its devices hold.
    cache: a folder in which the converted weights are kept for the next time; None: nowhere. on_progress:
    called after each tensor; without it a long load is logged. held: weights that are on the devices
    already. Raises UserError naming the file, field or tensor.
    """
    with Source(path, reward=False) as source:
        params = source.read(dtype, mesh, cache, on_progress, held)
        return Decoder(source.config, params, compute_dtype=compute_dtype, mesh=mesh)


def check_pretrained(path: StrPath) -> DecoderConfig:
    """The shape of the decoder in a folder. Raises UserError, as load_pretrained would, for what can be told
    without reading the weights."""
    with Source(path, reward=False) as source:
        return source.config


def check_reward_model(path: StrPath) -> DecoderConfig:
    """The same of a reward model's folder, by load_reward_model."""
    with Source(path, reward=True) as source:
        return source.config


def reading_of(path: StrPath) -> Reading:
    """Return the layout of steps for the reward model in a folder. Raises UserError as check_reward_model."""
    with Source(path, reward=True) as source:
        assert source.head is not None
        return source.head.reading


def load_reward_model(
    path: StrPath,
    *,
    dtype: Any = jnp.float32,
    compute_dtype: Any = None,
    mesh: Mesh | None = None,
    cache: StrPath | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    held: Handover | None = None,
) -> RewardModel:
    """The reward model in a folder, with a head of a form in `heads`. Arguments as load_pretrained."""
    with Source(path, reward=True) as source:
        assert source.head is not None
        head, params = source.head, source.read(dtype, mesh, cache, on_progress, held)
        more = head.folded(params)
        decoder = Decoder(source.config, params, compute_dtype=compute_dtype, mesh=mesh)
        score, known = more.pop("score"), {"reading": head.reading, "of_probability": head.of_probability}
        return RewardModel(decoder, score, more, **known)


def save_pretrained(
    model: Decoder,
    path: StrPath,
    *,
    tokenizer_from: Tokenizer | StrPath | None = None,
    card: str | None = None,
    stops: Sequence[str] = (),
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes the folder that transformers' AutoModelForCausalLM loads, in the parameters' dtype.

    tokenizer_from: a tokenizer, or a folder whose tokenizer files are copied. card: the text of README.md
    (`model_card`). stops: texts at which generation ends, for generation_config.json. Other files already at
    `path` stay. One tensor at a time is on the host. Every process of a mesh must call this alike; the first
    one writes. Raises UserError if the folder cannot be written, or the tokenizer has more ids than the
    embeddings rows (what was there before is then untouched).
    """
    config = {"architectures": [FAMILIES[model.config.family].architecture]}
    generation = _generation(model.config, stops) if stops else model.config.generation
    _write_folder(Path(path), model, config, {}, generation, tokenizer_from, card, shard_bytes)


def _generation(c: DecoderConfig, stops: Sequence[str]) -> str:
    """Return what the model's generation_config.json said, with the ids that it left out and these stops."""
    ends = c.end_ids
    ids = {
        "bos_token_id": c.bos_id,
        "eos_token_id": ends[0] if len(ends) == 1 else [*ends],
        "pad_token_id": c.pad_id if c.pad_id is not None else next(iter(ends), None),
    }
    said = json.loads(c.generation) if c.generation else {}
    known = {name: value for name, value in ids.items() if value not in (None, [])}
    return json.dumps(known | said | {"stop_strings": [*stops]}, indent=2)


def save_reward_model(
    model: RewardModel,
    path: StrPath,
    *,
    tokenizer_from: Tokenizer | StrPath | None = None,
    card: str | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes the folder that AutoModelForSequenceClassification loads. Arguments as save_pretrained.

    transformers takes the score of the last token that is not padding; where the config names no padding,
    the end of text is it. Raises UserError for a head that such a folder cannot hold.
    """
    if extra := [name for name in model.head() if name != "score"]:
        raise UserError(
            f"{path}: the head of this reward model ({', '.join(extra)} beside its weights) cannot be kept "
            "in a sequence-classification folder. Copy the folder that it was loaded from."
        )
    c = model.decoder.config
    config = {
        "architectures": [FAMILIES[c.family].reward_architecture],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "num_labels": 1,
        "problem_type": "regression",  # servers would put a sigmoid behind it
    }
    if c.pad_id is None:
        config["pad_token_id"] = c.eos_ids[0] if c.eos_ids else 0
    more = {"score": model.score[...]}
    _write_folder(Path(path), model.decoder, config, more, c.generation, tokenizer_from, card, shard_bytes)


def _write_folder(
    path: Path,
    model: Decoder,
    config: dict[str, Any],
    more: Mapping[str, jax.Array],
    generation: str | None,
    tokenizer_from: Tokenizer | StrPath | None,
    card: str | None,
    shard_bytes: int,
) -> None:
    c = model.config
    family = FAMILIES[c.family]
    params = model.params() | dict(more)
    dtype = str(params["embed"].dtype)
    config = family.write(c) | config | {"torch_dtype": dtype, "dtype": dtype}  # before and since version 5
    table = family.weights(c)
    if more:
        table = table | {name: weight for name, (_, weight) in heads.plain(c.width).table.items()}
    parts: dict[str, list[_Part]] = {}  # tensor name -> what it is made of
    for ours, weight in table.items():
        for index, theirs in places(ours, weight, c):
            parts.setdefault(theirs, []).append((weight, params[ours], index))
    for of_tensor in parts.values():
        of_tensor.sort(key=lambda part: part[0].rows or (0, 0))
    shapes = {theirs: (weight.shape, p.dtype) for theirs, ((weight, p, _), *_) in parts.items()}
    size = sum(math.prod(shape) * dtype.itemsize for shape, dtype in shapes.values())

    def value(theirs: str) -> Iterator[np.ndarray]:
        for weight, param, index in parts[theirs]:
            yield weight.to_theirs(_host(param[index]))

    def fill(folder: Path) -> None:
        if isinstance(tokenizer_from, str | os.PathLike):
            copy_tokenizer(Path(tokenizer_from), folder)
        elif tokenizer_from is not None:
            tokenizer_from.save(folder)
        if tokenizer_from is not None:
            check_tokenizer(folder, c.vocab_size, "the model's embedding")
        write_weights(folder, shapes, value, shard_bytes)
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        if generation is not None:
            (folder / GENERATION).write_text(generation + "\n", encoding="utf-8")
        if card is not None:
            (folder / CARD).write_text(card, encoding="utf-8")

    if jax.process_index() == 0:
        replace_folder(path, fill, size)
    else:
        for theirs in shapes:
            collections.deque(value(theirs), maxlen=0)  # the others take part in the gathering
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"saved {path.name}")  # its folder may differ by host


def _host(value: jax.Array) -> np.ndarray:
    if value.is_fully_addressable:
        return np.asarray(jax.device_get(value))
    return multihost_utils.process_allgather(value, tiled=True)
