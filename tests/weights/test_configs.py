"""Configs of every family: written and read they are the same; what is not supported is refused by name."""

import json
from typing import Any

import pytest
import transformers

from rstar_jax.errors import UserError
from rstar_jax.weights import FAMILIES
from tests.models import zoo
from tests.weights import hub
from tests.weights.hf_reference import by_transformers, by_us, differences


@pytest.mark.parametrize("name", zoo.ZOO)
def test_a_config_survives_its_folder(name: str) -> None:
    c = zoo.config(name)
    assert FAMILIES[c.family].read(FAMILIES[c.family].write(c), "config.json") == c


REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bias in the MLP": ("llama", "mlp_bias", {"mlp_bias": True}),
    "both directions": ("gemma2", "use_bidirectional_attention", {"use_bidirectional_attention": True}),
    "capped Gemma 3": ("gemma3_text", "attn_logit_softcapping", {"attn_logit_softcapping": 50.0}),
    "mixed Mistral": ("mistral", "layer_types", {"layer_types": ["full_attention"] * 2}),
    "other activation": ("gemma2", "hidden_activation", {"hidden_activation": "relu"}),
    "too few factors": ("phi3", "short_factor", {"rope_scaling": {**zoo.LONG, "short_factor": [1.0]}}),
    "factor that is no number": ("phi3", "long_factor", {"rope_scaling": {**zoo.LONG, "long_factor": ["a"]}}),
    "other scores": ("deepseek_v2", "scoring_func", {"scoring_func": "sigmoid"}),
    "other routing": ("deepseek_v2", "topk_method", {"topk_method": "noaux_tc"}),
    "normed weights": ("deepseek_v2", "norm_topk_prob", {"norm_topk_prob": True}),
    "experts in every other layer": ("deepseek_v2", "moe_layer_freq", {"moe_layer_freq": 2}),
    "more experts than there are": ("deepseek_v2", "num_experts_per_tok", {"num_experts_per_tok": 9}),
    "fewer key heads": ("deepseek_v2", "num_key_value_heads", {"num_key_value_heads": 2}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_refused_by_name(case: str) -> None:
    family, field, change = REFUSED[case]
    config = {**zoo.SIZES, **(zoo.LATENT if family == "deepseek_v2" else {}), **change}
    with pytest.raises(UserError) as caught:
        FAMILIES[family].read(config, "folder/config.json")
    assert "folder/config.json" in str(caught.value) and field in str(caught.value)


# Every field that may be left out, with a value that is not the default, on top of SIZES.
OPTIONAL: dict[str, dict[str, Any]] = {
    "llama": {"rope_theta": 777.0, "head_dim": 6, "rms_norm_eps": 1e-3, "attention_bias": True},
    "mistral": {"rope_theta": 777.0, "head_dim": 6, "rms_norm_eps": 1e-3, "sliding_window": 7},
    "qwen2": {
        "rope_theta": 777.0,
        "rms_norm_eps": 1e-3,
        "use_sliding_window": True,
        "sliding_window": 7,
        "max_window_layers": 1,
    },
    "phi3": {
        "rope_theta": 777.0,
        "rms_norm_eps": 1e-3,
        "sliding_window": 7,
        "original_max_position_embeddings": 8,
        "partial_rotary_factor": 0.5,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.1], "long_factor": [2.0, 3.0]},
        "hidden_size": 256,
    },
    "gemma2": {
        "rope_theta": 777.0,
        "head_dim": 6,
        "rms_norm_eps": 1e-3,
        "attention_bias": True,
        "sliding_window": 7,
        "query_pre_attn_scalar": 9,
        "hidden_activation": "silu",
        "attn_logit_softcapping": 3.0,
        "final_logit_softcapping": 4.0,
        "layer_types": ["full_attention", "sliding_attention"],
    },
    "deepseek_v2": {
        **zoo.LATENT,
        **zoo.GROUPS,
        "num_key_value_heads": 32,
        "rope_theta": 777.0,
        "rms_norm_eps": 1e-3,
        "rope_scaling": {**zoo.YARN, "mscale": 0.7, "mscale_all_dim": 0.9},
    },
}
OPTIONAL["qwen3"] = {**OPTIONAL["qwen2"], "head_dim": 6, "attention_bias": True}
OPTIONAL["gemma3_text"] = {
    **OPTIONAL["gemma2"],
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "rope_local_base_freq": 55.0,
    "rope_scaling": {"rope_type": "linear", "factor": 3.0},
    "sliding_window_pattern": 2,
}
# What a file must say: sizes, which transformers would make up, and what it has no default for that works.
REQUIRED = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size")
REQUIRED += ("num_experts_per_tok", "n_group", "topk_group")


@pytest.mark.torch
@pytest.mark.parametrize("without", ["left out", "null"])
@pytest.mark.parametrize("family", sorted(OPTIONAL))
def test_what_a_file_leaves_out_is_what_transformers_takes_it_for(family: str, without: str) -> None:
    sizes = {"hidden_size": 64, "num_attention_heads": 32, "num_key_value_heads": 2}
    full = {**zoo.SIZES, **sizes, **OPTIONAL[family]}
    defaults = {}
    for name in [None, *full]:
        config = {key: value for key, value in full.items() if key != name}
        if name and without == "null":
            config[name] = None
        try:
            theirs = transformers.AutoConfig.for_model(family, **config)
            defaults[name] = by_transformers(theirs)
        except Exception:  # theirs is of many kinds
            assert name, "the whole config is good"
            continue
        try:
            ours = by_us(FAMILIES[family].read(config, "config.json"))
        except UserError as error:
            assert name in REQUIRED or without == "null", error
            assert name in str(error)
            continue
        assert not differences(ours, defaults[name]), f"{name} {without}"
    assert len(defaults) > (15 if without == "left out" else 3)


@pytest.mark.torch
@pytest.mark.parametrize("name", hub.HUB)
def test_a_config_of_the_hub_means_what_it_means_to_transformers(name: str) -> None:
    config = hub.HUB[name]
    theirs = transformers.AutoConfig.for_model(**config)
    ours = FAMILIES[config["model_type"]].read(config, "config.json")
    assert not differences(by_us(ours), by_transformers(theirs))
    assert FAMILIES[ours.family].read(FAMILIES[ours.family].write(ours), "config.json") == ours
    new_style = FAMILIES[config["model_type"]].read(json.loads(theirs.to_json_string()), "config.json")
    assert not differences(by_us(new_style), by_transformers(theirs))
