"""What a search is handed, what it is asked, and what it tells while it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from rstar_jax.errors import UserError
from rstar_jax.types import Candidate, Grade, Problem, StepVerdict


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A node that wants `n` candidate steps.

    steps: the texts from the root's child down to the node. tree, node: with the round and the problem they
    name the randomness, so that a search gives the same trees whatever else is in its batch.
    """

    problem: Problem
    steps: tuple[str, ...]
    tree: int
    node: int
    n: int
    temperature: float


# What an answer is worth while training; an ungraded one has no value.
GRADE_VALUES: dict[str, float] = {"right": 1.0, "wrong": -1.0}

# A request to score: problem, the texts of the steps so far, the new steps' texts.
ScoreRequest = tuple[Problem, tuple[str, ...], list[str]]


@dataclasses.dataclass(frozen=True)
class Functions:
    """The policy, the interpreter, the grader and the PPM, as a search sees them: each called with a batch.

    propose: the candidates of every leaf, at most n each.
    check: the verdict on the last step of every trajectory.
    grade: every answer against its problem's reference; "ungraded" where that could not be found out.
    score: for every request one float array of values in [-1, 1], one for each new step; None without a PPM.
    """

    propose: Callable[[Sequence[Leaf]], list[list[Candidate]]]
    check: Callable[[Sequence[tuple[Problem, tuple[str, ...]]]], list[StepVerdict]]
    grade: Callable[[Sequence[tuple[Problem, str]]], list[Grade]]
    score: Callable[[Sequence[ScoreRequest]], list[np.ndarray]] | None = None


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """One search of each problem.

    rollouts: of a tree; whole trajectories where the strategy has no tree.
    escalation: larger totals that a tree without a right answer goes on to, one after the other, as
        "16, then 64, then 128" of arXiv 2501.04519, section 3.4; only where answers are graded.
    candidates: steps proposed at an expansion. max_depth: most steps of a trajectory.
    c: weight of the exploration bonus. batch: trees searched at a time.
    unvisited: what a child without visits is worth, a row of `uct.UNVISITED`.
    released_code: the rules of the authors' released code where they differ (`search/rules.py`).
    """

    rollouts: int = 16
    escalation: tuple[int, ...] = ()
    candidates: int = 8
    max_depth: int = 16
    temperature: float = 1.0
    c: float = 2.0
    batch: int = 256
    unvisited: Literal["value", "first"] = "value"
    released_code: bool = False

    def __post_init__(self) -> None:
        for name in ("rollouts", "candidates", "max_depth", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"search.{name}: {getattr(self, name)} given, at least 1 expected.")
        for name in ("temperature", "c"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"search.{name}: {getattr(self, name)} given, a number from 0 up expected.")
        totals = (self.rollouts, *self.escalation)
        if list(totals) != sorted(set(totals)):
            raise UserError(
                f"search.escalation: {self.escalation} given, growing totals above rollouts "
                f"({self.rollouts}) expected, such as (64, 128)."
            )


@dataclasses.dataclass(frozen=True)
class WaveStats:
    """How far a search is: counts since its start, all problems together.

    trajectories: answers reached and valued. nodes: made, failed ones included.
    """

    problems: int
    problems_done: int
    rollouts: int
    trajectories: int
    nodes: int
    waves: int


OnWave = Callable[[WaveStats], None]
