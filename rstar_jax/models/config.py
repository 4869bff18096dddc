"""The shape of a decoder, and the small named differences by which families vary.

A family is a setting of these fields (`families/`); the code of the decoder never asks which family it runs.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Literal

# Which of a layer's activations are kept for the backward pass: all; those of its products with weights; none
# but its input.
Remat = Literal["none", "dots", "full"]


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary positions (arXiv 2104.09864), and how their frequencies are stretched for longer texts.

    theta: the base of the frequencies. kind: a row of `rope.KINDS`. partial_rotary_factor: which share of a
    head's dimensions, the first ones, is rotated. interleaved: the pairs are neighbours (2i, 2i + 1), else
    (i, i + A/2). The rest belongs to some kinds, and is called as in Hugging Face's `rope_scaling`.
    """

    theta: float = 10_000.0
    kind: str = "default"
    partial_rotary_factor: float = 1.0
    interleaved: bool = False
    factor: float | None = None
    original_max_position_embeddings: int | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool | None = None
    short_factor: tuple[float, ...] | None = None
    long_factor: tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    Keys and values of all heads are made from one latent of `kv_rank` numbers and one rotated key of `rope`
    numbers per token, and these are what is cached. q_rank: likewise for queries; None: none.
    nope, rope, value: dimensions of a head that are not rotated, that are, and of its values.
    """

    q_rank: int | None
    kv_rank: int
    nope: int
    rope: int
    value: int


@dataclasses.dataclass(frozen=True)
class Experts:
    """Routed experts beside the gated MLP (which is then the shared experts), arXiv 2405.04434, section 2.2.

    count, active: of the experts, and how many each token goes to. mlp: width of one. shared: how many of
    that width the layer's MLP stands for. dense_layers: so many first layers have an MLP of the config's
    `mlp` and no experts. scale: of the routed part. groups, active_groups: a token goes to experts of the
    `active_groups` best of `groups` groups only.
    """

    count: int
    active: int
    mlp: int
    shared: int
    dense_layers: int
    scale: float = 1.0
    groups: int = 1
    active_groups: int = 1


@dataclasses.dataclass(frozen=True)
class Stack:
    """Consecutive layers whose parameters have equal shapes: `name.*`, stacked along axis 0.

    first, count: of its layers. mlp: width of the gated MLP. experts: whether there are routed ones, too.
    """

    name: str
    first: int
    count: int
    mlp: int
    experts: bool = False


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """The shape of a decoder. `family` is its row in `families.FAMILIES` (the Hugging Face model_type).

    kv_heads, head_dim: also what a cache holds per token. With `latent` that is one head of the latent and
    the rotated key together, which is how the attention of cached tokens is computed.

    qkv_bias, o_bias: biases of the attention's projections. qk_norm: RMS norms over each head's queries and
    keys. norm_offset: norms multiply by 1 + weight. post_norms: attention and MLP are normed again before
    they are added. embed_scale: multiplies the embeddings. activation: a row of `layers.ACTIVATIONS`.
    logit_softcap, attention_softcap: c means c * tanh(x / c). query_scale: multiplies q, None: head_dim^-1/2.
    window: how many tokens, itself among them, a token sees in the layers where `sliding` is true (in all,
    where `sliding` is empty). local_rope: the rotary positions of sliding layers, where they are others.

    bos_id, eos_ids, pad_id: token ids of the config, None or empty where unset. generation: the text of the
    folder's generation_config.json. Both are kept for the folder that is saved; `end_ids` reads them.
    """

    vocab_size: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    rope: Rope = Rope()
    norm_eps: float = 1e-6
    tied: bool = True
    qkv_bias: bool = True
    o_bias: bool = False
    qk_norm: bool = False
    norm_offset: bool = False
    post_norms: bool = False
    embed_scale: float | None = None
    activation: str = "silu"
    logit_softcap: float | None = None
    attention_softcap: float | None = None
    query_scale: float | None = None
    window: int | None = None
    sliding: tuple[bool, ...] = ()
    local_rope: Rope | None = None
    latent: Latent | None = None
    experts: Experts | None = None
    max_positions: int = 4096
    family: str = "qwen2"
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()
    pad_id: int | None = None
    generation: str | None = None

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Every token that ends a text: those of the config, then what else the generation config names."""
        more = json.loads(self.generation).get("eos_token_id") if self.generation else None
        named = () if more is None else more if isinstance(more, list) else (more,)
        return tuple(dict.fromkeys((*self.eos_ids, *named)))

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """The layers in the order they run in."""
        if self.experts is None:
            return (Stack("layers", 0, self.layers, self.mlp),)
        e, dense = self.experts, min(self.experts.dense_layers, self.layers)
        stacks = (
            Stack("dense", 0, dense, self.mlp),
            Stack("layers", dense, self.layers - dense, e.shared * e.mlp, experts=True),
        )
        return tuple(stack for stack in stacks if stack.count)

    @property
    def slides(self) -> tuple[bool, ...]:
        """For each layer whether it sees only the last `window` tokens."""
        if self.window is None:
            return (False,) * self.layers
        return self.sliding or (True,) * self.layers
