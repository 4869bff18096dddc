"""Speed and memory of a training: seconds of the device, tokens and MFU, memory.

MFU is the operations that a step needs over what the chips could do at their peak. It needs, by the usual
count (PaLM, arXiv 2204.02311, appendix B), two a parameter and token in the forward pass and four in the
backward one, and attention's. What is computed again (`train.remat`) does not count, nor what no token sees.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from rstar_jax.topologies import chip_named
from rstar_jax.train.batch import Microbatch

_GIB = 2.0**30


class DeviceClock:
    """Seconds in which the device works at steps, and in which the host does nothing but wait for it.

        begin --> dispatched --> awaited     once a step; the next may begin before one is awaited

    In a step with a shape that no step before had, programs are compiled until `dispatched`, and the device
    works from then on: what runs when it begins is to be awaited first.
    """

    def __init__(self) -> None:
        self.device = self.waited = 0.0
        self.last = 0.0  # seconds of the step that was awaited last
        self._begun: list[float] = []  # of the steps that were not awaited
        self._ended = 0.0
        self._compiled: set[tuple[int, ...]] = set()
        self._compiles = False

    def knows(self, shapes: set[tuple[int, ...]]) -> bool:
        """Tell whether steps before had all these shapes of microbatches."""
        return shapes <= self._compiled

    def begin(self, shapes: set[tuple[int, ...]]) -> None:
        self._compiles = not self.knows(shapes)
        self._compiled |= shapes
        self._begun.append(time.monotonic())

    def dispatched(self) -> None:
        if self._compiles:
            self._begun[-1] = time.monotonic()

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        ended = time.monotonic()
        self.waited += ended - began
        self.last = ended - max(self._begun.pop(0), self._ended)
        self.device += self.last
        self._ended = ended


class Throughput:
    """Figures of steps for metrics. mfu: of all steps so far; None where the chip is unknown, as a CPU is."""

    def __init__(self, model: Any, params: Any, frozen: Any) -> None:
        """model: a decoder or a reward model. params, frozen: its arrays, which lie where it is trained."""
        self._products, self._attention = flops(model, params, frozen)
        devices = jax.tree.leaves(params)[0].sharding.device_set
        self._here = next(d for d in devices if d.process_index == jax.process_index())
        chip = chip_named(self._here.device_kind)
        self._peak = None if chip is None else chip.tflops * 1e12 / chip.devices * len(devices)
        self._flops = self._seconds = 0.0

    @property
    def mfu(self) -> float | None:
        return self._flops / self._seconds / self._peak if self._peak and self._seconds else None

    def step(self, microbatches: Sequence[Microbatch], tokens: int, seconds: float) -> dict[str, float]:
        """Count a step, and return its tokens a second, its MFU (a share) and the memory (GiB).

        microbatches: of which the positions are read, of the rows that this process made. tokens: of all.
        """
        work = tokens * (self._products + self._attention * _seen(microbatches))
        self._flops += work
        self._seconds += seconds
        found = {"tokens_per_s": tokens / max(seconds, 1e-9)}
        if self._peak:
            found["mfu"] = work / max(seconds, 1e-9) / self._peak
        return found | memory(self._here)


def flops(model: Any, params: Any, frozen: Any) -> tuple[float, float]:
    """Return the operations of training on a token: those with parameters, and those of attention for each
    token that it sees.

    Parameters that stay as they are (LoRA's base) need no gradients of their own: 4 operations in place of 6.
    """
    decoder = getattr(model, "decoder", model)
    config, has_logits = decoder.config, decoder is model

    def products(tree: Any) -> float:
        """Parameters that a token is multiplied with; of experts those that it goes to."""
        total = 0.0
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            name = jax.tree_util.keystr(path)
            unused = "embed" in name and not (has_logits and config.tied)
            if leaf.ndim < 2 or unused or "norm" in name or "bias" in name:
                continue
            share = config.experts.active / config.experts.count if "experts_" in name else 1.0
            total += leaf.size * share
        return total

    latent = config.latent
    inner = latent.nope + latent.rope + latent.value if latent else 2 * config.head_dim
    return 6 * products(params) + 4 * products(frozen), 6.0 * config.layers * config.heads * inner


def _seen(microbatches: Sequence[Microbatch]) -> float:
    """Tokens that a token sees, itself among them: the mean over those of the rows at hand."""
    seen = [m["positions"][m["segment_ids"] > 0] + 1 for m in microbatches]
    return sum(map(np.sum, seen)) / max(1, sum(map(np.size, seen)))


def memory(device: Any) -> dict[str, float]:
    """Memory of a device in use and at its peak, GiB; of one that does not tell, as a CPU, the peak of this
    process."""
    told = device.memory_stats()
    if told and "bytes_in_use" in told:
        peak = told.get("peak_bytes_in_use", told["bytes_in_use"])
        return {"memory_gib": told["bytes_in_use"] / _GIB, "peak_memory_gib": peak / _GIB}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIB}
