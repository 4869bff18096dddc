"""adapter_config.json of PEFT's LoRA (huggingface.co/docs/peft): the fields that say what is added to a base.

Whatever would make another model than W + scale * B A is refused by its name.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.weights.families.fields import Fields
from rstar_jax.weights.weight_files import is_there, read_json

CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
_MERGE = (
    "Merge it where it was made (peft: model.merge_and_unload().save_pretrained(DIR)) and give that folder."
)
# Fields that change what is computed, other than as here; each may be there with a value that means "off".
_NOT_DONE = (
    "use_dora", "lora_bias", "fan_in_fan_out", "layer_replication", "target_parameters",
    "trainable_token_indices", "megatron_config", "use_qalora", "use_bdlora", "alora_invocation_tokens",
    "arrow_config", "monteclora_config", "velora_config", "loftq_config", "corda_config",
)  # fmt: skip
# Starts that leave the base as it is. The others (pissa, olora, corda, loftq) also change the base's weights.
_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """rank, alpha: of all modules but those that a pattern (a regular expression for the end of a module's
    name) gives others. root_scale: the scale is alpha / sqrt(rank), not alpha / rank (arXiv 2312.03732).
    saved: names of modules that were trained and stored whole."""

    base: str
    rank: int
    alpha: float
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    root_scale: bool
    saved: tuple[str, ...]
    content: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> AdapterConfig:
        """Raises UserError naming the field."""
        file = folder / CONFIG
        content = read_json(file)
        f = Fields(content, str(file), {"r": 8, "lora_alpha": 8, "bias": "none"})
        if f.value("peft_type") != "LORA":
            raise UserError(
                f"{file}: peft_type {f.value('peft_type')!r} is not read, LORA alone is. {_MERGE}"
            )
        for name in _NOT_DONE:
            if content.get(name):
                raise UserError(
                    f"{file}: field '{name}' is {content[name]!r}, which is not done here. {_MERGE}"
                )
        start = content.get("init_lora_weights")
        if start not in _STARTS:
            raise UserError(
                f"{file}: field 'init_lora_weights' is {start!r}: such a start changes the base's weights, "
                f"too, so that it does not belong to the base as published. {_MERGE}"
            )
        if f.value("bias") not in ("none", "all", "lora_only"):
            raise UserError(f"{file}: field 'bias' is {f.value('bias')!r}; none, all or lora_only expected.")
        base = f.value("base_model_name_or_path")
        if base is not None and not isinstance(base, str):
            raise UserError(f"{file}: field 'base_model_name_or_path' is {base!r}, a folder expected.")
        saved = f.value("modules_to_save") or []
        if not isinstance(saved, list):
            raise UserError(f"{file}: field 'modules_to_save' is {saved!r}, a list of names expected.")
        ranks, alphas = f.object("rank_pattern"), f.object("alpha_pattern")
        return cls(
            base=base or "",
            rank=f.number("r"),
            alpha=f.real("lora_alpha"),
            ranks={name: ranks.number(name) for name in _patterns(ranks)},
            alphas={name: alphas.real(name) for name in _patterns(alphas)},
            root_scale=bool(f.value("use_rslora")),
            saved=tuple(map(str, saved)),
            content=content,
        )

    def scale(self, module: str) -> tuple[int, float]:
        """Rank and scale of a module, by its whole name."""
        rank = next((r for p, r in self.ranks.items() if _ends(p, module)), self.rank)
        alpha = next((a for p, a in self.alphas.items() if _ends(p, module)), self.alpha)
        return rank, alpha / (math.sqrt(rank) if self.root_scale else rank)


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter and no model of its own."""
    return is_there(folder / CONFIG)


def _patterns(patterns: Fields) -> list[str]:
    for pattern in patterns.config:
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(f"{patterns.where}: {pattern!r} is no regular expression ({error}).") from error
    return list(patterns.config)


def _ends(pattern: str, module: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", module) is not None
