"""A model folder, looked at before anything is loaded: its config, and names and shapes of its tensors."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from rstar_jax.errors import UserError
from rstar_jax.models.config import DecoderConfig
from rstar_jax.models.params import param_specs
from rstar_jax.weights import converted
from rstar_jax.weights.adapter import Adapter
from rstar_jax.weights.families import FAMILIES, Family, places
from rstar_jax.weights.families.fields import Fields
from rstar_jax.weights.folders import (
    GENERATION,
    StrPath,
    base_folder,
    check_tokenizer,
    local_folder,
    require_whole,
    tokenizer_folder,
)
from rstar_jax.weights.handover import Handover
from rstar_jax.weights.heads import BESIDE_A_POLICY, Head, OtherKind, find_head, head_names
from rstar_jax.weights.loading import Progress, Wanted, read_params
from rstar_jax.weights.names import EMBED, HEAD, unwrapped
from rstar_jax.weights.weight_files import INDEX, WEIGHTS, WeightFiles, is_there, read_json

log = logging.getLogger(__name__)


class Source:
    """A folder whose config is read, and whose tensors are all what they should be; a context manager.

    folder, config: what was looked at. files: its tensors; of an adapter those of its base, under what the
    adapter stores whole. wanted: what each parameter is made of. head: of a reward model.
    """

    def __init__(self, path: StrPath, *, reward: bool) -> None:
        """Raises UserError naming the file, field or tensor."""
        self.folder = local_folder(path)
        base = base_folder(self.folder)
        for folder in {self.folder, base}:
            require_whole(folder)
        content = read_json(base / "config.json")
        self._family, self.config = read_config(base, content)
        self.files = WeightFiles(base)
        self.adapter: Adapter | None = None
        try:
            self.files.tensors = unwrapped(self.files.tensors, self._family.roots)
            self._root = self._find_root()
            if base != self.folder:
                self.adapter = Adapter(self.folder, self._family.roots)
                self.config = self.adapter.overlay(self.files, self.config, self._named)
                content = self.adapter.described(content)
            self.head = self._find_head(content) if reward else None
            if reward:  # there is no vocabulary head to look for
                self.config = dataclasses.replace(self.config, tied=True)
            else:
                self._refuse_head(content)
                self._settle_tie()
            self.wanted = self._find_tensors()
            self._check_tensors()
            if self.adapter is not None:
                self.adapter.check(self._family.weights(self.config), self.config)
            embed = self.wanted["embed"].weight.name
            rows = f"tensor '{embed}' ({base / 'config.json'}: vocab_size)"
            check_tokenizer(tokenizer_folder(self.folder), self.config.vocab_size, rows)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files."""
        self.files.close()
        if self.adapter is not None:
            self.adapter.close()

    def read(
        self,
        dtype: Any,
        mesh: Mesh | None,
        cache: StrPath | None,
        on_progress: Callable[[Progress], None] | None,
        held: Handover | None = None,
    ) -> dict[str, jax.Array]:
        """The parameters by name, and of a reward model the head's (`heads.Head.table`); an adapter's
        additions are merged. held: weights that need not be read."""
        specs = {name: wanted.spec for name, wanted in self.wanted.items()}
        if held is not None and (found := held.take(self.folder, specs, dtype, mesh)) is not None:
            return found

        def read() -> dict[str, jax.Array]:
            return read_params(self.files, self.wanted, dtype, mesh, on_progress)

        if cache is None:
            params = read()
        else:
            config = dataclasses.replace(self.config, generation=None)  # no weight depends on it
            params = converted.through_cache(Path(cache), self.files, config, specs, dtype, mesh, read)
        if self.adapter is not None:
            self.adapter.merge(params, self._family.weights(self.config), self.config, mesh)
        return params

    def _find_head(self, content: Mapping[str, Any]) -> Head:
        config = dataclasses.replace(self.config, tied=True)
        own = {name for _, name in self._places(config)}
        if not own & self.files.tensors.keys():  # then none of the others is a head
            raise self._missing(sorted(own), len(own))
        own.add(self._named(HEAD))
        others = [name for name in self.files.tensors if name not in own and not self._ignored(name)]
        where = str(self.folder if self.adapter else self.files.folder)
        return find_head(self.files.tensors, others, content, where, self.config.width)

    def _refuse_head(self, content: Mapping[str, Any]) -> None:
        """A policy has no reward head, or one that PPO trained beside it, which is left behind."""
        heads = head_names(self.files.tensors)
        if not heads:
            return
        file = self.files.tensors[heads[0]].file
        named = content.get("architectures")
        writes = isinstance(named, list) and str(named[:1]).endswith("CausalLM']")
        if not writes or not all(name.startswith(BESIDE_A_POLICY) for name in heads):
            raise OtherKind(f"{file}: tensor '{heads[0]}' makes it a reward model, which is no policy.")
        log.warning("%s: the value head beside this policy (%s) is left behind.", file, ", ".join(heads))
        for name in heads:
            del self.files.tensors[name]

    def _places(self, config: DecoderConfig) -> Iterator[tuple[str, str]]:
        """The decoder's parameters, each with the name that one of its tensors has in this folder."""
        for ours, weight in self._family.weights(config).items():
            for _, name in places(ours, weight, config):
                yield ours, self._named(name)

    def _ignored(self, name: str) -> bool:
        return re.search(self._family.ignored, name) is not None

    def _find_root(self) -> tuple[str, str]:
        """Find how the tensors' names begin in the family's table, and how in this folder."""
        for ours, theirs in self._family.roots:
            if theirs + EMBED.removeprefix(ours) in self.files.tensors:
                return ours, theirs
        return "", ""

    def _named(self, name: str) -> str:
        """A name of the family's table as it is in this folder."""
        ours, theirs = self._root
        return theirs + name.removeprefix(ours) if name.startswith(ours) else name

    def _settle_tie(self) -> None:
        """Unties a head that config.json ties, but that is another in the file.

        So does transformers since version 5; older releases, and servers, drop that head.
        """
        embed, head, found = self._named(EMBED), self._named(HEAD), self.files.tensors
        if self.config.tied and embed in found and head in found and not self.files.same(embed, head):
            log.warning(
                "%s: config.json ties tensor '%s' to '%s', but they differ; both are used, as transformers 5 "
                "does. 'tie_word_embeddings': false would say so.",
                *(found[head].file, head, embed),
            )
            self.config = dataclasses.replace(self.config, tied=False)

    def _find_tensors(self) -> dict[str, Wanted]:
        """Find the tensors that the parameters are made of."""
        embed, head, found = self._named(EMBED), self._named(HEAD), self.files.tensors
        specs, table = param_specs(self.config), dict(self._family.weights(self.config))
        for ours, weight in table.items():
            table[ours] = dataclasses.replace(weight, name=self._named(weight.name))
        for ours, (spec, weight) in (self.head.table if self.head else {}).items():
            specs[ours], table[ours] = spec, weight
        if self.config.tied and not self.head and embed not in found and head in found:
            # Of two that are one, some libraries keep the name that comes first.
            table["embed"] = dataclasses.replace(table["embed"], name=head)
        return {
            ours: Wanted(specs[ours], weight, list(places(ours, weight, self.config)))
            for ours, weight in table.items()
        }

    def _check_tensors(self) -> None:
        found = self.files.tensors
        shapes = {name: w.weight.shape for w in self.wanted.values() for _, name in w.places}
        missing = sorted(shapes.keys() - found.keys())
        if missing:
            raise self._missing(missing, len(shapes))
        known = {*shapes, self._named(HEAD)}  # a tied head may be there again
        extra = [name for name in found if name not in known and not self._ignored(name)]
        if extra:
            raise UserError(
                f"{found[extra[0]].file}: tensor '{extra[0]}' has no place in a {self.config.family} model "
                f"({len(extra)} such)."
            )
        for name, shape in shapes.items():
            self.files.check(name, shape)

    def _missing(self, missing: Sequence[str], wanted: int) -> UserError:
        """The error for tensors that are not there; where none is, it says what there is instead."""
        folder = self.files.folder
        where = next((p for name in (WEIGHTS, INDEX) if is_there(p := folder / name)), folder)
        count = f"({len(missing)} of {wanted} are)"
        text = f"{where}: tensor '{missing[0]}' is missing {count}; config.json asks for it."
        if len(missing) < wanted:
            return UserError(f"{text} Copy the folder again.")
        few = ", ".join(f"'{name}'" for name in sorted(self.files.tensors)[:3])
        return UserError(
            f"{text} What is there is called {few} and so on: another model's, or renamed by what saved it."
        )


def read_config(folder: Path, content: Mapping[str, Any]) -> tuple[Family, DecoderConfig]:
    """The family and shape that config.json names; raises UserError for what the decoder does not do."""
    file = folder / "config.json"
    kind = content.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise UserError(
            f"{file}: model_type {kind!r} is not supported. Supported: {', '.join(sorted(FAMILIES))}."
        )
    if quantized := content.get("quantization_config"):
        method = quantized.get("quant_method") if isinstance(quantized, Mapping) else quantized
        raise UserError(
            f"{file}: field 'quantization_config' ({method}): weights of few bits are not read. Take the "
            "folder with the weights they were made of (float32, float16 or bfloat16)."
        )
    config = FAMILIES[kind].read(content, str(file))
    return FAMILIES[kind], dataclasses.replace(config, generation=_read_generation(folder / GENERATION))


def _read_generation(file: Path) -> str | None:
    if not is_there(file):
        return None
    content = read_json(file)
    Fields(content, str(file)).tokens("eos_token_id")
    return json.dumps(content, indent=2)
