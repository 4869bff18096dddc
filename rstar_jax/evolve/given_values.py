"""Values of steps that a user gives to train a PQM on: rows of values, or labels on steps (docs/DATA.md).

a round's curate/values.parquet                    StepValues, as they are
{"question", "steps", "values"}                    a number from -1 to 1 for each step
{"prompt", "completions", "labels"} and the like   labels on steps are their values (`step_labels.py`)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rstar_jax.curate import StepValues
from rstar_jax.data import objectives, step_labels
from rstar_jax.data.authors import Frame
from rstar_jax.data.examples import LEAST_WEIGHT, MOST_WEIGHT, Tally, read_examples
from rstar_jax.data.form import content_id
from rstar_jax.data.step_labels import Labelled, contrasts, in_grammar, mean, steps_by_place
from rstar_jax.data.tables import Place, require_text, require_whole, shown
from rstar_jax.errors import UserError
from rstar_jax.tasks.task import Task
from rstar_jax.text.grammar import Grammar
from rstar_jax.types import PreferencePair

FORMS = (
    "StepValues (a round's curate/values.parquet), {question, steps, values} (from -1 to 1), {prompt, "
    "completions, labels} (TRL), {question: {problem}, label: {steps}} (PRM800K), {input, label} "
    "(Math-Shepherd), or trees: {question, answer, rstar} (the authors'), an export's trees, a run's "
    "search/trees-*.parquet"
)


def read_values(
    files: Sequence[Path], task: Task, tally: Tally, on_read: Callable[[int], None] = lambda _: None
) -> Iterator[StepValues]:
    """Yield the values of files, as `read_examples`; those that unweighted rows tell are labels', too."""
    frame = Frame.of(task)
    return read_examples(
        files,
        FORMS,
        lambda row, place: _read(row, place, frame),
        lambda solutions: values_of(solutions, task.grammar),
        tally,
        on_read,
    )


def _read(row: dict[str, Any], place: Place, frame: Frame) -> Iterable[StepValues | Labelled]:
    if {key for key, value in row.items() if value is not None} >= step_labels.VALUED:
        return [_valued(row, place)]
    if (labelled := step_labels.solutions_in(row, place, frame)) is not None:
        return labelled
    raise UserError(f"{place}: {objectives.other_than('values of steps', row)} Known are: {FORMS}.")


def _valued(row: dict[str, Any], place: Place) -> StepValues | Labelled:
    """A row of values as it is, or, without weights, to be laid over the others of its question."""
    question, steps = row["question"], row["steps"]
    if not isinstance(question, str) or not question.strip():
        raise UserError(f"{place}: question is {shown(question)}, text expected.")
    known = isinstance(steps, list) and all(isinstance(step, str) and step.strip() for step in steps)
    if not known or not steps:
        raise UserError(f"{place}: steps is {shown(steps)}, a list of step texts expected.")
    for name, text in (("question", question), *(("steps", step) for step in steps)):
        require_whole(place, name, text)
        require_text(place, name, text, code=name == "steps")
    values = _numbers(row["values"], "values", len(steps), (-1.0, 1.0), place)
    if row.get("weights") is None:
        return Labelled(question, tuple(steps), values, whole=False)
    weights = _numbers(row["weights"], "weights", len(steps), (0.0, MOST_WEIGHT), place)
    if small := [weight for weight in weights if 0 < weight < LEAST_WEIGHT]:
        raise UserError(f"{place}: weights has {small[0]}, 0 or a number from {LEAST_WEIGHT:g} on expected.")
    number, name = row.get("round") or 0, row.get("problem_id") or content_id(question)
    if type(number) is not int or abs(number) >= 2**63:
        raise UserError(f"{place}: round is {shown(number)}, a whole number of 64 bits expected.")
    if not isinstance(name, str):
        raise UserError(f"{place}: problem_id is {shown(name)}, text expected.")
    require_whole(place, "problem_id", name)
    return StepValues(name, question, tuple(steps), values, weights, number)


def _numbers(found: Any, name: str, count: int, room: tuple[float, float], place: Place) -> tuple[float, ...]:
    """Numbers in a room, one for each step. Raises UserError naming the first that is none."""
    low, high = room
    if not isinstance(found, list) or len(found) != count:
        raise UserError(f"{place}: {name} is {shown(found)}, a number for each of {count} steps expected.")
    for one in found:
        number = isinstance(one, int | float) and not isinstance(one, bool)
        if not number or not low <= one <= high:
            raise UserError(f"{place}: {name} has {shown(one)}, a number from {low:g} to {high:g} expected.")
    return tuple(map(float, found))


def values_of(solutions: Sequence[Labelled], grammar: Grammar) -> list[StepValues]:
    """The values in labelled solutions of one question: of each step the mean of its labels, learnt in the
    first solution that has it."""
    places, learnt = steps_by_place(solutions, grammar), set[tuple[str, ...]]()
    found = list[StepValues]()
    for solution in dict.fromkeys(one.steps for one in in_grammar(solutions, grammar)):
        ways = [solution[: i + 1] for i in range(len(solution))]
        weights = tuple(float(way not in learnt) for way in ways)
        learnt.update(ways)
        if any(weights):
            values = tuple(mean(places[way[:-1]][way[-1]]) for way in ways)
            question = solutions[0].question
            found.append(StepValues(content_id(question), question, solution, values, weights, 0))
    return found


def contrasts_in(rows: Iterable[StepValues]) -> Iterator[PreferencePair]:
    """Yield the pairs of steps in values, to which a PQM is held though it learns none; rows of a question
    that stand together are laid over each other."""
    for (_, question), group in itertools.groupby(rows, lambda row: (row.round, row.question)):
        places = dict[tuple[str, ...], dict[str, float]]()
        for row in group:
            for i, (step, value) in enumerate(zip(row.steps, row.values, strict=True)):
                if row.weights[i]:
                    places.setdefault(row.steps[:i], {})[step] = value
        yield from contrasts(question, places)
