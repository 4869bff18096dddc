"""Phi-3 and Phi-3.5 mini: Llama with fused projections, and rotary positions of the kind "longrope"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rstar_jax.models.config import DecoderConfig
from rstar_jax.weights.families import common, rope_fields, table
from rstar_jax.weights.families.fields import Fields
from rstar_jax.weights.families.table import Family, Weight

_ORIGINAL = "original_max_position_embeddings"
_DEFAULTS = {
    **common.DEFAULTS,
    "max_position_embeddings": 4096,
    _ORIGINAL: 4096,
    "partial_rotary_factor": 1.0,
    "rms_norm_eps": 1e-5,
    "sliding_window": None,
    "bos_token_id": 1,
    "eos_token_id": 32_000,
    "pad_token_id": 32_000,
}
# "su" and "yarn" are what Phi-3's early folders call it.
_ROPES = {"default": "default", "longrope": "longrope", "su": "longrope", "yarn": "longrope"}


def _read(config: Mapping[str, Any], where: str) -> DecoderConfig:
    f = Fields(config, where, _DEFAULTS)
    f.refuse("layer_types")
    fields = common.read(f, rope=rope_fields.read(f, kinds=_ROPES, partial=True))
    return DecoderConfig(**fields, family="phi3", window=f.optional_number("sliding_window"))


def _write(c: DecoderConfig) -> dict[str, Any]:
    config = common.write(c) | {"sliding_window": c.window}
    if c.head_dim * c.heads == c.width:
        del config["head_dim"]  # the real folders have none
    original = c.rope.original_max_position_embeddings
    scaling = dict(rope_fields.write(c.rope).get("rope_scaling", {}))
    scaling.pop(_ORIGINAL, None)  # where Phi-3's own code and servers do not look for it
    scaling.pop("rope_type", None)  # transformers 4 takes type and factors and nothing else
    config["rope_scaling"] = scaling or None
    return config | {_ORIGINAL: original or c.max_positions}


def _weights(c: DecoderConfig) -> dict[str, Weight]:
    table_ = table.ends(c) | table.attention(c) | table.mlp(c, c.mlp)
    q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
    qkv = "model.layers.{layer}.self_attn.qkv_proj.weight", (q + 2 * kv, c.width)
    gate_up = "model.layers.{layer}.mlp.gate_up_proj.weight", (2 * c.mlp, c.width)
    return table_ | {
        "layers.q": Weight(*qkv, transpose=True, rows=(0, q)),
        "layers.k": Weight(*qkv, transpose=True, rows=(q, q + kv)),
        "layers.v": Weight(*qkv, transpose=True, rows=(q + kv, q + 2 * kv)),
        "layers.gate": Weight(*gate_up, transpose=True, rows=(0, c.mlp)),
        "layers.up": Weight(*gate_up, transpose=True, rows=(c.mlp, 2 * c.mlp)),
    }


PHI3 = Family("Phi3ForCausalLM", "Phi3ForSequenceClassification", _read, _write, _weights)
