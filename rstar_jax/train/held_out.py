"""Figures on data that is not learnt, and the parameters that did best on it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
from flax import nnx

from rstar_jax.compilations import jit
from rstar_jax.errors import UserError
from rstar_jax.train.batch import Batch
from rstar_jax.train.config import TrainConfig
from rstar_jax.train.progress import Progress
from rstar_jax.train.step import Loss, home, on_device, static

if TYPE_CHECKING:  # orbax takes a while to import
    from rstar_jax.train.checkpoints import Checkpoints

# From a model to figures by name, "loss" among them: the lower, the better. Every process of a training calls
# it alike.
HeldOut = Callable[[Any], dict[str, float]]


def measure(
    model: nnx.Module,
    batches: Callable[[int], Batch],
    loss: Loss,
    config: TrainConfig,
    *,
    total_steps: int,
    on_step: Callable[[int], None] = lambda _: None,
) -> dict[str, float]:
    """Means of a loss's terms over `total_steps` batches; nothing is learnt. Arguments as of `fit`."""
    graphdef, params, frozen = nnx.split(model, nnx.Param, ...)
    everywhere, terms_of = home(params, frozen), _terms_of(graphdef, loss, static(config))
    sums: dict[str, list[float]] = {}
    for step in range(total_steps):
        for piece in batches(step).microbatches:
            terms = jax.device_get(terms_of(params, frozen, on_device(piece, everywhere)))
            for name, found in terms.items():
                total = sums.setdefault(name, [0.0, 0.0])
                total[:] = (a + float(b) for a, b in zip(total, found, strict=True))
        on_step(step + 1)
    return {name: total / count for name, (total, count) in sums.items() if count > 0}


@functools.lru_cache(maxsize=4)
def _terms_of(graphdef: Any, loss: Loss, config: TrainConfig) -> Callable[..., Any]:
    """Compiled once for the epochs of a training."""
    return jit(lambda params, frozen, piece: loss(nnx.merge(graphdef, params, frozen), piece, config))


class Validation:
    """Measures a model after each epoch and keeps, with `train.keep=best`, the parameters that did best.

    Those lie in a folder of their own, the newest two, since a training that is killed goes on from an older
    state and may need the one before. `improved` asks for a state to be saved after each.
    """

    def __init__(
        self,
        model: nnx.Module,
        held_out: HeldOut | None,
        every: int,
        config: TrainConfig,
        progress: Progress,
        kept: Checkpoints | None,
    ) -> None:
        """every: steps between two measures; 0: at the end alone. kept: of the best parameters.

        Raises UserError where the best are asked for, but none can be told or kept.
        """
        if config.keep == "best" and (held_out is None or kept is None):
            lacks = "no held-out data are" if held_out is None else "no folder for them is"
            raise UserError(f"train.keep: 'best' given, but {lacks} given. Give it, or train.keep=last.")
        self._model, self._held_out, self._every = model, held_out, every
        self._progress = progress
        self._kept = kept if config.keep == "best" else None
        self.improved = False
        if self._kept is not None:
            self._kept.forget_after(progress.best.get("step", 0))

    def due(self, step: int) -> bool:
        """Tell whether to measure after a step."""
        if self._held_out is None:
            return False
        return step == self._progress.total_steps or bool(self._every and step % self._every == 0)

    def measure(self, step: int, params: Any) -> dict[str, float]:
        """Measure the parameters after a step, keep them if they are the best, and return figures for the
        step's row."""
        assert self._held_out is not None
        nnx.update(self._model, params)
        figures = self._held_out(self._model)
        self._progress.held_out = {"step": step, "figures": figures}
        improves = self._progress.improves(step, figures)
        if improves and self._kept is not None and step < self._progress.total_steps:
            self._kept.save(step, params, {})
            self._kept.wait()  # no state may tell of it before it is there
            self.improved = True
        return {f"held_out_{name}": value for name, value in figures.items()}

    def chosen(self, params: Any) -> Any:
        """Return the parameters to end with: these, or those that were better."""
        best = self._progress.best.get("step")
        if self._kept is None or best in (None, self._progress.step):
            return params
        if (found := self._kept.restore(params)) is None or found[0] != best:
            raise UserError(
                f"{self._kept.folder}: the best parameters, of step {best}, cannot be read. Delete the "
                "folder above it to train again, or give train.keep=last."
            )
        return found[1]

    def close(self, alone: bool) -> None:
        """As `Checkpoints.close`."""
        if self._kept is not None:
            self._kept.close(alone)
