"""Steps that the devices were given, until their figures are read: while one is computed, those of the one
before are read and told, so that the devices never wait for the host to tell.

    began(k) --> began(k + 1) --> land(leaving=1): k is read, counted, written, told; k + 1 runs on
"""

from __future__ import annotations

import collections
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from rstar_jax.errors import UserError
from rstar_jax.train.batch import Batch
from rstar_jax.train.config import TrainConfig
from rstar_jax.train.metrics import MetricsWriter
from rstar_jax.train.progress import Progress
from rstar_jax.train.throughput import DeviceClock, Throughput

# Called with (steps done, steps of all, metrics of the last one).
OnStep = Callable[[int, int, dict[str, float]], None]
_ALWAYS = ("loss", "learning_rate", "grad_norm")  # the metrics that every step has


class InFlight:
    """Steps begun and not yet told, in their order. Everything of a step is told at once: its row is counted,
    then written, then `on_step` hears of it, then too many skipped ones end the training."""

    def __init__(
        self,
        progress: Progress,
        config: TrainConfig,
        throughput: Throughput,
        metrics: MetricsWriter | None,
        on_step: OnStep | None,
        started: float,
    ) -> None:
        """started: when the training did, by time.monotonic; `progress` has the seconds before that."""
        self.clock = DeviceClock()
        self.throughput = throughput
        self._progress, self._config = progress, config
        self._metrics, self._on_step = metrics, on_step
        self._started = started - progress.seconds
        self._waiting: collections.deque[tuple[int, Batch, Any]] = collections.deque()

    def began(self, step: int, batch: Batch, values: dict[str, jax.Array]) -> None:
        """Note a step by its number from 1. values: what the update returns, which is on its way."""
        for value in values.values():
            value.copy_to_host_async()
        self._waiting.append((step, batch, values))

    def land(self, leaving: int = 0, more: Callable[[], dict[str, float]] = dict) -> None:
        """Tell of all steps but the last `leaving`. more: called once a step is done; what belongs into its
        row, too."""
        while len(self._waiting) > leaving:
            step, batch, values = self._waiting.popleft()
            with memory_told(self._config, batch), self.clock.awaited():
                found = jax.device_get(values)
            row = {name: float(value) for name, value in found.items()}
            row = {k: v for k, v in row.items() if k in _ALWAYS or not math.isnan(v)}
            progress = self._progress
            progress.seconds = time.monotonic() - self._started
            progress.add(step, batch.examples, batch.tokens, row)
            row["skipped"] = float(progress.skipped)
            row |= self.throughput.step(batch.microbatches, batch.tokens, self.clock.last) | more()
            if self._metrics is not None:
                self._metrics.write(step - 1, row)
            if self._on_step is not None:
                self._on_step(step, progress.total_steps, row)
            progress.require_learning(row, self._config)


@contextlib.contextmanager
def memory_told(config: TrainConfig, batch: Batch) -> Iterator[None]:
    """An error of what compiler or device say of memory, which says which microbatch may fit."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        rows = len(batch.microbatches[0]["tokens"])
        fewer = f"train.microbatch={rows // 2}" if rows > 1 else f"train.seq_len={config.seq_len // 2}"
        raise UserError(
            f"train.microbatch: {rows} rows of {config.seq_len} tokens a call do not fit the memory of the "
            f"devices ({str(error).strip().splitlines()[0][:200]}). Give {fewer}, train.remat=full or more "
            "devices; the examples of a step (train.batch) stay as many, in more calls."
        ) from error
