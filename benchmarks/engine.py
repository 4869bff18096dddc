"""CPU seconds of our engine's prefilling and decoding, told apart."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from rstar_jax.engine import DecodeConfig, Stats, StepDecoder, StepRequest
from rstar_jax.models import Decoder
from rstar_jax.queues import call


def cpu_seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


class Ours:
    """One batch shape on our engine. run() gives the CPU seconds of prefilling and of decoding one token."""

    def __init__(self, model: Decoder, prefixes: np.ndarray, n: int, new: int, chunk: int) -> None:
        B, P = prefixes.shape
        config = DecodeConfig(leaves=B, rows=n, chunk=chunk, max_step_tokens=new, context=P + new)
        self.prefixes, self.n, self.turn = prefixes, n, 0
        # Pages as a search that knows its trees has them: else leaves would wait for pages.
        demand = 2 * B * (P + n * (new + config.page_size))
        self.decoder = StepDecoder(model, {}, config, seed=0, on_progress=self.mark, demand=demand)
        self.marks: list[tuple[float, int]] = []
        self.tokens = B * n * new

    def mark(self, stats: Stats) -> None:
        self.marks.append((time.process_time(), stats.generated))

    def run(self) -> tuple[float, float]:
        """Told apart by the first chunk's end: what is decoded after it took only decoding."""
        self.marks.clear()
        # Other problems, and other first tokens: none of their prefixes was read before.
        self.turn += 1
        self.prefixes[:, 0] = self.turn
        requests = [
            StepRequest(prefix, self.n, 1.0, (self.turn, i), problem=(self.turn, i))
            for i, prefix in enumerate(self.prefixes)
        ]
        begin, before = time.process_time(), self.decoder.stats.generated
        samples = call(self.decoder, requests)
        assert sum(len(s.tokens) for row in samples for s in row) == self.tokens
        (first, done), (last, all_done) = self.marks[0], self.marks[-1]
        each = (last - first) / (all_done - done)
        return first - begin - each * (done - before), each
