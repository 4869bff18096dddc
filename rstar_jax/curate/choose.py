"""Rows, pairs and values from all trees of a round."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from rstar_jax.curate.config import CurateConfig
from rstar_jax.curate.pairs import PAIRS, fault, final_pairs
from rstar_jax.curate.trajectories import (
    Difficulty,
    difficulty,
    distinct,
    doubtful,
    mean_q,
    ranked,
    shows_error,
)
from rstar_jax.curate.values import StepValues, step_values
from rstar_jax.types import PreferencePair, SftRow, Trajectory, Tree

# What a reward model learns: preferences of steps, a regression of their Q, preferences of whole solutions.
Reward = Literal["ppm", "pqm", "orm"]


@dataclasses.dataclass(frozen=True)
class Curated:
    """sft, pairs, values: what to learn; values for a PQM alone. difficulty: by problem id. dropped: why, and
    how many."""

    sft: list[SftRow]
    pairs: list[PreferencePair]
    values: list[StepValues]
    difficulty: dict[str, Difficulty]
    dropped: dict[str, int]


@dataclasses.dataclass(frozen=True)
class _Group:
    """The trees of one problem. best: right trajectories that are taught; worst: as many of the wrong."""

    trees: Sequence[Tree]
    best: Sequence[Trajectory]
    worst: Sequence[Trajectory]


def curate(trees: Iterable[Tree], config: CurateConfig, round: int, reward: Reward = "ppm") -> Curated:
    """Chooses rows and pairs from all trees of a round; the trees of a problem are taken together.

    reward: which reward model learns from them: for an "orm" pairs are of whole trajectories alone, for a
    "pqm" there are values, too.
    Reasons in `dropped`: "error" and "duplicate" count right trajectories, "synthetic" counts problems,
    "margin" and "edits" count pairs.
    """
    of_problem: dict[str, list[Tree]] = {}
    for tree in trees:
        of_problem.setdefault(tree.problem.id, []).append(tree)
    curated, dropped = Curated([], [], [], {}, {}), Counter[str]()
    for problem_id, trees_of_it in of_problem.items():
        problem, found = trees_of_it[0].problem, [t for tree in trees_of_it for t in tree.trajectories()]
        curated.difficulty[problem_id] = difficulty(found)
        if problem.synthetic and doubtful(found):
            dropped["synthetic"] += 1
            continue
        right = [t for t in found if t.grade == "right"]
        sound = [t for t in right if not shows_error(t)]
        best = ranked(distinct(sound))[: config.trajectories_per_problem]
        dropped["error"] += len(right) - len(sound)
        dropped["duplicate"] += len(sound) - len(distinct(sound))
        for t in best:
            row = SftRow(problem_id, problem.question, t.steps, mean_q(t), min(t.q), round, t.token_ids)
            curated.sft.append(row)
        wrong = distinct([t for t in found if t.grade == "wrong"])
        worst = sorted(wrong, key=mean_q)[: config.trajectories_per_problem]
        group = _Group(trees_of_it, best, worst)
        for pair in _PAIRS_OF[reward](group, config, round):
            if reason := fault(pair, config):
                dropped[reason] += 1
            else:
                curated.pairs.append(pair)
        if reward == "pqm":
            curated.values.extend(row for tree in trees_of_it for row in step_values(tree, config, round))
    curated.dropped.update({reason: count for reason, count in dropped.items() if count})
    return curated


def _of_steps(group: _Group, config: CurateConfig, round: int) -> list[PreferencePair]:
    pairs = [pair for tree in group.trees for pair in PAIRS[config.pairs](tree, config, round)]
    return pairs + _of_wholes(group, config, round) if config.pairs == "paper" else pairs


def _of_wholes(group: _Group, config: CurateConfig, round: int) -> list[PreferencePair]:
    return final_pairs(group.trees[0].problem, group.best, group.worst, config, round)


# A PQM learns no pairs, but is held to them.
_PAIRS_OF: dict[Reward, Callable[[_Group, CurateConfig, int], list[PreferencePair]]] = {
    "ppm": _of_steps,
    "pqm": _of_steps,
    "orm": _of_wholes,
}
