"""Tables of a family: how its config maps to ours, and which tensor holds which parameter."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from rstar_jax.models.config import DecoderConfig


@dataclasses.dataclass(frozen=True)
class Weight:
    """Place of a parameter in a folder: its tensors, the part of them, and its layout there.

    name: the tensor's name; `{layer}` and `{expert}` stand for numbers, and the parameter has a leading axis
    for each of those that the name holds. shape: of one whole tensor. transpose: the tensor is [out, in]
    and ours [in, out] (their further splitting into heads is a reshape). rows: the parameter is these rows
    [first, end) of the tensor, which other parameters share; None: all of it.
    """

    name: str
    shape: tuple[int, ...]
    transpose: bool = False
    rows: tuple[int, int] | None = None

    @property
    def part(self) -> tuple[int, ...]:
        """The shape of that part of one tensor which is ours."""
        return self.shape if self.rows is None else (self.rows[1] - self.rows[0], *self.shape[1:])

    def to_theirs(self, value: np.ndarray) -> np.ndarray:
        """An entry of the parameter as it lies in the file: a view where it can be one."""
        return value.reshape(self.part[::-1]).T if self.transpose else value.reshape(self.part)


@dataclasses.dataclass(frozen=True)
class Family:
    """architecture, reward_architecture: transformers' class names.

    read: (config.json's content, its path for messages) -> DecoderConfig; raises UserError.
    write: the inverse. weights: our parameter names (params.param_specs) -> where they stand.
    roots: other beginnings of the tensors' names that folders have: (as in `weights`, as in the folder).
    ignored: a regular expression for the names of tensors that transformers reads past, too.
    """

    architecture: str
    reward_architecture: str
    read: Callable[[Mapping[str, Any], str], DecoderConfig]
    write: Callable[[DecoderConfig], dict[str, Any]]
    weights: Callable[[DecoderConfig], dict[str, Weight]]
    roots: tuple[tuple[str, str], ...] = ()
    ignored: str = r"rotary_emb\.inv_freq"


def places(ours: str, weight: Weight, c: DecoderConfig) -> Iterator[tuple[tuple[int, ...], str]]:
    """The tensors of a parameter: (index of its entry in the parameter, the tensor's name)."""
    stack = next((s for s in c.stacks if ours.startswith(f"{s.name}.")), None)
    first = stack.first if stack else 0
    layers = range(stack.count) if stack and "{layer}" in weight.name else None
    experts = range(c.experts.count) if c.experts and "{expert}" in weight.name else None
    for index in itertools.product(*(axis for axis in (layers, experts) if axis is not None)):
        layer, expert = first + (index[0] if layers else 0), index[-1] if experts else 0
        yield index, weight.name.format(layer=layer, expert=expert)


def attention(c: DecoderConfig, stack: str = "layers") -> dict[str, Weight]:
    """Separate projections, as Llama and most after it call them; biases and norms where there are any."""
    inner, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
    at = "model.layers.{layer}.self_attn."
    table = {
        "attn_norm": Weight("model.layers.{layer}.input_layernorm.weight", (c.width,)),
        "q": Weight(at + "q_proj.weight", (inner, c.width), transpose=True),
        "k": Weight(at + "k_proj.weight", (kv, c.width), transpose=True),
        "v": Weight(at + "v_proj.weight", (kv, c.width), transpose=True),
        "o": Weight(at + "o_proj.weight", (c.width, inner), transpose=True),
    }
    if c.qkv_bias:
        table["q_bias"] = Weight(at + "q_proj.bias", (inner,))
        table["k_bias"] = Weight(at + "k_proj.bias", (kv,))
        table["v_bias"] = Weight(at + "v_proj.bias", (kv,))
    if c.o_bias:
        table["o_bias"] = Weight(at + "o_proj.bias", (c.width,))
    if c.qk_norm:
        table["q_norm"] = Weight(at + "q_norm.weight", (c.head_dim,))
        table["k_norm"] = Weight(at + "k_norm.weight", (c.head_dim,))
    return {f"{stack}.{name}": weight for name, weight in table.items()}


def mlp(
    c: DecoderConfig,
    width: int,
    *,
    stack: str = "layers",
    at: str = "mlp.",
    norm: str = "post_attention_layernorm",
) -> dict[str, Weight]:
    """The gated MLP of this width whose tensors' names begin with `at`, and its norm."""
    at = "model.layers.{layer}." + at
    return {
        f"{stack}.mlp_norm": Weight("model.layers.{layer}." + norm + ".weight", (c.width,)),
        f"{stack}.gate": Weight(at + "gate_proj.weight", (width, c.width), transpose=True),
        f"{stack}.up": Weight(at + "up_proj.weight", (width, c.width), transpose=True),
        f"{stack}.down": Weight(at + "down_proj.weight", (c.width, width), transpose=True),
    }


def ends(c: DecoderConfig) -> dict[str, Weight]:
    """Parameters before and after the layers."""
    table = {
        "embed": Weight("model.embed_tokens.weight", (c.vocab_size, c.width)),
        "norm": Weight("model.norm.weight", (c.width,)),
    }
    if not c.tied:
        table["head"] = Weight("lm_head.weight", (c.vocab_size, c.width))
    return table
