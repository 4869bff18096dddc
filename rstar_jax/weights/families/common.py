"""Fields that the configs of all families share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.models.config import DecoderConfig, Rope
from rstar_jax.weights.families import rope_fields
from rstar_jax.weights.families.fields import MOST_LAYERS, Fields

# transformers' defaults where families agree. What is in no table of defaults (sizes) must be in the file.
DEFAULTS: Mapping[str, Any] = {
    "attention_bias": False,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
}
ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}


def read(
    f: Fields, *, activation: str = "hidden_act", rope: Rope | None = None, rotated: int | None = None
) -> dict[str, Any]:
    """Read the fields that the configs of all families share, by the names of DecoderConfig.

    activation: the name of that field. rope: rotary positions; None: as `rope_fields.read` reads them.
    rotated: dimensions of a head that they are for; None: all.
    """
    width, heads = f.number("hidden_size"), f.number("num_attention_heads")
    kv_heads, head_dim = f.optional_number("num_key_value_heads") or heads, f.optional_number("head_dim")
    if heads % kv_heads or (head_dim is None and width % heads):
        raise UserError(
            f"{f.where}: hidden_size={width}, num_attention_heads={heads}, num_key_value_heads={kv_heads}: "
            "each must divide the one before."
        )
    head_dim, rope = head_dim or width // heads, rope or rope_fields.read(f)
    rope_fields.check(rope, rotated or head_dim, f.where)
    return {
        "vocab_size": f.number("vocab_size"),
        "width": width,
        "layers": f.number("num_hidden_layers", most=MOST_LAYERS),
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "mlp": f.number("intermediate_size"),
        "rope": rope,
        "norm_eps": f.real("rms_norm_eps"),
        "tied": f.flag("tie_word_embeddings"),
        "activation": f.choose(activation, ACTIVATIONS),
        "max_positions": f.number("max_position_embeddings"),
        "qkv_bias": False,
        "bos_id": f.token("bos_token_id"),
        "eos_ids": f.tokens("eos_token_id"),
        "pad_id": f.token("pad_token_id"),
    }


def write(c: DecoderConfig, *, activation: str = "hidden_act") -> dict[str, Any]:
    """The inverse of `read`."""
    return {
        "model_type": c.family,
        activation: next(theirs for theirs, ours in ACTIVATIONS.items() if ours == c.activation),
        "head_dim": c.head_dim,
        "hidden_size": c.width,
        "intermediate_size": c.mlp,
        "max_position_embeddings": c.max_positions,
        "num_attention_heads": c.heads,
        "num_hidden_layers": c.layers,
        "num_key_value_heads": c.kv_heads,
        "rms_norm_eps": c.norm_eps,
        "tie_word_embeddings": c.tied,
        "vocab_size": c.vocab_size,
        "bos_token_id": c.bos_id,
        "eos_token_id": c.eos_ids[0] if len(c.eos_ids) == 1 else list(c.eos_ids) or None,
        "pad_token_id": c.pad_id,
        **rope_fields.write(c.rope),
    }


def read_sliding(f: Fields, layers: int, default: list[bool]) -> tuple[bool, ...]:
    """Read which layers slide: `layer_types` where the config has it, else the family's own pattern."""
    kinds = f.config.get("layer_types")
    if kinds is None:
        return tuple(default)
    known = {"sliding_attention": True, "full_attention": False}
    if not isinstance(kinds, list) or len(kinds) != layers or any(str(kind) not in known for kind in kinds):
        raise UserError(
            f"{f.where}: field 'layer_types' is {kinds!r}; for each of the {layers} layers one of "
            f"{', '.join(repr(k) for k in known)} expected."
        )
    return tuple(known[kind] for kind in kinds)


def windows(f: Fields, window: int | None, sliding: tuple[bool, ...]) -> dict[str, Any]:
    """The fields of DecoderConfig for layers of which some slide. Raises UserError if they do and cannot."""
    if any(sliding) and window is None:
        raise UserError(
            f"{f.where}: layers slide (field 'layer_types'), but 'sliding_window' is null or not in use. Set "
            "it (and 'use_sliding_window', where the family has that), or make all layers 'full_attention'."
        )
    return {"window": window, "sliding": sliding} if any(sliding) else {}


def write_sliding(c: DecoderConfig) -> dict[str, Any]:
    """`sliding_window` and `layer_types`."""
    types = ["sliding_attention" if slides else "full_attention" for slides in c.slides]
    return {"sliding_window": c.window, "layer_types": types}
