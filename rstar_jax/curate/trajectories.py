"""Trajectories of a problem: which are best, and what they say of it (arXiv 2501.04519, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rstar_jax.types import Trajectory

Difficulty = Literal["easy", "medium", "hard"]


def mean_q(trajectory: Trajectory) -> float:
    """Mean Q over the steps of a trajectory, [-1, 1]."""
    return sum(trajectory.q) / len(trajectory.q)


def ranked(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Sort by mean Q downwards; ties by the lowest Q of a step, then the earlier first (the released
    code)."""
    return sorted(trajectories, key=lambda t: (-mean_q(t), -min(t.q)))


def distinct(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """The best of each text, in the order found."""
    best: dict[tuple[str, ...], Trajectory] = {}
    for t in trajectories:
        if t.steps not in best or mean_q(t) > mean_q(best[t.steps]):
            best[t.steps] = t
    return list(best.values())


def shows_error(trajectory: Trajectory) -> bool:
    """Return whether the text mentions an error, in any case: such solutions are not taught (the released
    code)."""
    return any("error" in step.lower() for step in trajectory.steps)


def difficulty(trajectories: Sequence[Trajectory]) -> Difficulty:
    """easy: all graded trajectories right; medium: some; hard: none (section 3.4)."""
    graded = [t.grade == "right" for t in trajectories if t.grade != "ungraded"]
    if not any(graded):
        return "hard"
    return "easy" if all(graded) else "medium"


def doubtful(trajectories: Sequence[Trajectory]) -> bool:
    """Return whether under half of the graded trajectories agree with the label: a synthetic one may be
    wrong."""
    graded = [t.grade == "right" for t in trajectories if t.grade != "ungraded"]
    return 2 * sum(graded) < len(graded)
