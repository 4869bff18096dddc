"""Gemma 2 and the text models of Gemma 3.

Norms multiply by 1 + weight and stand on both sides of attention and MLP, embeddings are scaled, and layers
alternate between a window and the whole text. Gemma 2 caps logits softly; Gemma 3 norms queries and keys
instead, and has other rotary positions in the layers with a window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rstar_jax.models.config import DecoderConfig, Rope
from rstar_jax.models.families import fields, table
from rstar_jax.models.families.fields import Fields
from rstar_jax.models.families.table import Family, Weight

_ACTIVATION = "hidden_activation"


def _common(f: Fields, rope: Rope, pattern: int) -> dict[str, Any]:
    f.refuse("use_bidirectional_attention", False)
    f = Fields({"head_dim": 256, _ACTIVATION: "gelu_pytorch_tanh", **f.config}, f.where)
    common = fields.read_common(f, tied=True, activation=_ACTIVATION, rope=rope)
    layers, bias = common["layers"], f.flag("attention_bias", False)
    sliding = fields.read_sliding(f, layers, [bool((layer + 1) % pattern) for layer in range(layers)])
    window = f.number("sliding_window", 4096) if any(sliding) else None
    return common | {
        "qkv_bias": bias,
        "o_bias": bias,
        "norm_offset": True,
        "post_norms": True,
        "embed_scale": math.sqrt(common["width"]),
        "query_scale": f.real("query_pre_attn_scalar", 256) ** -0.5,
        "window": window,
        "sliding": sliding if window else (),
    }


def _read_gemma2(config: Mapping[str, Any], where: str) -> DecoderConfig:
    f = Fields(config, where)
    caps = {
        "logit_softcap": f.optional("final_logit_softcapping", float, 30.0),
        "attention_softcap": f.optional("attn_logit_softcapping", float, 50.0),
    }
    return DecoderConfig(**_common(f, fields.read_rope(f), 2), **caps, family="gemma2")


def _read_gemma3(config: Mapping[str, Any], where: str) -> DecoderConfig:
    f = Fields(config, where)
    f.refuse("final_logit_softcapping")
    f.refuse("attn_logit_softcapping")
    theta, local_theta = 1_000_000.0, f.real("rope_local_base_freq", 10_000.0)
    by_type = f.object("rope_parameters")
    if "full_attention" in by_type.config or "sliding_attention" in by_type.config:
        rope = fields.read_rope(by_type.inside("full_attention"), theta=theta)
        local = fields.read_rope(by_type.inside("sliding_attention"), theta=local_theta)
    else:
        rope, local = fields.read_rope(f, theta=theta), Rope(theta=local_theta)
    pattern = f.number("sliding_window_pattern", 6)
    more = {"qk_norm": True, "local_rope": local, "family": "gemma3_text"}
    return DecoderConfig(**_common(f, rope, pattern), **more)


def _write(c: DecoderConfig) -> dict[str, Any]:
    return {
        **fields.write_common(c, activation=_ACTIVATION),
        **fields.write_sliding(c),
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
