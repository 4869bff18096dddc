"""The figures of a training as far as it has come; saved with its checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.train.config import TrainConfig, TrainSummary

_NO_MEANS = ("learning_rate", "grad_norm", "skipped")


class Progress:
    """Figures that a summary is made of.

    step: steps done. held_out, best: the step and the held-out figures of the parameters measured last, and
    of those that were best; empty: none were measured.
    """

    def __init__(self, total_steps: int) -> None:
        self.total_steps = total_steps
        self.step = self.examples = self.tokens = 0
        self.seconds = 0.0
        self.first_loss = math.nan
        self.recent: list[dict[str, float]] = []
        self.skipped = self.skipped_in_a_row = 0
        self.held_out: dict[str, Any] = {}
        self.best: dict[str, Any] = {}

    def add(self, step: int, examples: int, tokens: int, row: Mapping[str, float]) -> None:
        """Count a step. row: its metrics; "skipped" is 1 where it changed nothing."""
        self.step = step
        self.examples += examples
        self.tokens += tokens
        if row["skipped"]:
            self.skipped += 1
            self.skipped_in_a_row += 1
            return
        self.skipped_in_a_row = 0
        if math.isnan(self.first_loss):
            self.first_loss = row["loss"]
        self.recent = [*self.recent, dict(row)][-max(1, self.total_steps // 10) :]

    def require_learning(self, row: Mapping[str, float], config: TrainConfig) -> None:
        """Raise UserError where too many steps in a row were skipped, or all there are. row: the last one's
        metrics."""
        if not (n := self.skipped_in_a_row) or (n <= config.bad_steps and n < self.total_steps):
            return
        raise UserError(
            f"step {self.step} of {self.total_steps}: the loss is {row['loss']:.4g}, the gradient norm "
            f"{row['grad_norm']:.4g}. {n} step{'s' * (n > 1)} in a row changed nothing for such figures "
            f"(train.bad_steps: {config.bad_steps}). Lower "
            f"train.learning_rate ({config.learning_rate}) or train.clip ({config.clip}), or look at the "
            "examples of these steps."
        )

    def improves(self, step: int, figures: Mapping[str, float]) -> bool:
        """Note the held-out figures of the parameters after a step where their loss is the lowest so far."""
        if not figures["loss"] < self.best.get("figures", {}).get("loss", math.inf):
            return False
        self.best = {"step": step, "figures": dict(figures)}
        return True

    def dump(self) -> dict[str, Any]:
        return dict(vars(self))

    def load(self, numbers: dict[str, Any]) -> None:
        vars(self).update(numbers)

    def summary(self, dropped: int, keep: str) -> TrainSummary:
        rows = {n: [row[n] for row in self.recent if n in row] for row in self.recent for n in row}
        best = self.best if keep == "best" else {}  # none where no held-out loss was a number
        return TrainSummary(
            steps=self.step,
            examples=self.examples,
            tokens=self.tokens,
            dropped=dropped,
            first_loss=self.first_loss,
            last_loss=self.recent[-1]["loss"],
            seconds=self.seconds,
            metrics={n: sum(found) / len(found) for n, found in rows.items() if n not in _NO_MEANS},
            skipped=self.skipped,
            kept_step=best.get("step", self.step),
            held_out=(best or self.held_out).get("figures", {}),
        )
