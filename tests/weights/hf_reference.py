"""What a config means, by transformers and by us, in the same words."""

from __future__ import annotations

from typing import Any

import numpy as np

from rstar_jax.models import DecoderConfig, Rope
from rstar_jax.models.rope import KINDS, magnitude

_EVERYWHERE, _LOCAL = "full_attention", "sliding_attention"


def by_transformers(whole: Any) -> dict[str, Any]:
    """Of a transformers config."""
    c = whole.get_text_config()
    latent = c.model_type == "deepseek_v2"
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    kinds = getattr(c, "layer_types", None) or [_LOCAL] * c.num_hidden_layers
    window = getattr(c, "sliding_window", None)
    eos = whole.eos_token_id
    seen: dict[str, Any] = {
        "vocab_size": c.vocab_size,
        "width": c.hidden_size,
        "layers": c.num_hidden_layers,
        "heads": c.num_attention_heads,
        "kv_heads": c.num_key_value_heads,
        "head_dim": head_dim,
        "mlp": c.intermediate_size,
        "norm_eps": c.rms_norm_eps,
        "tied": c.tie_word_embeddings,
        "activation": getattr(c, "hidden_activation", None) or c.hidden_act,
        "max_positions": c.max_position_embeddings,
        "qkv_bias": c.model_type == "qwen2" or getattr(c, "attention_bias", False),
        "o_bias": c.model_type != "phi3" and getattr(c, "attention_bias", False),
        "windows": [window if kind == _LOCAL else None for kind in kinds],
        "logit_softcap": getattr(c, "final_logit_softcapping", None),
        "attention_softcap": getattr(c, "attn_logit_softcapping", None),
        "query_scale": getattr(c, "query_pre_attn_scalar", head_dim) ** -0.5,
        "bos_id": c.bos_token_id,
        "eos_ids": (eos,) if isinstance(eos, int) else tuple(eos or ()),
        "pad_id": c.pad_token_id,
        "rope": _their_rope(c, head_dim, _EVERYWHERE),
    }
    if c.model_type == "gemma3_text":
        seen["local_rope"] = _their_rope(c, head_dim, _LOCAL)
    if latent:
        del seen["query_scale"]  # the config does not say; logits are compared elsewhere
        grouped = c.topk_method != "greedy"
        seen |= {
            "latent": (c.q_lora_rank, c.kv_lora_rank, c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim),
            "experts": (c.n_routed_experts, c.num_experts_per_tok, c.moe_intermediate_size),
            "shared": c.n_shared_experts,
            "dense_layers": c.first_k_dense_replace,
            "scale": c.routed_scaling_factor,
            "groups": (c.n_group, c.topk_group) if grouped else (1, 1),
        }
    return seen


def by_us(c: DecoderConfig) -> dict[str, Any]:
    """Of a config that we have read."""
    activation = {"silu": "silu", "gelu_tanh": "gelu_pytorch_tanh"}[c.activation]
    same = ("vocab_size", "width", "layers", "heads", "kv_heads", "head_dim", "mlp", "norm_eps", "tied")
    same += ("max_positions", "qkv_bias", "o_bias", "logit_softcap", "attention_softcap")
    seen: dict[str, Any] = {name: getattr(c, name) for name in (*same, "bos_id", "eos_ids", "pad_id")}
    seen |= {
        "activation": activation,
        "windows": [c.window if slides else None for slides in c.slides],
        "query_scale": c.query_scale or c.head_dim**-0.5,
        "rope": _our_rope(c, c.rope),
    }
    if c.local_rope:
        seen["local_rope"] = _our_rope(c, c.local_rope)
    if (a := c.latent) and (e := c.experts):
        del seen["query_scale"]
        seen |= {
            "kv_heads": c.heads,
            "head_dim": a.rope,
            "latent": (a.q_rank, a.kv_rank, a.nope, a.rope, a.value),
            "experts": (e.count, e.active, e.mlp),
            "shared": e.shared,
            "dense_layers": e.dense_layers,
            "scale": e.scale,
            "groups": (e.groups, e.active_groups),
        }
    return seen


def _their_rope(c: Any, head_dim: int, kind: str) -> tuple[np.ndarray, float]:
    """Frequencies, those for long texts after the others, and what sines are multiplied by."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    nested = c.model_type == "gemma3_text"
    parameters = c.rope_parameters[kind] if nested else c.rope_parameters
    if parameters["rope_type"] == "default":
        dim = int(head_dim * parameters.get("partial_rotary_factor", 1.0))
        return parameters["rope_theta"] ** -(np.arange(0, dim, 2) / dim), 1.0
    make = ROPE_INIT_FUNCTIONS[parameters["rope_type"]]
    more = {"layer_type": kind} if nested else {}
    lengths = (None, 10**9) if parameters["rope_type"] == "longrope" else (None,)
    made = [make(c, "cpu", seq_len=length, **more) for length in lengths]
    return np.concatenate([frequencies.numpy() for frequencies, _ in made]), float(made[0][1])


def _our_rope(c: DecoderConfig, rope: Rope) -> tuple[np.ndarray, float]:
    dim = int((c.latent.rope if c.latent else c.head_dim) * rope.partial_rotary_factor)
    frequencies = KINDS[rope.kind](rope, dim)
    if rope.long_factor:
        long = KINDS["default"](rope, dim) / np.asarray(rope.long_factor)
        frequencies = np.concatenate([frequencies, long])
    return frequencies, magnitude(rope, c.max_positions)


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """What is not the same: field -> ours and theirs."""
    return {
        name: (ours.get(name), theirs.get(name))
        for name in ours.keys() | theirs.keys()
        if not _same(ours.get(name), theirs.get(name))
    }


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and one and isinstance(one[0], np.ndarray):
        alike = one[0].shape == other[0].shape and np.allclose(one[0], other[0], 1e-5, 0)
        return alike and np.isclose(one[1], other[1])
    return one == other
