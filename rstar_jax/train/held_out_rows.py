"""Rows that are not learnt, as what a training measures (`held_out.HeldOut`)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from rstar_jax.curate import StepValues
from rstar_jax.errors import UserError
from rstar_jax.models import Decoder, RewardModel
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train.config import TrainConfig
from rstar_jax.train.held_out import HeldOut, measure
from rstar_jax.train.host_rows import Rows, mesh_of
from rstar_jax.train.policy import PolicyBatches, policy_loss
from rstar_jax.train.ppm import once, pair_batches, ppm_loss
from rstar_jax.train.pqm import pqm_loss, value_batches
from rstar_jax.train.solution_trees import Example
from rstar_jax.types import PreferencePair, SftRow


def held_out_solutions(
    model: Decoder,
    rows: Sequence[SftRow],
    tokenizer: Tokenizer,
    prompt: Callable[[str], str],
    config: TrainConfig,
) -> tuple[HeldOut | None, int, int]:
    """Return what measures a policy on solutions, how many of them fit a row, and the tokens that it has to
    write in these; (None, 0, 0) where none fits.

    Its figures are "loss", in nats a token, and "accuracy", the share of tokens that are its likeliest; both
    of what a policy writes, without prompts and output. model: one of the mesh that it will be measured on.
    """
    found = (tokenizer.encode_solution(prompt(row.question), row.steps) for row in rows)
    every = [Example(np.asarray(ids, np.int32), np.asarray(trained, bool)) for ids, trained in found]
    examples = [example for example in every if len(example.tokens) <= config.seq_len]
    if not examples:
        return None, 0, 0
    once = dataclasses.replace(config, epochs=1)
    sizes = functools.partial(Rows.sizes, mesh_of(model), config.microbatch)
    batches = PolicyBatches(examples, once, 0, sizes)

    def figures(model: Decoder) -> dict[str, float]:
        return measure(model, batches, policy_loss, config, total_steps=batches.total_steps)

    return figures, len(examples), int(sum(example.trained.sum() for example in examples))


def held_out_pairs(
    model: RewardModel,
    pairs: Sequence[PreferencePair],
    tokenizer: Tokenizer,
    prompt: Callable[[str], str],
    config: TrainConfig,
) -> HeldOut | None:
    """Return what measures a reward model on pairs, by the terms of its loss; None where there are none.

    model: one of the mesh that it will be measured on. Raises UserError where none of the pairs fits a row:
    now, since after an epoch it would be too late.
    """
    if not pairs:
        return None
    try:
        batches = pair_batches(model, pairs, tokenizer, prompt, once(config))
    except UserError as error:
        raise UserError(f"held-out pairs: {error} Or hold none out (config.heldout_pairs=0).") from error

    def figures(model: RewardModel) -> dict[str, float]:
        return measure(model, batches, ppm_loss, config, total_steps=batches.total_steps)

    return figures


def held_out_values(
    model: RewardModel,
    rows: Sequence[StepValues],
    tokenizer: Tokenizer,
    prompt: Callable[[str], str],
    config: TrainConfig,
) -> HeldOut | None:
    """As `held_out_pairs`, of values of steps."""
    if not rows:
        return None
    try:
        batches = value_batches(model, rows, tokenizer, prompt, once(config))
    except UserError as error:
        raise UserError(f"held-out values: {error} Or hold none out (config.heldout_pairs=0).") from error

    def figures(model: RewardModel) -> dict[str, float]:
        return measure(model, batches, pqm_loss, config, total_steps=batches.total_steps)

    return figures
