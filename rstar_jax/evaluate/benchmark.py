"""Answers out of trees, and their accuracy against the references."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rstar_jax.search import votes
from rstar_jax.types import Grade, Problem, Tree


def only_answer(tree: Tree) -> str | None:
    """The answer of a tree that is one path; None if it died on the way."""
    return next((node.answer for node in tree.nodes if node.status == "answer"), None)


def final_answer(
    tree: Tree, vote: str, top_k: int, equal: Callable[[str, str], bool], scores: str = "last"
) -> str | None:
    """A search's answer by a named vote (search/votes.py); None if no trajectory ended in one."""
    return votes.final_answer(tree, vote, top_k=top_k, equal=equal, scores=scores)


def graded(
    problems: Sequence[Problem],
    answers: Sequence[str | None],
    grade: Callable[[Sequence[tuple[Problem, str]]], list[Grade]],
) -> list[Grade | None]:
    """The grade of every problem's answer, all judged in one call; None where there is no answer."""
    given = [(p, a) for p, a in zip(problems, answers, strict=True) if a is not None]
    grades = iter(grade(given) if given else [])
    return [None if answer is None else next(grades) for answer in answers]


def accuracy(problems: Sequence[Problem], grades: Sequence[Grade | None]) -> dict[str, float | None]:
    """Share graded right of all problems, 0 to 1, as `by_level` gives it.

    A problem without an answer counts as not right, and so does an ungraded answer: the share is a lower
    bound, and whoever states it counts the ungraded beside it.
    """
    return by_level([p.level for p in problems], [grade == "right" for grade in grades])


def by_level(levels: Sequence[int], right: Sequence[bool]) -> dict[str, float | None]:
    """Share of right ones, 0 to 1, in "all", "level1" to "level3" and whatever further levels there are.

    None where there is none; problems of level 0 (unknown) count in "all" alone.
    """
    shares: dict[str, float | None] = {"all": _mean(right)}
    for level in sorted({1, 2, 3} | set(levels) - {0}):
        shares[f"level{level}"] = _mean([r for of, r in zip(levels, right, strict=True) if of == level])
    return shares


def _mean(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None
