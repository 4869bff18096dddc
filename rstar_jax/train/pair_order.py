"""Order of pairs that a reward model did not learn: by depth, by margin, and how sure it is of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from rstar_jax.data.pair_tokens import WHOLE
from rstar_jax.losses import Terms
from rstar_jax.models import RewardModel
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train.config import TrainConfig
from rstar_jax.train.held_out import measure
from rstar_jax.train.ppm import once, pair_batches, pair_values, ppm_loss
from rstar_jax.types import PreferencePair

MARGINS = 8  # bins of the histogram, from -2 to 2
_RAW_SCALE = 5.0  # what values before tanh are divided by where they are served (released code)


@dataclasses.dataclass(frozen=True)
class PairOrder:
    """pairs: that were compared; dropped: longer than a row. accuracy: share in the right order, a tie half.
    loss: as in training. by_depth: pairs and accuracy by the depth of the steps that differ first, from "1",
    and of "whole" solutions. margins: pairs by the difference of the values as they are served, MARGINS
    bins from -2 to 2. calibration: mean distance of the probability that the model gives the order that it
    prefers from the share of pairs that are so, over bins of the margin's size."""

    pairs: int
    dropped: int
    accuracy: float
    loss: float
    by_depth: dict[str, list[float]]
    margins: list[int]
    calibration: float


def pair_order(
    model: RewardModel,
    pairs: Collection[PreferencePair],
    tokenizer: Tokenizer,
    prompt: Callable[[str], str],
    config: TrainConfig,
    *,
    tokens: Path | None = None,
    on_step: Callable[[int, int], None] = lambda *_: None,
) -> PairOrder:
    """Compare pairs. tokens: a folder for the token ids of pairs that are a file, as of `train_ppm`. on_step:
    told of batches done, of all. Raises UserError as `ppm.train_ppm`."""
    batches = pair_batches(model, pairs, tokenizer, prompt, once(config), depths=True, tokens=tokens)
    steps, depths = batches.total_steps, sorted(batches.depths, key=lambda depth: (depth == WHOLE, depth))
    found = measure(
        model,
        batches,
        functools.partial(_order_terms, depths=tuple(depths)),
        config,
        total_steps=steps,
        on_step=lambda step: on_step(step, steps),
    )
    count = len(pairs) - batches.dropped
    by_depth = {
        _name(depth): [round(found[f"at_{depth}"] * count), found[f"order_{depth}"]]
        for depth in depths
        if f"order_{depth}" in found  # else all of them are longer than a row
    }
    return PairOrder(
        pairs=count,
        dropped=batches.dropped,
        accuracy=found["accuracy"],
        loss=found["loss"],
        by_depth=by_depth,
        margins=[round(found[f"margin_{k}"] * count) for k in range(MARGINS)],
        calibration=_calibration(found),
    )


def _name(depth: int) -> str:
    return "whole" if depth == WHOLE else str(depth)


def _order_terms(
    model: RewardModel, batch: dict[str, jax.Array], config: TrainConfig, depths: Sequence[int]
) -> Terms:
    """The loss's terms, the share and the order of pairs at each depth, the share of them in each bin, and
    what the model says of each size."""
    raw = pair_values(model, batch, config)
    real = (batch["pair_weights"] > 0).astype(jnp.float32)
    learnt = jnp.tanh(raw) if config.ppm_value == "tanh" else raw
    served = learnt if config.ppm_value == "tanh" else jnp.tanh(raw / _RAW_SCALE)
    margin, sure = served[0] - served[1], jax.nn.sigmoid(jnp.abs(learnt[0] - learnt[1]))
    which = jnp.clip(jnp.floor((margin + 2) / 4 * MARGINS), 0, MARGINS - 1)
    size = jnp.clip(jnp.floor(jnp.abs(margin) / 4 * MARGINS), 0, MARGINS // 2 - 1)
    terms = ppm_loss(model, batch, config)
    ordered = (learnt[0] > learnt[1]) + 0.5 * (learnt[0] == learnt[1])
    for depth in depths:
        mine = (batch["pair_depth"] == depth) * real
        terms[f"order_{depth}"] = (ordered * mine).sum(), mine.sum()
        terms[f"at_{depth}"] = mine.sum(), real.sum()
    right = (margin > 0) + 0.5 * (margin == 0)
    for k in range(MARGINS):
        terms[f"margin_{k}"] = ((which == k) * real).sum(), real.sum()
    for k in range(MARGINS // 2):
        mine = (size == k) * real
        terms[f"sure_{k}"] = (sure * mine).sum(), mine.sum()
        terms[f"right_{k}"] = (right * mine).sum(), mine.sum()
        terms[f"size_{k}"] = mine.sum(), real.sum()
    return terms


def _calibration(found: Mapping[str, float]) -> float:
    bins = [k for k in range(MARGINS // 2) if f"sure_{k}" in found]
    return sum(found[f"size_{k}"] * abs(found[f"sure_{k}"] - found[f"right_{k}"]) for k in bins)
