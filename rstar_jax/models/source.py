"""A model folder, looked at before anything is loaded: its config, and names and shapes of its tensors."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from rstar_jax.errors import UserError
from rstar_jax.models import converted
from rstar_jax.models.config import DecoderConfig
from rstar_jax.models.families import FAMILIES, Family, Weight, places
from rstar_jax.models.families.fields import Fields
from rstar_jax.models.folders import GENERATION, StrPath, check_tokenizer, local_folder
from rstar_jax.models.loading import Progress, Wanted, read_params
from rstar_jax.models.params import ParamSpec, param_specs
from rstar_jax.models.weight_files import INDEX, WEIGHTS, WeightFiles, is_there, read_json

log = logging.getLogger(__name__)

SCORE = "score.weight"
_EMBED, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


class OtherKind(UserError):
    """A policy where a reward model is expected, or the other way round."""


class Source:
    """A folder whose config is read, and whose tensors are all what they should be; a context manager.

    folder, config: what was looked at. files: its tensors. wanted: what each parameter is made of.
    """

    def __init__(self, path: StrPath, *, reward: bool) -> None:
        """Raises UserError naming the file, field or tensor."""
        self.folder = local_folder(path)
        self._family, self.config = _read_config(self.folder)
        self.files = WeightFiles(self.folder)
        try:
            self._check_kind(reward)
            self._root = self._find_root()
            if reward:  # there is no vocabulary head to look for
                self.config = dataclasses.replace(self.config, tied=True)
            else:
                self._settle_tie()
            self.wanted = self._find_tensors(reward)
            self._check_tensors()
            embed = self.wanted["embed"].weight.name
            rows = f"tensor '{embed}' ({self.folder / 'config.json'}: vocab_size)"
            check_tokenizer(self.folder, self.config.vocab_size, rows)
        except BaseException:
            self.files.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.files.close()

    def read(
        self,
        dtype: Any,
        mesh: Mesh | None,
        cache: StrPath | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> dict[str, jax.Array]:
        """The parameters by name, and of a reward model `score`."""

        def read() -> dict[str, jax.Array]:
            return read_params(self.files, self.wanted, dtype, mesh, on_progress)

        if cache is None:
            return read()
        specs = {name: wanted.spec for name, wanted in self.wanted.items()}
        config = dataclasses.replace(self.config, generation=None)  # no weight depends on it
        return converted.through_cache(Path(cache), self.files, config, specs, dtype, mesh, read)

    def _check_kind(self, reward: bool) -> None:
        scored = self.files.tensors.get(SCORE)
        if reward and not scored:
            raise OtherKind(
                f"{self.folder}: no tensor '{SCORE}', so that it is no reward model, but may be a policy."
            )
        if scored and not reward:
            raise OtherKind(
                f"{scored.file}: tensor '{SCORE}' makes it a reward model, which is no policy."
            )

    def _find_root(self) -> tuple[str, str]:
        """How the tensors' names begin in the family's table, and how in this folder."""
        for ours, theirs in self._family.roots:
            if theirs + _EMBED.removeprefix(ours) in self.files.tensors:
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
        embed, head, found = self._named(_EMBED), self._named(_HEAD), self.files.tensors
        if self.config.tied and embed in found and head in found and not self.files.same(embed, head):
            log.warning(
                "%s: config.json ties tensor '%s' to '%s', but they differ; both are used, as transformers 5 "
                "does. 'tie_word_embeddings': false would say so.",
                *(found[head].file, head, embed),
            )
            self.config = dataclasses.replace(self.config, tied=False)

    def _find_tensors(self, reward: bool) -> dict[str, Wanted]:
        """What the parameters are made of."""
        embed, head, found = self._named(_EMBED), self._named(_HEAD), self.files.tensors
        specs, table = param_specs(self.config), dict(self._family.weights(self.config))
        if reward:
            specs["score"] = ParamSpec((self.config.width,), ("embed",), None)
            table["score"] = score(self.config)
        for ours, weight in table.items():
            table[ours] = dataclasses.replace(weight, name=self._named(weight.name))
        if self.config.tied and not reward and embed not in found and head in found:
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
            single = self.folder / WEIGHTS
            where = single if is_there(single) else self.folder / INDEX
            raise UserError(
                f"{where}: tensor '{missing[0]}' is missing ({len(missing)} of {len(shapes)} are); "
                "config.json asks for it."
            )
        known = {*shapes, self._named(_HEAD)}  # a tied head may be there again
        extra = [name for name in found if name not in known and not re.search(self._family.ignored, name)]
        if extra:
            raise UserError(
                f"{found[extra[0]].file}: tensor '{extra[0]}' has no place in a {self.config.family} model "
                f"({len(extra)} such)."
            )
        for name, shape in shapes.items():
            self.files.check(name, shape)


def score(config: DecoderConfig) -> Weight:
    """Where the head of a reward model stands."""
    return Weight(SCORE, (1, config.width))


def _read_config(folder: Path) -> tuple[Family, DecoderConfig]:
    file = folder / "config.json"
    content = read_json(file)
    kind = content.get("model_type")
    if kind not in FAMILIES:
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
