"""Options of curation."""

from __future__ import annotations

import dataclasses
from typing import Literal

from rstar_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class CurateConfig:
    """The defaults are the paper's; the released code has min_margin 0.5, min_edits 20, weight "node".

    trajectories_per_problem: right trajectories kept for the policy, and of each side for pairs of whole
        ones.
    pairs: which children of a node are compared, a row of PAIRS.
    min_margin: least difference of Q of a pair, [0, 2]; it is always more than 0. min_edits: least number of
        edited characters between the sides of a pair.
    weight: what a pair counts in training: "uniform" (1), or "node": 1 / (positives x negatives), so that
        every node counts the same.
    dead_as_wrong: whether a step that failed counts as leading to a wrong answer; one of which the sandbox
        could not tell never does.
    """

    trajectories_per_problem: int = 2
    pairs: Literal["paper", "reference_code"] = "paper"
    min_margin: float = 0.0
    min_edits: int = 0
    weight: Literal["uniform", "node"] = "uniform"
    dead_as_wrong: bool = False

    def __post_init__(self) -> None:
        if self.trajectories_per_problem < 1:
            raise UserError(
                f"curate.trajectories_per_problem: {self.trajectories_per_problem} given, "
                "at least 1 expected."
            )
        if not 0 <= self.min_margin <= 2:
            raise UserError(f"curate.min_margin: {self.min_margin} given, a number from 0 to 2 expected.")
        if self.min_edits < 0:
            raise UserError(f"curate.min_edits: {self.min_edits} given, at least 0 expected.")
