"""Arithmetic of a decoder's memory and time from its shape alone: no device, no jax.

Estimates, not measurements. A call takes the longer of reading its bytes and doing its operations at a
share of the device's peak (the roofline); whatever else a call costs is in that share. For models so small
that dispatching a call takes longer than the call, the times are too low.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

SHARE = 0.5  # of the roofline that well-made loops reach
BLOCK = 512  # queries whose attention weights are held at once in longer rows (models/attention.py), at most
PIECE = 2**26  # logits that a training holds at once (train/policy.py)
# Bytes that an optimizer (`train/optimizer.py`) keeps of a parameter, scales of blocks, rows and columns too.
STATE_BYTES = {"adamw": 8.0, "adamw8bit": 2.04, "adafactor": 2.02}
AVERAGE_BYTES = 4.0  # that `train.ema` keeps of a parameter that trains
USABLE = 0.9  # of a device's memory, the rest is the runtime's and fragmentation


@dataclasses.dataclass(frozen=True)
class Device:
    """One chip. bandwidth: bytes per second; flops: dense bfloat16 operations per second; memory: bytes."""

    name: str
    bandwidth: float
    flops: float
    memory: float

    def seconds(self, nbytes: float, flops: float) -> float:
        """Time of a call on one chip at SHARE of the roofline."""
        return max(nbytes / self.bandwidth, flops / self.flops) / SHARE


# The makers' specifications, but for the H200's bandwidth (specified 4.8 TB/s) and operations: measured.
DEVICES = {
    "H200": Device("H200", 4.3e12, 788e12, 141e9),
    "H100": Device("H100", 3.35e12, 989e12, 80e9),
    "v5e": Device("v5e", 819e9, 197e12, 16e9),
    "v5p": Device("v5p", 2765e9, 459e12, 95e9),
    "v6e": Device("v6e", 1640e9, 918e12, 32e9),
    # one core of a server: what matrix products of this size reached when measured; it has the host's memory
    "cpu": Device("cpu core", 10e9, 0.1e12, math.inf),
}
# What jax calls them, the more specific name first.
KINDS = (
    ("H200", "H200"),
    ("H100", "H100"),
    ("TPU v5 lite", "v5e"),
    ("TPU v5e", "v5e"),
    ("TPU v5", "v5p"),
    ("TPU v6", "v6e"),
    ("cpu", "cpu"),
)

# The public shapes of the two models that the paper evolves.
QWEN_1_5B: Mapping[str, Any] = {
    "model_type": "qwen2", "hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12,
    "num_key_value_heads": 2, "intermediate_size": 8960, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip
QWEN_7B: Mapping[str, Any] = {
    "model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064, "tie_word_embeddings": False,
}  # fmt: skip


def device_of(kind: str | None) -> Device | None:
    """The device that jax's `device_kind` names, None where this table does not know it."""
    found = (name for word, name in KINDS if kind and word.lower() in kind.lower())
    name = next(found, None)
    return None if name is None else DEVICES[name]


@dataclasses.dataclass(frozen=True)
class Shape:
    """The numbers of a decoder that cost anything.

    kv_heads, head_dim: also what a token leaves in the cache, as keys and as values, in each layer.

    The rest is read by `of_decoder` from a model's own config. exact: all parameters, to the last norm.
    dense: those that every token is multiplied with. routed: those of experts, of which a token takes the
    share `active`. inner: width of a head's keys and values together where nothing is cached, 0: twice
    head_dim. sliding: layers in which a token sees no more than `window` tokens. additions: numbers that
    low-rank additions of rank 1 have, by the name of the weights. scalar: the head is one of a single number
    in the place of the vocabulary's, as a reward model's.
    """

    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    tied: bool
    exact: int = 0
    dense: int = 0
    routed: int = 0
    active: float = 1.0
    inner: int = 0
    sliding: int = 0
    window: int = 0
    additions: Mapping[str, int] = dataclasses.field(default_factory=dict, hash=False)
    scalar: bool = False

    @classmethod
    def of_decoder(cls, c: Any, specs: Mapping[str, Any]) -> Shape:
        """From a `models.DecoderConfig` and its `param_specs`: what a folder holds, whatever its family calls
        it."""
        sizes = {name: math.prod(spec.shape) for name, spec in specs.items()}
        additions = collections.Counter[str]()
        for name, spec in specs.items():
            kind = name.rpartition(".")[2]  # in its layer
            lead = 2 if kind.startswith("experts_") else 1  # layers, and experts of each
            ends = lead + (2 if kind == "o" else 1)  # inputs end here: of `o` heads and their values
            additions[kind] += math.prod(spec.shape[:lead]) * (
                math.prod(spec.shape[lead:ends]) + math.prod(spec.shape[ends:])
            )
        # Norms and biases cost nothing beside products.
        products = {name: size for name, size in sizes.items() if not name.endswith(("norm", "bias"))}
        routed = sum(size for name, size in products.items() if ".experts_" in name)
        dense = sum(products.values()) - routed - (0 if c.tied else sizes["embed"])
        mlp, active = c.mlp, 1.0
        if c.experts is not None:
            active = c.experts.active / c.experts.count
            widths = [s.count * (s.mlp + s.experts * c.experts.active * c.experts.mlp) for s in c.stacks]
            mlp = round(sum(widths) / c.layers)
        return cls(
            width=c.width,
            layers=c.layers,
            heads=c.heads,
            kv_heads=c.kv_heads,
            head_dim=c.head_dim,
            mlp=mlp,
            vocab=c.vocab_size,
            tied=c.tied,
            exact=sum(sizes.values()),
            dense=dense,
            routed=routed,
            active=active,
            inner=c.latent.nope + c.latent.rope + c.latent.value if c.latent else 0,
            sliding=sum(c.slides),
            window=c.window or 0,
            additions=additions,
        )

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """From a Hugging Face config.json. Raises KeyError naming a field it lacks."""
        heads = config["num_attention_heads"]
        return cls(
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            mlp=config["intermediate_size"],
            vocab=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", False)),
        )

    @property
    def reward(self) -> Shape:
        """The shape of a reward model made of this one."""
        return dataclasses.replace(self, scalar=True)

    @property
    def insides(self) -> float:
        """Parameters of the layers that a token is multiplied with, of experts its own."""
        if self.dense:
            return self.dense + self.active * self.routed - self.vocab * self.width
        attention = 2 * self.width * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.width * self.mlp)

    @property
    def matrices(self) -> float:
        """Parameters that a token is multiplied with: the layers, of experts its own, and the head."""
        return self.insides + self.vocab * self.width * (not self.scalar)

    def read_parameters(self, tokens: float) -> float:
        """Count the parameters that a call over so many tokens reads: of experts those that some token takes,
        if each takes its own by chance."""
        if not self.routed:
            return self.matrices
        return self.matrices + self.routed * (1 - (1 - self.active) ** tokens - self.active)

    @property
    def parameters(self) -> int:
        """All parameters, without norms and biases unless it is known exactly; an untied embedding counts
        beside the head."""
        table = self.vocab * self.width
        if self.exact:
            return self.exact - (table if self.scalar and not self.tied else 0)
        return round(self.insides) + table * (1 if self.tied or self.scalar else 2)

    def kv_bytes(self, size: int) -> int:
        """Bytes that a token's keys and values take in all layers, with `size` bytes a number."""
        return 2 * self.layers * self.kv_heads * self.head_dim * size

    def attention_flops(self, keys: float, *, cached: bool = True) -> float:
        """Operations of one token's attention over `keys` tokens, in all layers. cached: keys and values are
        those of the cache."""
        seen = (self.layers - self.sliding) * keys + self.sliding * min(keys, self.window)
        return 2 * self.heads * (2 * self.head_dim if cached else self.inner or 2 * self.head_dim) * seen

    def decode_seconds(
        self, device: Device, leaves: int, candidates: int, prefix: float, suffix: float, size: int
    ) -> float:
        """One token for each candidate of each leaf; a leaf's candidates share its prefix's cache."""
        rows = leaves * candidates
        read = size * self.read_parameters(rows) + self.kv_bytes(size) * (leaves * prefix + rows * suffix)
        return device.seconds(read, rows * (2 * self.matrices + self.attention_flops(prefix + suffix)))

    def read_seconds(self, device: Device, rows: int, tokens: float, size: int) -> float:
        """One pass forward over `rows` sequences of `tokens` each (prefill, scoring)."""
        flops = rows * tokens * (2 * self.matrices + self.attention_flops(tokens / 2))
        return device.seconds(size * self.read_parameters(rows * tokens), flops)

    def train_seconds(self, device: Device, tokens: float, row: int, remat: str) -> float:
        """Forward and backward over `tokens` in rows of `row`: 3 passes forward's worth, and what `remat`
        (`TrainConfig.remat`) computes again: "full" all of it, "dots" attention alone."""
        products = 4 if remat == "full" else 3
        attention = 3 if remat == "none" else 4
        seen = self.attention_flops(row / 2, cached=False)
        flops = tokens * (products * 2 * self.matrices + attention * seen)
        return device.seconds(0, flops)

    def activation_bytes(self, rows: int, row: int, size: int, remat: str) -> float:
        """Count the bytes that the backward pass keeps of `rows` sequences of `row` tokens, attention weights
        and logits (if there are any) too.

        With "full": every layer's input, and the insides of one. With "dots" also the products with weights.
        Attention weights and logits are float32: of long rows a block of the former at a time, of the latter
        a piece, with its exponentials and its gradient.
        """
        tokens, keys = rows * row, self.heads if self.inner else self.kv_heads
        head = (self.inner or 2 * self.head_dim) / 2
        heads = head * (self.heads + keys)
        inside = tokens * size * (5 * self.width + 2 * heads + 3 * self.mlp)
        weights = 4 * self.heads * row * rows * min(row, BLOCK)
        inside, block = (inside + weights, 0) if row <= BLOCK else (inside, weights)
        kept = self.width + (self.width + heads + head * keys + 2 * self.mlp) * (remat == "dots")
        layers = self.layers * inside if remat == "none" else self.layers * tokens * size * kept + inside
        return layers + block + 3 * 4 * min(tokens * self.vocab, max(PIECE, self.vocab)) * (not self.scalar)
