"""Given solutions, run step by step: the interpreter's part is added, what does not hold is left out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from rstar_jax.data.rows import Given
from rstar_jax.tasks.checker import Checker
from rstar_jax.text.boxed import boxed
from rstar_jax.text.grammar import Grammar
from rstar_jax.types import SftRow, StepVerdict

_WHOLE = re.compile(r"(-?\d+)\.0")  # what a division of whole numbers prints


@dataclasses.dataclass(frozen=True)
class Executed:
    """A row to train on, or None and why it is lost."""

    row: SftRow | None
    lost: str = ""


def executed(given: Sequence[Given], checker: Checker) -> list[Executed]:
    """Each given row as it is to be learnt, in order; all programs of a call run together.

    A converted working is run step by step and gets its output and its answer, which is graded against the
    reference: it is kept only if every step lives and the answer is right. A solution in the task's grammar
    is kept as it is, right or wrong; where its code has ended and no output stands there, it is run for that.
    """
    grammar = checker.task.grammar
    asked = [
        [row.row.steps[:end] for end in range(1, len(row.row.steps) + 1) if _to_run(row, end, grammar)]
        for row in given
    ]
    requests = [(row.problem, steps) for row, each in zip(given, asked, strict=True) for steps in each]
    verdicts = iter(checker.check(requests))
    found = [
        _ran(row, [next(verdicts) for _ in each], grammar) for row, each in zip(given, asked, strict=True)
    ]
    converted = [
        (i, given[i].problem, boxed(result.row.steps[-1]) or "")
        for i, result in enumerate(found)
        if result.row and given[i].converted
    ]
    grades = checker.grade([(problem, answer) for _, problem, answer in converted])
    for (i, _, _), grade in zip(converted, grades, strict=True):
        if grade != "right":
            found[i] = Executed(None, f"its answer is {grade}")
    return found


def _to_run(given: Given, end: int, grammar: Grammar) -> bool:
    """Return whether the steps up to `end` have to be run: all of a conversion, and what lacks its output."""
    if given.converted:
        return True
    *before, step = given.row.steps[:end]
    lacks = grammar.finish_of(step) == "code" and not grammar.split_tool(step)[1]
    return lacks and not any(grammar.finish_of(earlier) == "code" for earlier in before)


def _ran(given: Given, verdicts: Sequence[StepVerdict], grammar: Grammar) -> Executed:
    if given.lost:
        return Executed(None, given.lost)
    if failed := next((verdict for verdict in verdicts if not verdict.alive), None):
        return Executed(None, f"a step fails: {failed.detail or failed.status}")
    if not verdicts:
        return Executed(given.row)
    written = verdicts[-1]
    steps = [written.text if grammar.finish_of(step) == "code" else step for step in given.row.steps]
    if given.converted:
        whole = _WHOLE.fullmatch(written.observation)
        answer = whole[1] if whole else written.observation
        steps.append(grammar.answered(f"The answer is \\boxed{{{answer}}}"))
    return Executed(dataclasses.replace(given.row, steps=tuple(steps)))
