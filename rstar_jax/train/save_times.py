"""When the training state is saved: alike on all processes of a training, by the leader's clock."""

from __future__ import annotations

import time

from rstar_jax import distributed
from rstar_jax.train.config import TrainConfig

_ASK_AT_MOST = 10_000  # steps until the leader is asked again


class SaveTimes:
    """Decides after which steps the state is saved.

    Every process counts steps; only the leader's clock counts. It says whether to save now and after how many
    steps it is to be asked again, so that there is no exchange at every step: about half of those that will
    be done until the time has come, by their pace so far.
    """

    def __init__(self, config: TrainConfig, step: int) -> None:
        """step: those done when the training starts or goes on."""
        self._config = config
        self._first, self._ask_at = step, step + 1
        self._started = self._saved_at = time.monotonic()

    def due(self, step: int) -> bool:
        """Return whether to save after this step. Every process of a training must ask at every step."""
        every, after = self._config.checkpoint_every_steps, self._config.checkpoint_every_s
        if every and step % every == 0:
            return True
        if not after:
            return False
        host = distributed.here()
        if host.count == 1:
            return self._left() <= 0
        if step < self._ask_at:
            return False
        now, steps = distributed.shared([self._left() <= 0, self._steps_left(step)] if host.leader else None)
        self._ask_at = step + steps
        return now

    def saved(self) -> None:
        """Begin to count anew."""
        self._saved_at = time.monotonic()

    def _left(self) -> float:
        return self._config.checkpoint_every_s - (time.monotonic() - self._saved_at)

    def _steps_left(self, step: int) -> int:
        pace = (time.monotonic() - self._started) / max(1, step - self._first)
        left = self._left() if self._left() > 0 else self._config.checkpoint_every_s
        return max(1, min(_ASK_AT_MOST, int(left / 2 / max(pace, 1e-9))))
