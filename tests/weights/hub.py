"""config.json of released models, as the hub has them, and the same models in small.

Only longrope's lists of numbers are not the originals', and what says where code is to be had is left out.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from tests.models import zoo

Config = dict[str, Any]


HUB: dict[str, Config] = json.loads(Path(__file__).with_name("hub_configs.json").read_text())
_SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "head_dim": 12,
    "num_hidden_layers": 3,
    "vocab_size": zoo.VOCAB,
    "max_position_embeddings": 256,
    "sliding_window": 5,
    "max_window_layers": 1,
    "query_pre_attn_scalar": 20,
    "sliding_window_pattern": 2,
    "kv_lora_rank": 16,
    "q_lora_rank": 12,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "moe_intermediate_size": 16,
    "n_routed_experts": 8,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
    "original_max_position_embeddings": 8,
    "initializer_range": 0.3,
}


def small(name: str) -> Config:
    """The config of a model like this one whose weights are a few thousand numbers; the same fields."""
    return _shrink(copy.deepcopy(HUB[name]))


def _shrink(config: Config) -> Config:
    heads, kv_heads = config.get("num_attention_heads"), config.get("num_key_value_heads")
    for key, value in config.items():
        if key in _SMALL and value is not None and value != 1:
            config[key] = _SMALL[key]
        elif key == "layer_types":
            config[key] = value[: _SMALL["num_hidden_layers"]]
        elif key.endswith("token_id"):
            ids = value if isinstance(value, list) else [value]
            config[key] = [i % 97 for i in ids] if isinstance(value, list) else value % 97
        elif key == "rope_scaling" and value is not None:
            for numbers in ("long_factor", "short_factor"):
                if numbers in value:
                    value[numbers] = value[numbers][3::12]
            if "original_max_position_embeddings" in value:
                value["original_max_position_embeddings"] = 8
    if heads is not None:
        config |= {"num_attention_heads": 4, "num_key_value_heads": max(1, 4 * kv_heads // heads)}
    if "text_config" in config:
        text = {"vocab_size": zoo.VOCAB, "head_dim": 12, "query_pre_attn_scalar": 20}
        config["text_config"] = _shrink(config["text_config"]) | text | {"num_hidden_layers": 7}
        config["image_token_index"] = zoo.VOCAB - 1
        config["mm_tokens_per_image"] = 4
        config["vision_config"] |= {
            "hidden_size": 16,
            "image_size": 28,
            "intermediate_size": 16,
            "num_attention_heads": 2,
            "num_hidden_layers": 1,
        }
    return config
