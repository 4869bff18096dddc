"""Llama and its nearest: Llama 3.x, SmolLM2, Mistral, Qwen2 (2.5, 2.5-Math) and Qwen3.

They differ in biases, norms of queries and keys, and windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rstar_jax.models.config import DecoderConfig
from rstar_jax.models.families import fields, table
from rstar_jax.models.families.fields import Fields
from rstar_jax.models.families.table import Family, Weight


def _read_llama(config: Mapping[str, Any], where: str) -> DecoderConfig:
    f = Fields(config, where)
    f.refuse("mlp_bias", False)
    common = fields.read_common(f)
    bias = f.flag("attention_bias", False)
    return DecoderConfig(**{**common, "family": "llama", "qkv_bias": bias, "o_bias": bias})


def _write_llama(c: DecoderConfig) -> dict[str, Any]:
    return fields.write_common(c) | {"attention_bias": c.o_bias, "mlp_bias": False}


def _read_mistral(config: Mapping[str, Any], where: str) -> DecoderConfig:
    f = Fields(config, where)
    f.refuse("layer_types")
    window = f.optional("sliding_window", int, 4096)
    return DecoderConfig(**fields.read_common(f), family="mistral", window=window)


def _write_mistral(c: DecoderConfig) -> dict[str, Any]:
    return fields.write_common(c) | {"sliding_window": c.window}


def _read_qwen2(config: Mapping[str, Any], where: str) -> DecoderConfig:
    return _read_qwen(config, where, "qwen2", qkv_bias=True)


def _read_qwen3(config: Mapping[str, Any], where: str) -> DecoderConfig:
    bias = Fields(config, where).flag("attention_bias", False)
    config = {"head_dim": 128, **config}  # transformers' default, whatever the width
    return _read_qwen(config, where, "qwen3", qkv_bias=bias, o_bias=bias, qk_norm=True)


def _read_qwen(config: Mapping[str, Any], where: str, family: str, **differences: bool) -> DecoderConfig:
    f = Fields(config, where)
    common = fields.read_common(f)
    window, sliding = None, ()
    if f.flag("use_sliding_window", False):
        layers = common["layers"]
        first = config.get("max_window_layers", 28)
        sliding = fields.read_sliding(f, layers, [layer >= first for layer in range(layers)])
        window = f.number("sliding_window", 4096) if any(sliding) else None
    common |= {"family": family, "window": window, "sliding": sliding if window else ()}
    return DecoderConfig(**{**common, **differences})


def _write_qwen2(c: DecoderConfig) -> dict[str, Any]:
    config = fields.write_common(c) | {"use_sliding_window": c.window is not None}
    if c.window is not None:
        config |= fields.write_sliding(c)
    if c.head_dim * c.heads == c.width:
        del config["head_dim"]  # the real folders have none
    return config


def _write_qwen3(c: DecoderConfig) -> dict[str, Any]:
    return _write_qwen2(c) | {"attention_bias": c.o_bias, "head_dim": c.head_dim}


def _weights(c: DecoderConfig) -> dict[str, Weight]:
    return table.ends(c) | table.attention(c) | table.mlp(c, c.mlp)


def _family(name: str, read: Any, write: Any) -> Family:
    return Family(f"{name}ForCausalLM", f"{name}ForSequenceClassification", read, write, _weights)


LLAMA = _family("Llama", _read_llama, _write_llama)
MISTRAL = _family("Mistral", _read_mistral, _write_mistral)
QWEN2 = _family("Qwen2", _read_qwen2, _write_qwen2)
QWEN3 = _family("Qwen3", _read_qwen3, _write_qwen3)
