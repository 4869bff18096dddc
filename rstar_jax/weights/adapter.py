"""A PEFT LoRA adapter's folder: the tensors that it stores whole, and additions merged into weights.

Stored whole are trained modules (`modules_to_save`: a reward head, embeddings) and embeddings of another
size: they take the place of the base's tensors before anything is read. Additions B A are merged after it, in
float32, as `lora.merge` does.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rstar_jax import sharding
from rstar_jax.errors import UserError
from rstar_jax.models.config import DecoderConfig
from rstar_jax.models.linear import SUMMED, LowRank
from rstar_jax.models.params import param_specs
from rstar_jax.transforms import lora
from rstar_jax.transforms.quantize import BLOCK
from rstar_jax.weights.adapter_config import ADAPTER, CONFIG, AdapterConfig
from rstar_jax.weights.families import Weight, places
from rstar_jax.weights.heads import READING, TOKEN_CLASSES
from rstar_jax.weights.names import EMBED, HEAD
from rstar_jax.weights.safetensors_format import Stored
from rstar_jax.weights.weight_files import WeightFiles

_PREFIX = re.compile(r"(?:base_model\.model\.|_orig_mod\.|module\.)+")
# Takes "model.layers.0.self_attn.q_proj.lora_A.weight" and "model.embed_tokens.lora_embedding_B", also with
# the adapter's name, as old releases have it.
_PART = re.compile(
    r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<part>[AB])(?:\.default)?(?:\.weight)?"
)
_INSERTED = re.compile(r"(?<![^.])(?:base_layer|modules_to_save|original_module|default)\.")


@dataclasses.dataclass(frozen=True)
class _Addition:
    """Names of a module's two tensors in the adapter's file; rank and scale by the config."""

    a: str
    b: str
    rank: int
    scale: float


class Adapter:
    """An adapter's file, open. whole: tensors to be put in the place of the base's, by their names."""

    def __init__(self, folder: Path, roots: tuple[tuple[str, str], ...]) -> None:
        """roots: other beginnings that the family's names have, as in `Family`. Raises UserError."""
        self.folder, self.config = folder, AdapterConfig.read(folder)
        self.files = WeightFiles(folder, folder / ADAPTER)
        self.whole: dict[str, Stored] = {}
        parts: dict[str, dict[str, str]] = {}
        try:
            for name, stored in self.files.tensors.items():
                bare = _PREFIX.sub("", name, count=1) if _PREFIX.match(name) else name
                for ours, theirs in roots:
                    bare = ours + bare.removeprefix(theirs) if bare.startswith(theirs) else bare
                if found := _PART.fullmatch(bare):
                    parts.setdefault(found["module"], {})[found["part"]] = name
                elif "lora_" in bare:
                    raise UserError(f"{stored.file}: tensor '{name}' is of a kind that is not read here.")
                else:
                    self.whole[_INSERTED.sub("", bare)] = stored
            self._additions = {module: self._addition(module, pair) for module, pair in parts.items()}
        except BaseException:
            self.files.close()
            raise

    def _addition(self, module: str, pair: Mapping[str, str]) -> _Addition:
        if pair.keys() != {"A", "B"}:
            (name,) = pair.values()
            raise UserError(f"{self._file}: tensor '{name}' is there without its other half.")
        rank, scale = self.config.scale(module)
        for name, axis in ((pair["A"], 0), (pair["B"], 1)):
            shape = self.files.tensors[name].shape
            if len(shape) != 2 or shape[axis] != rank:
                raise UserError(
                    f"{self._file}: tensor '{name}' has shape {shape}, {self.folder / CONFIG} asks for rank "
                    f"{rank} (r, rank_pattern)."
                )
            self.files.check(name, shape)
        return _Addition(pair["A"], pair["B"], rank, scale)

    @property
    def _stores_biases(self) -> bool:
        return any(name.endswith(".bias") for name in self.whole)

    @property
    def _file(self) -> Path:
        return self.folder / ADAPTER

    def overlay(self, base: WeightFiles, config: DecoderConfig, named: Callable[[str], str]) -> DecoderConfig:
        """Puts what is stored whole over the base's tensors, and returns the config with what follows: the
        rows of the vocabulary, and a head that is the embeddings' no more.

        named: the base's own name of a tensor.
        """
        embed, head = named(EMBED), named(HEAD)
        before = base.tensors.get(embed)
        for name, stored in self.whole.items():
            base.adopt(named(name), stored)
        if (table := self.whole.get(EMBED)) and table.shape:
            config = dataclasses.replace(config, vocab_size=table.shape[0])
        if config.tied and EMBED in self.whole and HEAD not in self.whole:
            if "embed_tokens" in self.config.saved and before is not None:
                base.tensors[head] = before  # PEFT trains a copy of the embeddings, and leaves the head
            else:
                base.tensors.pop(head, None)  # a head of before, of as many rows as then
        ends = {name.removesuffix(".weight") for name in (EMBED, HEAD)}
        if config.tied and ends & self._additions.keys():
            base.tensors.setdefault(head, base.tensors[embed])
            config = dataclasses.replace(config, tied=False)
        return config

    def check(self, table: Mapping[str, Weight], config: DecoderConfig) -> None:
        """Raises UserError unless every addition has its weight, of its shape, in a decoder of this table."""
        has_biases = config.qkv_bias or config.o_bias
        if has_biases and self.config.content.get("bias") == "lora_only" and not self._stores_biases:
            raise UserError(
                f"{self.folder / CONFIG}: field 'bias' is 'lora_only', and {ADAPTER} has no bias: PEFT "
                "trained those of the adapted weights and did not store them. Merge the adapter where it was "
                "trained."
            )
        shapes = {
            name.removesuffix(".weight"): weight.shape
            for ours, weight in table.items()
            for _, name in places(ours, weight, config)
            if ours.rpartition(".")[2] in SUMMED
        }
        for module, addition in self._additions.items():
            if module not in shapes:
                raise UserError(
                    f"{self._file}: tensor '{addition.a}' adds to '{module}', which is no weight of a "
                    f"{config.family} model that additions are merged into here."
                )
            down, up = (self.files.tensors[name].shape for name in (addition.a, addition.b))
            found = (up[0], down[1]) if f"{module}.weight" != EMBED else (down[1], up[0])
            if found != shapes[module]:
                raise UserError(
                    f"{self._file}: tensors '{addition.a}' and '{addition.b}' add a matrix of {found}, but "
                    f"the base's '{module}' is {shapes[module]}. Give the base that it was trained on."
                )

    def merge(
        self,
        params: dict[str, jax.Array],
        table: Mapping[str, Weight],
        config: DecoderConfig,
        mesh: Mesh | None,
    ) -> None:
        """Adds every addition to its weight among `params`, one parameter after another."""
        specs = param_specs(config)
        for ours, weight in table.items():
            kind = ours.rpartition(".")[2]
            found = {
                index: self._additions[module]
                for index, name in places(ours, weight, config)
                if (module := name.removesuffix(".weight")) in self._additions
            }
            if not found:
                continue
            axes = specs[ours].axes
            if kind in ("embed", "head"):
                (addition,) = found.values()
                left, right = self._table_factors(addition, kind)
                params[ours] = _added(params[ours], left, right, blocks=mesh is None)
                continue
            first, end = SUMMED[kind][0], SUMMED[kind][-1] + 1
            shape, rank = specs[ours].shape, max(addition.rank for addition in found.values())
            a = np.zeros((*shape[:end], rank), np.float32)
            b = np.zeros((*shape[:first], rank, *shape[end:]), np.float32)
            for index, addition in found.items():
                r = addition.rank
                down, up = self._read(addition.a), self._read(addition.b) * np.float32(addition.scale)
                if weight.rows is not None:
                    up = up[slice(*weight.rows)]
                a[index][..., :r] = down.T.reshape(*shape[first:end], r)
                b[index][:r] = up.T.reshape(r, *shape[end:])
            factors = (
                _placed(a, (*axes[:end], None), mesh),
                _placed(b, (*axes[:first], None, *axes[end:]), mesh),
            )
            params[ours] = lora.merged(LowRank(params[ours], *factors, 1.0), first)

    def _table_factors(self, addition: _Addition, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Factors [V, R] and [R, D] of what is added to the embeddings or the head."""
        down, up = self._read(addition.a), self._read(addition.b)
        left, right = (up, down) if kind == "head" else (down.T, up.T)
        return left * np.float32(addition.scale), right

    def _read(self, name: str) -> np.ndarray:
        rows, columns = self.files.tensors[name].shape
        return self.files.read(name, (0, rows), (0, columns)).astype(np.float32)

    def described(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The base's config.json with what the adapter says of the head that it brings."""
        more: dict[str, Any] = {}
        if self.config.content.get("task_type") == "TOKEN_CLS":
            more["architectures"] = [TOKEN_CLASSES]
        for name in (READING, "id2label"):
            if name in self.config.content:
                more[name] = self.config.content[name]
        return {**config, **more}

    def close(self) -> None:
        """Closes the file."""
        self.files.close()


def _placed(value: np.ndarray, axes: tuple[str | None, ...], mesh: Mesh | None) -> jax.Array:
    if mesh is None:
        return jnp.asarray(value)
    return jax.device_put(value, sharding.sharding(mesh, axes, value.shape, sharding.preset_for(mesh)))


def _added(table: jax.Array, left: np.ndarray, right: np.ndarray, *, blocks: bool) -> jax.Array:
    """The table [V, D] with left @ right added; by blocks of rows, or float32 of all of it were held."""
    rows = BLOCK if blocks else len(table)
    for first in range(0, len(table), rows):  # the last block is a shorter one
        table = _add(table, left[first : first + rows], right, jnp.int32(first))
    return table


@functools.partial(jax.jit, donate_argnums=0)
def _add(table: jax.Array, left: jax.Array, right: jax.Array, first: jax.Array) -> jax.Array:
    block = jax.lax.dynamic_slice_in_dim(table, first, left.shape[0]).astype(jnp.float32)
    new = block + jnp.matmul(left, right, precision="highest")
    return jax.lax.dynamic_update_slice_in_dim(table, new.astype(table.dtype), first, 0)
