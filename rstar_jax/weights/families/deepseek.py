"""DeepSeek-V2 and Coder-V2 (arXiv 2405.04434): latent attention, and experts in all but the first layers.

Folders have one tensor per expert and projection, also those that transformers 5 writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.models.config import DecoderConfig, Experts, Latent, Rope
from rstar_jax.models.rope import yarn_scale
from rstar_jax.weights.families import common, rope_fields, table
from rstar_jax.weights.families.fields import MOST_EXPERTS, MOST_LAYERS, Fields
from rstar_jax.weights.families.table import Family, Weight

_ONE_GROUP, _GROUPS = "greedy", "group_limited_greedy"
_DEFAULTS = {
    **common.DEFAULTS,
    "first_k_dense_replace": 0,
    "kv_lora_rank": 512,
    "max_position_embeddings": 2048,
    "moe_intermediate_size": 1407,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "routed_scaling_factor": 1.0,
    "topk_method": _ONE_GROUP,
    "v_head_dim": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _read(config: Mapping[str, Any], where: str) -> DecoderConfig:
    f = Fields(config, where, _DEFAULTS)
    for name, allowed in _ALONE.items():
        f.refuse(name, allowed)
    rope = rope_fields.read(f, interleaved=True)
    latent = Latent(
        q_rank=f.optional_number("q_lora_rank"),
        kv_rank=f.number("kv_lora_rank"),
        nope=f.number("qk_nope_head_dim"),
        rope=f.number("qk_rope_head_dim"),
        value=f.number("v_head_dim"),
    )
    fields = common.read(f, rope=rope, rotated=latent.rope)
    if fields["kv_heads"] != fields["heads"]:
        raise UserError(
            f"{where}: field 'num_key_value_heads' is {fields['kv_heads']}, which this decoder does not do "
            f"for this family. Supported: {fields['heads']}, as many as 'num_attention_heads'."
        )
    return DecoderConfig(
        **{
            **fields,
            "family": "deepseek_v2",
            "kv_heads": 1,
            "head_dim": latent.kv_rank + latent.rope,
            "query_scale": _query_scale(rope, latent),
            "latent": latent,
            "experts": _experts(f),
        }
    )


# What the code of the model does not do either way, or no released model has.
_ALONE = {"attention_bias": False, "mlp_bias": False, "norm_topk_prob": False, "scoring_func": "softmax"}


def _query_scale(rope: Rope, latent: Latent) -> float:
    scale = (latent.nope + latent.rope) ** -0.5
    if rope.kind == "default" or not rope.mscale_all_dim:
        return scale
    return scale * yarn_scale(rope.factor or 1.0, rope.mscale_all_dim) ** 2


def _experts(f: Fields) -> Experts:
    f.refuse("moe_layer_freq", 1)
    grouped = f.choose("topk_method", {_ONE_GROUP: _ONE_GROUP, _GROUPS: _GROUPS}) == _GROUPS
    layers = f.number("num_hidden_layers", most=MOST_LAYERS)
    e = Experts(
        count=f.number("n_routed_experts", most=MOST_EXPERTS // layers),
        active=f.number("num_experts_per_tok"),
        mlp=f.number("moe_intermediate_size"),
        shared=f.number("n_shared_experts"),
        dense_layers=f.number("first_k_dense_replace", least=0),
        scale=f.real("routed_scaling_factor"),
        groups=f.number("n_group") if grouped else 1,
        active_groups=f.number("topk_group") if grouped else 1,
    )
    if e.count % e.groups or e.active_groups > e.groups or e.active > e.active_groups * e.count // e.groups:
        raise UserError(
            f"{f.where}: n_routed_experts={e.count}, n_group={e.groups}, topk_group={e.active_groups}, "
            f"num_experts_per_tok={e.active}: equal groups, and enough experts in those chosen, expected."
        )
    return e


def _write(c: DecoderConfig) -> dict[str, Any]:
    a, e = c.latent, c.experts
    assert a is not None and e is not None
    config = common.write(c) | {
        "num_key_value_heads": c.heads,
        "q_lora_rank": a.q_rank,
        "kv_lora_rank": a.kv_rank,
        "qk_nope_head_dim": a.nope,
        "qk_rope_head_dim": a.rope,
        "v_head_dim": a.value,
        "n_routed_experts": e.count,
        "num_experts_per_tok": e.active,
        "moe_intermediate_size": e.mlp,
        "n_shared_experts": e.shared,
        "first_k_dense_replace": e.dense_layers,
        "moe_layer_freq": 1,
        "routed_scaling_factor": e.scale,
        "topk_method": _GROUPS if e.groups > 1 else _ONE_GROUP,
        "n_group": e.groups,
        "topk_group": e.active_groups,
        **_ALONE,
    }
    del config["head_dim"]  # transformers makes it of the others
    return config


def _weights(c: DecoderConfig) -> dict[str, Weight]:
    weights = table.ends(c)
    for stack in c.stacks:
        weights |= _attention(c, stack.name)
        at = "mlp.shared_experts." if stack.experts else "mlp."
        weights |= table.mlp(c, stack.mlp, stack=stack.name, at=at)
        if stack.experts:
            weights |= _routed(c, stack.name)
    return weights


def _attention(c: DecoderConfig, stack: str) -> dict[str, Weight]:
    a = c.latent
    assert a is not None
    at = "model.layers.{layer}.self_attn."
    q, up = c.heads * (a.nope + a.rope), c.heads * (a.nope + a.value)
    weights = {
        "attn_norm": Weight("model.layers.{layer}.input_layernorm.weight", (c.width,)),
        "kv_down": Weight(at + "kv_a_proj_with_mqa.weight", (a.kv_rank + a.rope, c.width), transpose=True),
        "kv_norm": Weight(at + "kv_a_layernorm.weight", (a.kv_rank,)),
        "kv_up": Weight(at + "kv_b_proj.weight", (up, a.kv_rank), transpose=True),
        "o": Weight(at + "o_proj.weight", (c.width, c.heads * a.value), transpose=True),
    }
    if a.q_rank is None:
        weights["q"] = Weight(at + "q_proj.weight", (q, c.width), transpose=True)
    else:
        weights["q_down"] = Weight(at + "q_a_proj.weight", (a.q_rank, c.width), transpose=True)
        weights["q_down_norm"] = Weight(at + "q_a_layernorm.weight", (a.q_rank,))
        weights["q"] = Weight(at + "q_b_proj.weight", (q, a.q_rank), transpose=True)
    return {f"{stack}.{name}": weight for name, weight in weights.items()}


def _routed(c: DecoderConfig, stack: str) -> dict[str, Weight]:
    e = c.experts
    assert e is not None
    at = "model.layers.{layer}.mlp.experts.{expert}."
    into, out = (e.mlp, c.width), (c.width, e.mlp)
    return {
        f"{stack}.router": Weight("model.layers.{layer}.mlp.gate.weight", (e.count, c.width), transpose=True),
        f"{stack}.experts_gate": Weight(at + "gate_proj.weight", into, transpose=True),
        f"{stack}.experts_up": Weight(at + "up_proj.weight", into, transpose=True),
        f"{stack}.experts_down": Weight(at + "down_proj.weight", out, transpose=True),
    }


DEEPSEEK_V2 = Family("DeepseekV2ForCausalLM", "DeepseekV2ForSequenceClassification", _read, _write, _weights)
