"""Values of a reward model beside those of steps that it did not learn (PQM)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp

from rstar_jax.curate import StepValues
from rstar_jax.losses import Terms
from rstar_jax.models import RewardModel
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train.config import TrainConfig
from rstar_jax.train.held_out import measure
from rstar_jax.train.ppm import once
from rstar_jax.train.pqm import pqm_loss, served_values, value_batches

BINS = 8  # of the values that the model gives, from -1 to 1


@dataclasses.dataclass(frozen=True)
class ValueErrors:
    """steps: that were measured; dropped: behind more tokens than a row has. loss: mean squared error.
    distance: mean distance from the true value. sign: share on the side of 0 that the true value is on, None
    where all true ones are 0. calibration: mean distance of the mean value given from the mean true value,
    over BINS of the value given. given: steps by the value given, BINS from -1 to 1."""

    steps: int
    dropped: int
    loss: float
    distance: float
    sign: float | None
    calibration: float
    given: list[int]


def value_errors(
    model: RewardModel,
    rows: Collection[StepValues],
    tokenizer: Tokenizer,
    prompt: Callable[[str], str],
    config: TrainConfig,
    *,
    tokens: Path | None = None,
    on_step: Callable[[int, int], None] = lambda *_: None,
) -> ValueErrors:
    """Measure a model on values. tokens: a folder for the token ids of values that are a file. on_step: told
    of batches done, of all. Raises UserError where none fits `config.seq_len`."""
    batches = value_batches(model, rows, tokenizer, prompt, once(config), tokens=tokens)
    total = batches.total_steps
    found = measure(
        model, batches, _error_terms, config, total_steps=total, on_step=lambda step: on_step(step, total)
    )
    return ValueErrors(
        steps=batches.learnt,
        dropped=batches.dropped,
        loss=found["loss"],
        distance=found["distance"],
        sign=found.get("sign"),
        calibration=_calibration(found),
        given=[round(found[f"size_{k}"] * batches.learnt) for k in range(BINS)],
    )


def _error_terms(model: RewardModel, batch: dict[str, jax.Array], config: TrainConfig) -> Terms:
    """The loss's terms, and of each bin the share of steps, the mean value given and the mean true one."""
    values, real = served_values(model, batch, config), (batch["weights"] > 0).astype(jnp.float32)
    which = jnp.clip(jnp.floor((values + 1) / 2 * BINS), 0, BINS - 1)
    terms = pqm_loss(model, batch, config)
    for k in range(BINS):
        mine = (which == k) * real
        terms[f"size_{k}"] = mine.sum(), real.sum()
        terms[f"given_{k}"] = (values * mine).sum(), mine.sum()
        terms[f"true_{k}"] = (batch["values"] * mine).sum(), mine.sum()
    return terms


def _calibration(found: Mapping[str, float]) -> float:
    bins = [k for k in range(BINS) if f"given_{k}" in found]
    return sum(found[f"size_{k}"] * abs(found[f"given_{k}"] - found[f"true_{k}"]) for k in bins)
