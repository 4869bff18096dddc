"""Reward models that a round can train, by name: what each learns, and how (arXiv 2501.04519, section 5.3).

ppm    preferences of steps (section 3.3); guides searches
pqm    the Q of steps, by regression; guides searches as the PPM does
orm    preferences of whole solutions; ranks them and guides none
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

from rstar_jax import train
from rstar_jax.curate import Reward, StepValues, learnt_values
from rstar_jax.errors import UserError
from rstar_jax.train import HeldOut, TrainSummary
from rstar_jax.types import PreferencePair

SFT, PAIRS, VALUES = "sft.parquet", "pairs.parquet", "values.parquet"  # files of the stage "curate"


@dataclasses.dataclass(frozen=True)
class RewardModel:
    """A row of the table. title: of the model. examples: what it learns from, for people. file, kind: where
    they lie. train: as `train.train_ppm`. held_out: as `train.held_out_pairs`, of rows of that kind. ranked:
    the share of pairs that it learnt in the right order, where it learns pairs."""

    title: str
    examples: str
    file: str
    kind: type
    train: Callable[..., TrainSummary]
    held_out: Callable[..., HeldOut | None]
    ranked: Callable[[TrainSummary], float | None]

    def lacking(self, rows: Collection[Any]) -> str:
        """Say why nothing can be learnt from these, as a note; empty where something can."""
        if not len(rows):
            return f"no {self.examples}"
        if self.kind is StepValues and len(learnt := learnt_values(rows)) == 1:
            return f"all values of steps are {learnt.pop():g}"
        return ""


def _accuracy(summary: TrainSummary) -> float:
    return summary.metrics["accuracy"]


_OF_PAIRS = PAIRS, PreferencePair, train.train_ppm, train.held_out_pairs, _accuracy
_OF_VALUES = VALUES, StepValues, train.train_pqm, train.held_out_values, lambda _: None
REWARD_MODELS: dict[Reward, RewardModel] = {
    "ppm": RewardModel("PPM", "preference pairs", *_OF_PAIRS),
    "pqm": RewardModel("PQM", "values of steps", *_OF_VALUES),
    "orm": RewardModel("ORM", "pairs of whole solutions", *_OF_PAIRS),
}


def require_use(reward: Reward, *, guided: bool, strategy: str, scores: str, compared: str) -> None:
    """Refuse a reward model that a run would use otherwise than it is trained.

    guided: whether a PPM guides some round's search. strategy, scores: of the evaluation. compared:
    `train.ppm.ppm_value`. Raises UserError naming the options.
    """
    if reward == "pqm" and compared != "tanh":
        raise UserError(
            f"config.train.ppm.ppm_value: '{compared}' given, but a PQM (config.train.reward=pqm) learns "
            "values in [-1, 1]. Give tanh."
        )
    if reward != "orm":
        return
    if guided:
        raise UserError(
            "config.train.reward: 'orm' given, which values whole solutions, but config.search.ppm has the "
            "reward model guide a search step by step. Give --config.search.ppm='(False,)', or a ppm or pqm."
        )
    if strategy != "best_of_n" or scores != "orm":
        raise UserError(
            f"config.train.reward: 'orm' given, which values whole solutions, but the evaluation is "
            f"evaluate.strategy={strategy}, evaluate.scores={scores}. Give "
            "--config.evaluate.strategy=best_of_n --config.evaluate.scores=orm, or a ppm or pqm."
        )
