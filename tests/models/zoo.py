"""One small random model of transformers for every family and every way in which its members differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rstar_jax.models import DecoderConfig
from rstar_jax.weights import FAMILIES

VOCAB = 100
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "beta_fast": 4.0,
    "beta_slow": 1.0,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 1000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [1.5, 3.0, 5.0, 9.0],
}
SCALED = {"rope_type": "linear", "factor": 3.0, "rope_theta": 5000.0}
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": None,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "moe_intermediate_size": 16,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "num_hidden_layers": 3,
}
GROUPS = {
    "topk_method": "group_limited_greedy",
    "n_group": 4,
    "topk_group": 2,
    "q_lora_rank": 12,
    "routed_scaling_factor": 2.0,
    "num_hidden_layers": 5,
}
GEMMA = {"head_dim": 10, "query_pre_attn_scalar": 20, "sliding_window": 5}

# the beginning of the classes' names in transformers: model_type
MODEL_TYPES = {
    "DeepseekV2": "deepseek_v2",
    "Gemma2": "gemma2",
    "Gemma3Text": "gemma3_text",
    "Llama": "llama",
    "Mistral": "mistral",
    "Phi3": "phi3",
    "Qwen2": "qwen2",
    "Qwen3": "qwen3",
}
# name: (the family's prefix in transformers, what differs from SIZES)
ZOO: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2", {}),
    "qwen2-window": (
        "Qwen2",
        {
            "tie_word_embeddings": True,
            "use_sliding_window": True,
            "sliding_window": 4,
            "max_window_layers": 1,
        },
    ),
    "qwen3": ("Qwen3", {"head_dim": 12, "num_key_value_heads": 1, "tie_word_embeddings": True}),
    "llama3": ("Llama", {"head_dim": 12, "rope_parameters": LLAMA3}),
    "llama-bias-linear": ("Llama", {"attention_bias": True, "rope_parameters": SCALED}),
    "smollm2-yarn": (
        "Llama",
        {"tie_word_embeddings": True, "num_key_value_heads": 4, "rope_parameters": YARN},
    ),
    "mistral": ("Mistral", {"sliding_window": 5, "num_hidden_layers": 5, "head_dim": 16}),
    "phi3": ("Phi3", {"sliding_window": 6, "num_key_value_heads": 4}),
    "phi3.5-short": ("Phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 100}),
    "phi3.5-long": ("Phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 8}),
    "phi4-mini": (
        "Phi3",
        {
            "rope_parameters": {
                **LONG,
                "partial_rotary_factor": 0.75,
                "short_factor": [1.0, 1.1, 1.2],
                "long_factor": [1.5, 3.0, 5.0],
            },
            "original_max_position_embeddings": 8,
        },
    ),
    "gemma2": (
        "Gemma2",
        {**GEMMA, "tie_word_embeddings": True, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 4.0},
    ),
    "gemma2-scanned": ("Gemma2", {**GEMMA, "tie_word_embeddings": True, "num_hidden_layers": 5}),
    "gemma3": (
        "Gemma3Text",
        {
            **GEMMA,
            "tie_word_embeddings": True,
            "num_hidden_layers": 6,
            "layer_types": ["sliding_attention", "full_attention"] * 3,
            "rope_parameters": {
                "full_attention": SCALED,
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            },
        },
    ),
    "deepseek-v2-lite": (
        "DeepseekV2",
        {**LATENT, "rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 0.9}},
    ),
    "deepseek-v2": ("DeepseekV2", {**LATENT, **GROUPS}),
}


def config(name: str) -> DecoderConfig:
    """What we read of the model's config; needs neither torch nor transformers."""
    prefix, differences = ZOO[name]
    return FAMILIES[MODEL_TYPES[prefix]].read({**SIZES, **differences}, name)


def make(name: str, folder: Path) -> Any:
    """The model, after it is saved under `folder`."""
    import torch
    import transformers

    prefix, differences = ZOO[name]
    torch.manual_seed(sorted(ZOO).index(name))
    model = randomise(getattr(transformers, f"{prefix}Config")(**{**SIZES, **differences}))
    model.save_pretrained(folder)
    return model


def randomise(config: Any) -> Any:
    """A model of transformers with this config, in float32, with eager attention."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", dtype=torch.float32
    )
    with torch.no_grad():  # transformers starts biases at 0 and norms at 1, which would hide a mistake
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif not torch.any(parameter):
                parameter.normal_(std=0.3)  # routers start at 0
    return model.eval()
