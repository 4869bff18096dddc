"""Samples of which the truth of every step is known: the suite's solutions, and trajectories of a search."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from rstar_jax import parquet, records
from rstar_jax.errors import UserError
from rstar_jax.evaluate.judge.samples import JudgeSample
from rstar_jax.problems.known_errors import PROBES, Solution, right_solution, wrong_solutions
from rstar_jax.problems.suite import drawn
from rstar_jax.types import Problem, Tree

RIGHT, WRONG = "right", "wrong"  # kinds; with " + PROBE" behind them, the same with other words


def suite_samples(count: int, seed: int) -> Iterator[JudgeSample]:
    """The solutions of so many held-out problems of the suite: of each the right one, the wrong ones, and the
    right one and a wrong one with the changes of `PROBES`."""
    for problem, instance in drawn(count, seed=seed, split="heldout"):
        yield _sample(problem, right_solution(instance), RIGHT)
        wrong = wrong_solutions(instance)
        for solution in wrong:
            yield _sample(problem, solution, WRONG)
        for probe in PROBES:
            yield _sample(problem, right_solution(instance, probe), f"{RIGHT} + {probe}")
            if wrong:
                # Which one: not always that of the first step, whose program is wrong in all that follows.
                chosen = int(hashlib.sha256(problem.id.encode()).hexdigest(), 16) % len(wrong)
                yield _sample(problem, wrong_solutions(instance, probe)[chosen], f"{WRONG} + {probe}")


def _sample(problem: Problem, solution: Solution, kind: str) -> JudgeSample:
    errors = () if solution.first_error < 0 else (solution.first_error,)
    place = f"/{solution.first_error}" if errors else ""
    return JudgeSample(
        id=f"{problem.id}/{kind}{place}",
        part=f"level{problem.level}",
        problem=problem.id,
        question=problem.question,
        steps=solution.steps,
        errors=errors,
        kind=kind,
    )


def _trees(file: Path) -> list[Tree]:
    try:
        return parquet.read_rows(file, Tree)
    except records.Damaged as error:  # whose own words are a run's
        raise UserError(
            f"config.trees: {file}: damaged ({error.why}). It stays as it is: put it back as it was, or let "
            "its run's own command search again."
        ) from error


def trajectory_samples(folder: Path, limit: int = 0) -> Iterator[JudgeSample]:
    """The graded trajectories of a search, each step with the value that its rollouts verified (Q).

    folder: of a run's stage, roundN/search. limit: so many trajectories of each tree, the first; 0: all.
    Raises UserError where there are none, and for a damaged file.
    """
    found = False
    for file in sorted(folder.glob("trees-*.parquet")):
        for tree in _trees(file):
            ways = [way for way in tree.trajectories() if way.grade != "ungraded"]
            for number, way in enumerate(ways[: limit or None]):
                found = True
                wrong = next((i for i, q in enumerate(way.q) if q < 0), len(way.q) - 1)
                yield JudgeSample(
                    id=f"{tree.problem.id}/{tree.tree_index}/{number}",
                    part=f"level{tree.problem.level}" if tree.problem.level else "all",
                    problem=tree.problem.id,
                    question=tree.problem.question,
                    steps=way.steps,
                    errors=() if way.grade == "right" else (wrong,),
                    kind=RIGHT if way.grade == "right" else WRONG,
                    q=way.q,
                )
    if not found:
        raise UserError(
            f"config.trees: {folder}: no graded trajectories in trees-*.parquet there; the folder of a "
            "finished search expected, such as RUN/round1/search."
        )
