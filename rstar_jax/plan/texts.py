"""Amount of text that a run's searches hold at a time, by its own prompts; sizes caches and estimates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from rstar_jax.search.config import SearchConfig
from rstar_jax.search.strategies import STRATEGIES
from rstar_jax.types import Problem

SAMPLE = 100  # problems whose prompts are looked at
STEP, STEPS = 80, 8  # tokens of a step, steps of a solution: of competition level, where there is the room
# Of a rollout's steps that are expanded for it: the others were there before. 32 GSM8K problems by 8 rollouts
# of 4 wrote less than half of that, as most trajectories of an untrained model end early.
FRESH = 1 / 2
# Of the tokens that rollouts might write side by side, those that are gone back to: of fresh ones half, as
# candidates that fail are not kept.
KEPT = FRESH / 2


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Tokens of the prompts of some problems."""

    shortest: int
    mean: int
    longest: int

    @classmethod
    def of(cls, problems: Sequence[Problem], tokens: Callable[[Problem], int]) -> Prompts | None:
        """Measure evenly spaced problems, SAMPLE at most; None without any. tokens: of a problem's prompt."""
        some = problems[:: max(1, len(problems) // SAMPLE)][:SAMPLE]
        lengths = [tokens(problem) for problem in some]
        return cls(min(lengths), round(sum(lengths) / len(lengths)), max(lengths)) if lengths else None

    def solution(self, context: int) -> int:
        """Tokens of a whole solution behind a prompt: STEPS of STEP, or what the context leaves."""
        return max(1, min(STEP * STEPS, context - self.mean))


@dataclasses.dataclass(frozen=True)
class Solutions:
    """Sizes of solutions that are known. step: tokens of a step. steps: of a solution. rows: solutions learnt
    of a solved problem. most: expansions of a problem, 0: no end. solved: share of problems with a solution,
    None where that is not known."""

    step: float
    steps: float
    rows: float = 2
    most: float = 0
    solved: float | None = None


def demand(searches: Iterable[tuple[SearchConfig, int, Prompts | None]], context: int) -> int:
    """Tokens of text that the trees in flight of the largest of some searches go back to.

    searches: options, problems, and their prompts. context: tokens of the longest text.
    """
    most = 0
    for config, problems, prompts in searches:
        if prompts is not None:
            # Paths that share no step are gone back to whole; beams are about as broad as the rollouts of a
            # tree.
            paths = STRATEGIES[config.strategy].paths(config)
            beside = float(paths or KEPT * config.rollouts * config.candidates)
            beside *= config.searches if config.strategy == "mcts_repeated" else 1
            tree = prompts.mean + int(max(1.0, beside) * prompts.solution(context))
            most = max(most, min(config.batch, problems) * tree)
    return most
