"""A trace of some steps for XProf (TensorBoard's profile plugin), by JAX's profiler."""

from __future__ import annotations

import logging
from pathlib import Path

import jax

from rstar_jax.train.config import profiled

log = logging.getLogger(__name__)


class Trace:
    """Traces the steps that `train.profile` names into a folder: before --> before ... --> close.

    A training that goes on within them traces those that are left. The steps compute what they would without.
    """

    def __init__(self, steps: str, folder: Path | None, total_steps: int) -> None:
        """folder: None: this process writes none."""
        self._steps = profiled(steps) if folder else range(0)
        self._folder, self._is_running = folder, False
        if self._steps and self._steps.start >= total_steps:
            log.warning("train.profile: '%s' given, but there are %d steps: no trace.", steps, total_steps)

    def due(self, step: int) -> bool:
        """Tell whether the trace begins or ends before this step, so that no other one may be under way."""
        return (step in self._steps) != self._is_running

    def turn(self) -> None:
        """Begin or end. Where the profiler cannot, as in a folder that is not to be written to, or as another
        trace runs, a warning says so, and the training goes on without."""
        begins, self._is_running = not self._is_running, False
        try:
            if begins:
                jax.profiler.start_trace(str(self._folder))
            else:
                jax.profiler.stop_trace()
        except (RuntimeError, OSError) as error:
            self._steps = range(0)
            log.warning("train.profile: no trace in %s (%s).", self._folder, str(error)[:200])
            return
        self._is_running = begins
        if not begins:
            log.info("The trace of steps %d to %d is in %s.", self._steps[0], self._steps[-1], self._folder)

    def close(self) -> None:
        """End a trace that runs."""
        if self._is_running:
            self.turn()
