"""Configs of every family: written and read they are the same; what is not supported is refused by name."""

from typing import Any

import pytest
import zoo

from rstar_jax.errors import UserError
from rstar_jax.models import FAMILIES


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
