"""Models by name: released ones, and any Hugging Face folder, of which config.json alone is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.models.config import DecoderConfig
from rstar_jax.models.params import param_specs
from rstar_jax.plan.cost import Shape
from rstar_jax.settings import nearest
from rstar_jax.weights.families import FAMILIES
from rstar_jax.weights.source import read_config
from rstar_jax.weights.weight_files import read_json

# What their config.json says that costs anything.
KNOWN: dict[str, dict[str, Any]] = {
    "deepseek-coder-v2": {
        "attention_bias": False,
        "first_k_dense_replace": 1,
        "hidden_act": "silu",
        "kv_lora_rank": 512,
        "max_position_embeddings": 163840,
        "model_type": "deepseek_v2",
        "moe_layer_freq": 1,
        "n_shared_experts": 2,
        "norm_topk_prob": False,
        "num_experts_per_tok": 6,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {
            "beta_fast": 32,
            "beta_slow": 1,
            "factor": 40,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 4096,
            "type": "yarn",
        },
        "rope_theta": 10000,
        "scoring_func": "softmax",
        "tie_word_embeddings": False,
        "v_head_dim": 128,
        "vocab_size": 102400,
        "hidden_size": 5120,
        "intermediate_size": 12288,
        "moe_intermediate_size": 1536,
        "n_group": 8,
        "n_routed_experts": 160,
        "num_attention_heads": 128,
        "num_hidden_layers": 60,
        "num_key_value_heads": 128,
        "q_lora_rank": 1536,
        "routed_scaling_factor": 16.0,
        "topk_group": 3,
        "topk_method": "group_limited_greedy",
    },
    "llama-3.1-70b": {
        "attention_bias": False,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "model_type": "llama",
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
        "vocab_size": 128256,
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "rope_scaling": {
            "factor": 8.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "tie_word_embeddings": False,
    },
    "llama-3.1-8b": {
        "attention_bias": False,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "model_type": "llama",
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "rope_scaling": {
            "factor": 8.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "tie_word_embeddings": False,
    },
    "phi-3-mini": {
        "attention_bias": False,
        "hidden_act": "silu",
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "max_position_embeddings": 4096,
        "model_type": "phi3",
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 32,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "sliding_window": 2047,
        "tie_word_embeddings": False,
        "vocab_size": 32064,
    },
    "qwen2.5-math-1.5b": {
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "model_type": "qwen2",
        "num_hidden_layers": 28,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000,
        "sliding_window": 4096,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "vocab_size": 151936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_attention_heads": 12,
    },
    "qwen2.5-math-72b": {
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "model_type": "qwen2",
        "num_hidden_layers": 80,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": 152064,
        "hidden_size": 8192,
        "intermediate_size": 29568,
        "num_attention_heads": 64,
    },
    "qwen2.5-math-7b": {
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "model_type": "qwen2",
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
    },
    "qwen3-32b": {
        "attention_bias": False,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 5120,
        "intermediate_size": 25600,
        "max_position_embeddings": 40960,
        "model_type": "qwen3",
        "num_attention_heads": 64,
        "num_hidden_layers": 64,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "qwen3-8b": {
        "attention_bias": False,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "max_position_embeddings": 40960,
        "model_type": "qwen3",
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
}


def content_of(model: str) -> tuple[str, dict[str, Any]]:
    """A short name, and what config.json holds, of a known model or a folder. Raises UserError naming the
    nearest known one."""
    if model.lower() in KNOWN:
        return model.lower(), KNOWN[model.lower()]
    folder = Path(model).expanduser()
    if not (folder / "config.json").is_file():
        told = f"{nearest(model.lower(), KNOWN)} Or give a folder that holds a config.json."
        raise UserError(f"config.model: {model!r}: no known model, and no folder of one. {told}")
    content = read_json(folder / "config.json")
    read_config(folder, content)
    return folder.name, dict(content)


def decoder_of(content: dict[str, Any]) -> DecoderConfig:
    """The decoder of a content that `content_of` gave."""
    return FAMILIES[content["model_type"]].read(content, "config.json")


def shape_of(content: dict[str, Any]) -> Shape:
    config = decoder_of(content)
    return Shape.of_decoder(config, param_specs(config))
