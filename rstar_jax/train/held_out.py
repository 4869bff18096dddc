"""Figures on data that is not learnt."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
from flax import nnx

from rstar_jax.train.config import TrainConfig
from rstar_jax.train.step import Loss, home, on_device

if TYPE_CHECKING:
    from rstar_jax.train.loop import Batch

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
    """Return the means of a loss's terms over `total_steps` batches; nothing is learnt. Arguments as of
    `fit`. What is compiled is kept for equal models, losses and options."""
    graphdef, params, frozen = nnx.split(model, nnx.Param, ...)
    everywhere, terms_of = home(params, frozen), _terms_of(graphdef, loss, config)
    sums: dict[str, list[float]] = {}
    for step in range(total_steps):
        for piece in batches(step).microbatches:
            terms = jax.device_get(terms_of(params, frozen, on_device(piece, everywhere)))
            for name, found in terms.items():
                total = sums.setdefault(name, [0.0, 0.0])
                total[:] = (a + float(b) for a, b in zip(total, found, strict=True))
        on_step(step + 1)
    return {name: total / count for name, (total, count) in sums.items() if count > 0}


@functools.lru_cache(maxsize=8)
def _terms_of(graphdef: Any, loss: Loss, config: TrainConfig) -> Any:
    return jax.jit(lambda params, frozen, piece: loss(nnx.merge(graphdef, params, frozen), piece, config))
