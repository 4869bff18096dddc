"""Every parameter of a decoder: its name, shape, logical axes and start. Loading, sharding and init read it.

The layers of a stack (`DecoderConfig.stacks`) lie along a leading axis of their parameters.
"""

from __future__ import annotations

import dataclasses
import math

from rstar_jax.models.config import DecoderConfig, Stack


@dataclasses.dataclass(frozen=True)
class ParamSpec:
    """One parameter: shape, a logical axis name per dimension, and how it starts.

    scale: standard deviation of the initial normal; 0 for zeros, None for ones.
    """

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    scale: float | None


def param_specs(c: DecoderConfig) -> dict[str, ParamSpec]:
    """Every parameter by name; those of a stack are called `STACK.*` and stacked along axis 0."""
    specs = {
        "embed": ParamSpec((c.vocab_size, c.width), ("vocab", "embed"), 0.02),
        "norm": _norm(c, c.width, "embed"),
    }
    if not c.tied:
        specs["head"] = ParamSpec((c.vocab_size, c.width), ("vocab", "embed"), 1 / math.sqrt(c.width))
    for stack in c.stacks:
        layer = (_latent(c) if c.latent else _attention(c)) | _mlp(c, stack.mlp)
        layer |= _biases(c) | _more_norms(c) | _experts(c, stack)
        for name, s in layer.items():
            specs[f"{stack.name}.{name}"] = ParamSpec((stack.count, *s.shape), ("layers", *s.axes), s.scale)
    return specs


def _attention(c: DecoderConfig) -> dict[str, ParamSpec]:
    narrow = 1 / math.sqrt(c.width)
    return {
        "attn_norm": _norm(c, c.width, "embed"),
        "q": ParamSpec((c.width, c.heads, c.head_dim), ("embed", "heads", None), narrow),
        "k": ParamSpec((c.width, c.kv_heads, c.head_dim), ("embed", "kv_heads", None), narrow),
        "v": ParamSpec((c.width, c.kv_heads, c.head_dim), ("embed", "kv_heads", None), narrow),
        "o": _output(c, c.head_dim),
    }


def _biases(c: DecoderConfig) -> dict[str, ParamSpec]:
    layer = {}
    if c.qkv_bias:
        layer["q_bias"] = ParamSpec((c.heads, c.head_dim), ("heads", None), 0.0)
        layer["k_bias"] = ParamSpec((c.kv_heads, c.head_dim), ("kv_heads", None), 0.0)
        layer["v_bias"] = ParamSpec((c.kv_heads, c.head_dim), ("kv_heads", None), 0.0)
    if c.o_bias:
        layer["o_bias"] = ParamSpec((c.width,), ("embed",), 0.0)
    return layer


def _more_norms(c: DecoderConfig) -> dict[str, ParamSpec]:
    layer = {}
    if c.qk_norm:
        layer["q_norm"], layer["k_norm"] = _norm(c, c.head_dim, None), _norm(c, c.head_dim, None)
    if c.post_norms:
        layer["attn_post_norm"] = _norm(c, c.width, "embed")
        layer["mlp_post_norm"] = _norm(c, c.width, "embed")
    return layer


def _latent(c: DecoderConfig) -> dict[str, ParamSpec]:
    a = c.latent
    assert a is not None
    narrow, query = 1 / math.sqrt(c.width), a.nope + a.rope
    layer = {
        "attn_norm": _norm(c, c.width, "embed"),
        "kv_down": ParamSpec((c.width, a.kv_rank + a.rope), ("embed", None), narrow),
        "kv_norm": _norm(c, a.kv_rank, None),
        "kv_up": ParamSpec(
            (a.kv_rank, c.heads, a.nope + a.value), (None, "heads", None), 1 / math.sqrt(a.kv_rank)
        ),
        "o": _output(c, a.value),
    }
    if a.q_rank is None:
        layer["q"] = ParamSpec((c.width, c.heads, query), ("embed", "heads", None), narrow)
    else:
        layer["q_down"] = ParamSpec((c.width, a.q_rank), ("embed", None), narrow)
        layer["q_down_norm"] = _norm(c, a.q_rank, None)
        layer["q"] = ParamSpec((a.q_rank, c.heads, query), (None, "heads", None), 1 / math.sqrt(a.q_rank))
    return layer


def _mlp(c: DecoderConfig, width: int) -> dict[str, ParamSpec]:
    narrow = 1 / math.sqrt(c.width)
    return {
        "mlp_norm": _norm(c, c.width, "embed"),
        "gate": ParamSpec((c.width, width), ("embed", "mlp"), narrow),
        "up": ParamSpec((c.width, width), ("embed", "mlp"), narrow),
        "down": ParamSpec((width, c.width), ("mlp", "embed"), _deep(c) / math.sqrt(width)),
    }


def _experts(c: DecoderConfig, stack: Stack) -> dict[str, ParamSpec]:
    if not stack.experts or (e := c.experts) is None:
        return {}
    narrow, deep = 1 / math.sqrt(c.width), _deep(c) / math.sqrt(e.mlp)
    into, out = ("experts", "embed", "mlp"), ("experts", "mlp", "embed")
    return {
        "router": ParamSpec((c.width, e.count), ("embed", None), narrow),
        "experts_gate": ParamSpec((e.count, c.width, e.mlp), into, narrow),
        "experts_up": ParamSpec((e.count, c.width, e.mlp), into, narrow),
        "experts_down": ParamSpec((e.count, e.mlp, c.width), out, deep),
    }


def _output(c: DecoderConfig, value: int) -> ParamSpec:
    return ParamSpec(
        (c.heads, value, c.width), ("heads", None, "embed"), _deep(c) / math.sqrt(c.heads * value)
    )


def _norm(c: DecoderConfig, size: int, axis: str | None) -> ParamSpec:
    return ParamSpec((size,), (axis,), 0.0 if c.norm_offset else None)


def _deep(c: DecoderConfig) -> float:
    return 1 / math.sqrt(2 * c.layers)  # residual branches add up: keep the sum's variance at 1
