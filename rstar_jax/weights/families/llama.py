"""Llama and its nearest: Llama 3.x, SmolLM2, Mistral, Qwen2 (2.5, 2.5-Math) and Qwen3.

They differ in biases, norms of queries and keys, and windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rstar_jax.models.config import DecoderConfig
from rstar_jax.weights.families import common, table
from rstar_jax.weights.families.fields import Fields
from rstar_jax.weights.families.table import Family, Weight

_LLAMA = {
    **common.DEFAULTS,
    "max_position_embeddings": 2048,
    "mlp_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_MISTRAL = {
    **common.DEFAULTS,
    "max_position_embeddings": 131_072,
    "num_key_value_heads": 8,
    "sliding_window": 4096,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_QWEN2 = {
    **common.DEFAULTS,
    "max_position_embeddings": 32_768,
    "max_window_layers": 28,
    "num_key_value_heads": 32,
    "sliding_window": 4096,
    "use_sliding_window": False,
}
_QWEN3 = {**_QWEN2, "head_dim": 128}  # whatever the width


def _read_llama(config: Mapping[str, Any], where: str) -> DecoderConfig:
    f = Fields(config, where, _LLAMA)
    f.refuse("mlp_bias", False)
    bias = f.flag("attention_bias")
    return DecoderConfig(**{**common.read(f), "family": "llama", "qkv_bias": bias, "o_bias": bias})


def _write_llama(c: DecoderConfig) -> dict[str, Any]:
    return common.write(c) | {"attention_bias": c.o_bias, "mlp_bias": False}


def _read_mistral(config: Mapping[str, Any], where: str) -> DecoderConfig:
    f = Fields(config, where, _MISTRAL)
    f.refuse("layer_types")
    return DecoderConfig(**common.read(f), family="mistral", window=f.optional_number("sliding_window"))


def _write_mistral(c: DecoderConfig) -> dict[str, Any]:
    return common.write(c) | {"sliding_window": c.window}


def _read_qwen2(config: Mapping[str, Any], where: str) -> DecoderConfig:
    return _read_qwen(Fields(config, where, _QWEN2), family="qwen2", qkv_bias=True)


def _read_qwen3(config: Mapping[str, Any], where: str) -> DecoderConfig:
    f = Fields(config, where, _QWEN3)
    bias = f.flag("attention_bias")
    return _read_qwen(f, family="qwen3", qkv_bias=bias, o_bias=bias, qk_norm=True)


def _read_qwen(f: Fields, **differences: Any) -> DecoderConfig:
    fields = common.read(f) | differences
    window = f.optional_number("sliding_window") if f.flag("use_sliding_window") else None
    layers, first = fields["layers"], f.number("max_window_layers", least=0)
    sliding = common.read_sliding(f, layers, [window is not None and i >= first for i in range(layers)])
    return DecoderConfig(**fields, **common.windows(f, window, sliding))


def _write_qwen2(c: DecoderConfig) -> dict[str, Any]:
    config = common.write(c) | {"use_sliding_window": c.window is not None}
    if c.window is not None:
        config |= common.write_sliding(c)
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
