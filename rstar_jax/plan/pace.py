"""Seconds that programs take on chips by their shapes: the roofline, and what share of it programs reach.

One set of shares for all chips, held to published figures (`published.py`): products at `products` of the
peak, everything else at `memory` of the bandwidth, collectives at `links` of the links, of which a part hides
behind the products. Nothing here was measured on a chip of ours.
"""

from __future__ import annotations

import dataclasses
import math

from rstar_jax.errors import UserError
from rstar_jax.plan.cost import STATE_BYTES, Shape
from rstar_jax.topologies import Chip

# Passes over the numbers of a layer that are no products, in units of a forward pass: forward, and backward,
# which reads and writes them about twice, and what is computed again.
_PASSES, _AGAIN = 3.3, 1.0


@dataclasses.dataclass(frozen=True)
class Efficiency:
    """Assumed shares of a chip's figures.

    products: of its operations, within matrix products. memory: of its bandwidth. links: of its links to
    others. hidden: of collectives, what passes while products run, at most. hop_s: seconds that a collective
    takes however little it sends. look_s: seconds between two looks of the host at a decoding batch.
    filled: of the rows of a decoding batch, those that make a token that is used; with 4 rows a leaf 62
    percent were, at steps of ragged length (docs/LOG.md, "Decoding on a CPU").
    """

    products: float = 0.75
    memory: float = 0.8
    links: float = 0.8
    hidden: float = 0.75
    hop_s: float = 1e-5
    look_s: float = 0.02
    filled: float = 0.62

    def __post_init__(self) -> None:
        for name in ("products", "memory", "links", "filled"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(
                    f"config.efficiency.{name}: {getattr(self, name)} given, a share above 0 and up to 1 "
                    "expected."
                )


ASSUMED = Efficiency()


@dataclasses.dataclass(frozen=True)
class Seconds:
    """The work of a call on one device: its products, what else it reads and writes, and its collectives."""

    products: float
    memory: float
    collectives: float
    hidden: float = ASSUMED.hidden

    @property
    def total(self) -> float:
        work = self.products + self.memory
        return work + max(self.collectives - self.hidden * work, (1 - self.hidden) * self.collectives)


@dataclasses.dataclass(frozen=True)
class Pace:
    """Seconds of calls of one model on devices of a chip, computed in bfloat16."""

    shape: Shape
    chip: Chip
    assumed: Efficiency = ASSUMED

    @property
    def _flops(self) -> float:
        return self.chip.tflops * 1e12 / self.chip.devices * self.assumed.products

    @property
    def _bandwidth(self) -> float:
        return self.chip.gbs * 1e9 / self.chip.devices * self.assumed.memory

    @property
    def _links(self) -> float:
        return self.chip.ici_gbs * 1e9 / self.chip.devices * self.assumed.links

    @property
    def _across(self) -> float:
        """The data centre's network, of a device."""
        return self.chip.dcn_gbs * 1e9 / self.chip.devices * self.assumed.links

    def train_flops(self, tokens: float, row: int, remat: str) -> float:
        """Operations of gradients over tokens in rows of `row`, with what is computed again, causal attention
        counted once: of all devices."""
        s = self.shape
        seen = s.attention_flops(row / 2, cached=False)
        again = {"none": 0.0, "dots": seen, "full": 2 * s.insides + seen}[remat]
        # The backward pass of a flash kernel computes its logits once more: 2.5 times the forward one.
        return tokens * (6 * s.matrices + 3.5 * seen + again)

    def gradients(
        self,
        rows: float,
        row: int,
        remat: str,
        devices: int,
        tensor: int,
        sent: float | None = None,
        slices: int = 1,
    ) -> Seconds:
        """One microbatch's gradients on a mesh of so many devices, `tensor` of them to a part of the rows.

        rows: of `row` tokens, of all devices. sent: bytes that a device sends, as the compiler tells; None:
        by arithmetic (`sent`). slices: that the mesh is of, over which gradients alone are summed; an fsdp
        axis over them would send about as much.
        """
        s, tokens = self.shape, rows * row
        mine = tokens / devices
        passes = _PASSES + (_AGAIN if remat == "full" else 0)
        heads, keys = s.heads * s.head_dim, s.kv_heads * s.head_dim
        insides = 2 * s.layers * (10 * s.width + 5 * (heads + 2 * keys) + 6 * s.mlp)
        # Weights as gathered, three times; their float32 sums, read and written.
        held = 3 * 2 * s.matrices / tensor + 2 * 4 * s.parameters / devices
        if sent is None:
            sent = self.sent(tokens, devices, tensor, slices)
        across = 2 * 4 * s.parameters / (devices // slices) * (slices - 1) / slices
        return Seconds(
            self.train_flops(tokens, row, remat) / devices / self._flops,
            (insides * passes * mine + held) / self._bandwidth,
            sent / self._links + across / self._across,
            self.assumed.hidden,
        )

    def sent(self, tokens: float, devices: int, tensor: int, slices: int = 1) -> float:
        """Bytes that a device sends within its slice for the gradients of so many tokens, by arithmetic:
        weights gathered twice and gradients scattered over fsdp, which are as many whatever the tokens, and
        states exchanged four times a layer over tensor."""
        s, wide = self.shape, devices // slices // tensor
        over = 2 * (2 + 1) * s.matrices / tensor * (wide - 1) / wide
        states = 4 * s.layers * tokens / devices * tensor * s.width * 2 * 2 * (tensor - 1) / tensor
        return over + states

    def update(self, devices: int, state: float = STATE_BYTES["adamw"]) -> float:
        """Seconds of an update: parameters and gradients in float32, and the optimizer's state of so many
        bytes a parameter, are read and written."""
        return 2 * (4 + 4 + state) * self.shape.parameters / devices / self._bandwidth

    def decode(
        self,
        leaves: int,
        rows: int,
        prefix: float,
        suffix: float,
        *,
        tensor: int = 1,
        size: float = 2,
        looks: float = 1 / 16,
    ) -> float:
        """Seconds of a token for each of `rows` candidates of each leaf, in a group of `tensor` devices.

        prefix, suffix: tokens in the caches. size: bytes of a weight; looks: of the host, a token.
        """
        s, batch = self.shape, leaves * rows
        kv = s.kv_bytes(2) / min(tensor, s.kv_heads)
        read = size * s.read_parameters(batch) / tensor + kv * (leaves * prefix + batch * suffix)
        # Sampling goes over the logits some eight times (docs/BENCHMARKS.md, "TPU: layers in a loop").
        read += 8 * 4 * batch * s.vocab / tensor
        flops = batch * (2 * s.matrices + s.attention_flops(prefix + suffix)) / tensor
        work = max(read / self._bandwidth, flops / self._flops)
        return work + self._exchange(batch, tensor) + looks * self.assumed.look_s

    def read(self, tokens: float, behind: float, *, tensor: int = 1, size: float = 2) -> float:
        """Seconds of reading so many tokens in one call (prefill, scoring), behind so many others each."""
        s = self.shape
        flops = tokens * (2 * s.insides + s.attention_flops(behind)) / tensor
        nbytes = size * s.read_parameters(tokens) / tensor
        return max(nbytes / self._bandwidth, flops / self._flops) + self._exchange(tokens, tensor)

    def _exchange(self, tokens: float, tensor: int) -> float:
        """Seconds of the two sums over a group in every layer."""
        if tensor == 1:
            return 0.0
        nbytes = 2 * self.shape.width * tokens * 2 * (tensor - 1) / tensor
        return 2 * self.shape.layers * (self.assumed.hop_s + nbytes / self._links)


def rounded_up(value: float) -> int:
    """The least power of two that is no less."""
    return 1 << max(0, math.ceil(math.log2(max(1.0, value))))
