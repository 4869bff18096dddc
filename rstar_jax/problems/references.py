"""The suite's own solutions of given problems, for whoever measures a policy on text that no policy wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rstar_jax.problems.family import Split
from rstar_jax.problems.suite import FAMILIES, SUITE, drawn
from rstar_jax.problems.worked import clean_solution
from rstar_jax.types import Problem


def reference_solutions(problems: Sequence[Problem], *, seed: int, split: Split) -> Mapping[str, list[str]]:
    """Return the steps of the right solution of each suite problem, output and answer included, by its id.

    seed: with which the problems were drawn; of those that another seed draws under the same id there is no
    solution, nor of problems of other sources.
    """
    asked = {problem.id: problem.question for problem in problems if problem.source == SUITE}
    numbers = [int(number) for id in asked if (number := id.rpartition("/")[2]).isdecimal()]
    if not numbers:
        return {}
    # Levels in turn, families in turn: problem N of a family is drawn within so many.
    count = (max(numbers) + 1) * 3 * len(FAMILIES)
    found = dict[str, list[str]]()
    for problem, instance in drawn(count, seed=seed, split=split):
        if asked.get(problem.id) == problem.question:
            found[problem.id] = clean_solution(instance)
            if len(found) == len(asked):
                break
    return found
