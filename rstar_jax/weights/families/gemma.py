"""Gemma 2 and the text models of Gemma 3.

Norms multiply by 1 + weight and stand on both sides of attention and MLP, embeddings are scaled, and layers
alternate between a window and the whole text. Gemma 2 caps logits softly; Gemma 3 norms queries and keys
instead, and has other rotary positions in the layers with a window.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.models.config import DecoderConfig, Rope
from rstar_jax.weights.families import common, rope_fields, table
from rstar_jax.weights.families.fields import Fields
from rstar_jax.weights.families.table import Family, Weight

_ACTIVATION = "hidden_activation"
_GEMMA2 = {
    **common.DEFAULTS,
    _ACTIVATION: "gelu_pytorch_tanh",
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "head_dim": 256,
    "max_position_embeddings": 8192,
    "num_key_value_heads": 4,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
_GEMMA3 = {
    **_GEMMA2,
    "max_position_embeddings": 131_072,
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0,
    "sliding_window_pattern": 6,
    # Text parts of models that see images leave out sizes, too.
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_attention_heads": 8,
    "num_hidden_layers": 26,
    "vocab_size": 262_208,
}
_EVERYWHERE, _LOCAL = "full_attention", "sliding_attention"


def _common(f: Fields, rope: Rope, pattern: int) -> dict[str, Any]:
    f.refuse("use_bidirectional_attention", False)
    fields = common.read(f, activation=_ACTIVATION, rope=rope)
    layers, bias = fields["layers"], f.flag("attention_bias")
    sliding = common.read_sliding(f, layers, [bool((layer + 1) % pattern) for layer in range(layers)])
    return {
        **fields,
        **common.windows(f, f.optional_number("sliding_window"), sliding),
        "qkv_bias": bias,
        "o_bias": bias,
        "norm_offset": True,
        "post_norms": True,
        "embed_scale": math.sqrt(fields["width"]),
        "query_scale": f.real("query_pre_attn_scalar") ** -0.5,
    }


def _read_gemma2(config: Mapping[str, Any], where: str) -> DecoderConfig:
    f = Fields(config, where, _GEMMA2)
    return DecoderConfig(
        **_common(f, rope_fields.read(f), 2),
        logit_softcap=f.optional_real("final_logit_softcapping"),
        attention_softcap=f.optional_real("attn_logit_softcapping"),
        family="gemma2",
    )


def _read_gemma3(config: Mapping[str, Any], where: str) -> DecoderConfig:
    f = Fields(config, where, _GEMMA3)
    f.refuse("final_logit_softcapping")
    f.refuse("attn_logit_softcapping")
    rope, local = _ropes(f)
    fields = _common(f, rope, f.number("sliding_window_pattern"))
    return DecoderConfig(**fields, local_rope=local, qk_norm=True, family="gemma3_text")


def _ropes(f: Fields) -> tuple[Rope, Rope]:
    """Those of the layers that see everything, and of those with a window."""
    by_type = f.object("rope_parameters")
    if other := by_type.config.keys() - {_EVERYWHERE, _LOCAL}:
        raise UserError(
            f"{by_type.where}: field '{min(other)}' is none of '{_EVERYWHERE}' and '{_LOCAL}'; an object for "
            "each of these two expected."
        )
    everywhere, local = by_type.object(_EVERYWHERE), by_type.object(_LOCAL)
    everywhere = Fields({**everywhere.config, **f.object("rope_scaling").config}, everywhere.where)
    return (
        rope_fields.read(f, scaling=everywhere),
        rope_fields.read(f, scaling=local, theta="rope_local_base_freq", kinds={"default": "default"}),
    )


def _read_text_part(config: Mapping[str, Any], where: str) -> DecoderConfig:
    text = Fields(config, where).object("text_config")
    whole = ("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings")
    more = {name: config[name] for name in whole if name in config}
    return _read_gemma3({**text.config, **more}, text.where)


def _write(c: DecoderConfig) -> dict[str, Any]:
    return {
        **common.write(c, activation=_ACTIVATION),
        **common.write_sliding(c),
        "attention_bias": c.o_bias,
        "query_pre_attn_scalar": _whole((c.query_scale or 1.0) ** -2),
        "final_logit_softcapping": c.logit_softcap,
        "attn_logit_softcapping": c.attention_softcap,
    }


def _write_gemma3(c: DecoderConfig) -> dict[str, Any]:
    assert c.local_rope is not None
    return _write(c) | {"rope_local_base_freq": c.local_rope.theta}


def _whole(x: float) -> int | float:
    return round(x) if math.isclose(x, round(x)) else x


def _weights(c: DecoderConfig) -> dict[str, Weight]:
    at = "model.layers.{layer}."
    post = {
        "layers.attn_post_norm": Weight(at + "post_attention_layernorm.weight", (c.width,)),
        "layers.mlp_post_norm": Weight(at + "post_feedforward_layernorm.weight", (c.width,)),
    }
    mlp = table.mlp(c, c.mlp, norm="pre_feedforward_layernorm")
    return table.ends(c) | table.attention(c) | mlp | post


GEMMA2 = Family("Gemma2ForCausalLM", "Gemma2ForSequenceClassification", _read_gemma2, _write, _weights)
GEMMA3 = Family(
    "Gemma3ForCausalLM", "Gemma3TextForSequenceClassification", _read_gemma3, _write_gemma3, _weights
)
# 4B and larger see images, too. What is read of them, and written, is the model of text.
GEMMA3_WITH_IMAGES = dataclasses.replace(
    GEMMA3,
    read=_read_text_part,
    roots=(("", "language_model."), ("model.", "model.language_model.")),
    ignored=rf"{GEMMA3.ignored}|^(model\.)?(vision_tower|multi_modal_projector)\.",
)
