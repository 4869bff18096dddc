"""Names of tensors as training frameworks wrap them, and without what they add."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rstar_jax.errors import UserError
from rstar_jax.weights.safetensors_format import Stored

# What wrappers put into a name, wherever they stand: DistributedDataParallel, torch.compile, FSDP, activation
# checkpoints. Takes "module.model.norm.weight", not "model.submodule.weight".
_ANYWHERE = re.compile(r"(?<![^.])(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# What may stand before a whole model: PEFT, TRL, models of several parts.
_BEFORE = re.compile(r"(?:base_model\.model\.|language_model\.|pretrained_model\.|llm\.|policy\.|actor\.)+")
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
_BARE = re.compile(r"(embed_tokens|layers|norm)\.")


def unwrapped(tensors: Mapping[str, Stored], roots: Sequence[tuple[str, str]] = ()) -> dict[str, Stored]:
    """The tensors by the names that transformers' causal language models give them.

    roots: other beginnings that a family's own folders have, as in `Family`; they stay. Raises UserError for
    names that are two tensors' then, and for additions that were never merged.
    """
    for name, stored in tensors.items():
        if ".lora_A." in name or ".base_layer." in name:
            raise UserError(
                f"{stored.file}: tensor '{name}' is part of a model with low-rank additions beside its "
                "weights. Merge them (peft: model.merge_and_unload()) and save again, or give the adapter's "
                "own folder, with adapter_config.json."
            )
    renamed = {name: _ANYWHERE.sub("", name) for name in tensors}
    names = set(renamed.values())
    if not names & {EMBED, *(theirs + EMBED.removeprefix(ours) for ours, theirs in roots)}:
        before = {name.removesuffix(EMBED) for name in names if name.endswith(EMBED)}
        before = {prefix for prefix in before if _BEFORE.fullmatch(prefix)}
        bare = EMBED.removeprefix("model.")
        if len(before) == 1:
            (prefix,) = before
            renamed = {old: name.removeprefix(prefix) for old, name in renamed.items()}
        elif bare in names:  # a model without any head, which transformers saves by its own names
            renamed = {old: f"model.{name}" if _BARE.match(name) else name for old, name in renamed.items()}
    _require_distinct(tensors, renamed)
    return {renamed[name]: stored for name, stored in tensors.items()}


def _require_distinct(tensors: Mapping[str, Stored], renamed: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for old, new in renamed.items():
        if new in seen:
            raise UserError(
                f"{tensors[old].file}: tensors '{seen[new]}' and '{old}' are both '{new}' without the names "
                "of what wrapped them. Leave one of the two models out of the folder."
            )
        seen[new] = old
