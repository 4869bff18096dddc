"""Labels that may be wrong: problems that no trajectory solves, while many agree on another answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from rstar_jax.problems.suite import SUITE
from rstar_jax.types import Problem, Tree

FILE = "suspects.jsonl"
_NAMED = 5  # in a note; files and report have all of them
LEAST = 4  # trajectories that agree, and half of all that were graded
Same = Callable[[Problem, str, str], bool]


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A problem whose label may be wrong. votes: of the answer found, among so many graded trajectories."""

    problem: Problem
    found: str
    votes: int
    trajectories: int

    @property
    def line(self) -> str:
        """`aime/3: 384, where 12 of 14 trajectories found 385`."""
        p = self.problem
        return (
            f"{p.id}: {p.answer}, where {self.votes} of {self.trajectories} trajectories found {self.found}"
        )


def unsolved(trees: Sequence[Tree]) -> list[list[Tree]]:
    """The trees of each problem that none of them solves. Problems of the suite are not among them: their
    labels are calculated, and what a model often finds there is its own error."""
    of_problem: dict[str, list[Tree]] = {}
    for tree in trees:
        of_problem.setdefault(tree.problem.id, []).append(tree)
    return [
        group
        for group in of_problem.values()
        if group[0].problem.source != SUITE and not any(tree.solved for tree in group)
    ]


def suspects(groups: Sequence[list[Tree]], same: Same) -> list[Suspect]:
    """Find them among `unsolved` problems. same: whether two answers to a problem are one. Each different
    trajectory counts once. Ones that the grader could not tell of are left aside.
    """
    return [found for group in groups if (found := _suspect(group, same))]


def most_agreed(found: Sequence[Suspect]) -> list[Suspect]:
    """Put those with the most votes first."""
    return sorted(found, key=lambda one: -one.votes)


def note(found: Sequence[Suspect]) -> str:
    """Name the first ones in a sentence."""
    first = "; ".join(one.line for one in found[:_NAMED]) + ("; ..." if len(found) > _NAMED else "")
    what = "1 label" if len(found) == 1 else f"{len(found)} labels"
    return (
        f"{what} to look at: never solved, while many trajectories agree on another answer ({first}); "
        f"curate/{FILE} lists them"
    )


def never_graded(problems: Sequence[str]) -> str:
    """Name in a sentence the first problems that were answered, but never gradably."""
    first = ", ".join(problems[:_NAMED]) + (", ..." if len(problems) > _NAMED else "")
    what = "1 problem has" if len(problems) == 1 else f"{len(problems)} problems have"
    return f"{what} a reference that no answer could be graded against: {first}"


def _suspect(trees: list[Tree], same: Same) -> Suspect | None:
    problem = trees[0].problem
    answers = {
        t.steps: t.answer for tree in trees for t in tree.trajectories() if t.grade == "wrong" and t.answer
    }
    found = _of_half(list(answers.values()), lambda one, other: one == other or same(problem, one, other))
    return Suspect(problem, *found, len(answers)) if found else None


def _of_half(answers: list[str], equal: Callable[[str, str], bool]) -> tuple[str, int] | None:
    """Return the answer that at least half of all are equal to, and LEAST, with their count.

    By Boyer and Moore's vote, as each comparison asks a grader: what half of all agree on is either the last
    one, or what more than half of the others agree on.
    """
    least = max(LEAST, (len(answers) + 1) // 2)
    if len(answers) < least:
        return None
    leader, lead = answers[0], 0
    for answer in answers[:-1]:
        if not lead:
            leader, lead = answer, 1
        else:
            lead += 1 if equal(leader, answer) else -1
    for candidate in dict.fromkeys((leader, answers[-1])):
        agreed, others = [], 0
        for answer in answers:
            if equal(candidate, answer):
                agreed.append(answer)
            elif (others := others + 1) > len(answers) - least:
                break
        else:
            return agreed[0], len(agreed)
    return None


def row(one: Suspect) -> dict[str, Any]:
    """A line of FILE. A person looks through it; the lines that are kept are a file of corrections."""
    return {
        "id": one.problem.id,
        "question": one.problem.question,
        "answer": one.found,
        "label": one.problem.answer,
        "votes": one.votes,
        "trajectories": one.trajectories,
    }
