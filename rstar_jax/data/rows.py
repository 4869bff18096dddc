r"""Solutions that a user gives to train on, from any file of `tables.py`, whose rows may be of several forms.

    a round's curate/sft.parquet           SftRows, as they are
    {"question", "steps": [...]}           step texts of the task's grammar
    {"question", "solution": "..."}        their concatenation
    {"question", "answer": "... #### 72"}  GSM8K's own form: a working, to be converted (`gsm8k.py`)
    {"problem", "solution", "answer"}      the same with the answer by itself
    {"query", "response"}                  the authors' rstar_sft: question and solution
    {"messages": [{"role", "content"}]}    a chat: of its user, and of its assistant

Trees, of which solutions are chosen, are read by `tree_files.py`.
"problem" and "question" are the same; "id" is optional; null is absent. A row of another form, or with steps
that are none, is a UserError that names file and line; a working that cannot be converted is counted by its
reason. What is read here has not been run: that is for `executed.py`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rstar_jax import parquet
from rstar_jax.data import gsm8k, objectives
from rstar_jax.data.tables import OnBad, Place, raise_it, read_objects, require_text, shown, unfit
from rstar_jax.errors import UserError
from rstar_jax.tasks.task import Task
from rstar_jax.text.grammar import Grammar
from rstar_jax.types import Problem, SftRow, StepVerdict

_TOLD_EVERY = 64  # rows
FORMS = (
    "question (or problem, query) with steps, solution (or response) or GSM8K's answer; messages of a user "
    "and an assistant; trees: question and rstar"
)
# What others call it.
_NAMES = {"query": "question", "response": "solution"}


@dataclasses.dataclass(frozen=True)
class Given:
    """One row. row: the solution, its output and answer missing where `converted`, its steps empty where
    `lost` says why there are none. problem: with the reference answer, empty where the row has none.
    converted: whether the steps were made of a working, and none was ever run."""

    row: SftRow
    problem: Problem
    converted: bool = False
    lost: str = ""


def read_given(
    path: Path,
    task: Task,
    *,
    limit: int = 0,
    on_read: Callable[[int], None] | None = None,
    on_bad: OnBad = raise_it,
) -> list[Given]:
    """The rows of a file, the first `limit` of them if that is not 0. task: whose steps they hold. on_read:
    told now and then how many were read and converted. on_bad: told of file and line of a bad row, and
    raises, or has it passed over.

    Raises UserError naming the file where it holds no row.
    """
    found = (_sft_rows if parquet.is_of(path, SftRow) else _objects)(path, task, on_bad)
    given = list[Given]()
    for row in itertools.islice(found, limit or None):
        given.append(row)
        if on_read is not None and len(given) % _TOLD_EVERY == 0:
            on_read(len(given))
    if on_read is not None:
        on_read(len(given))
    if not given:
        raise UserError(f"{path}: no rows in it; one JSON object a line expected, {FORMS}.")
    return given


def _sft_rows(path: Path, task: Task, on_bad: OnBad) -> Iterator[Given]:
    for number, row in enumerate(parquet.read_rows(path, SftRow), start=1):
        try:
            found = given_row(row, task, Place(path, "row", number))
        except UserError as error:
            on_bad(unfit(error))
        else:
            yield found


def given_row(row: SftRow, task: Task, place: Place) -> Given:
    """Take a row as it is. Raises UserError naming its place where it holds no steps of the task."""
    _text({"question": row.question}, place, "question")
    _require_texts(list(row.steps), place)
    problem = Problem(row.problem_id, row.question, "")
    _require_steps(row.steps, problem, task, place)
    for name in ("mean_q", "min_q"):
        value: float | None = getattr(row, name)
        if value is None or not -1 <= value <= 1:
            raise UserError(f"{place}: {name} is {value}, a number from -1 to 1 expected.")
    if any(i is None for ids in row.token_ids for i in ids):
        raise UserError(f"{place}: token_ids hold a null; whole numbers, or no ids at all, expected.")
    if row.token_ids and len(row.token_ids) != len(row.steps):
        raise UserError(
            f"{place}: token_ids of {len(row.token_ids)} steps given, but it has {len(row.steps)}; those "
            "of each step, or none at all, expected."
        )
    return Given(row, problem)


def _objects(path: Path, task: Task, on_bad: OnBad) -> Iterator[Given]:
    for place, row in read_objects(path, FORMS, on_bad):
        name = str(row.get("id") or row.get("problem_id") or f"{path.stem}/{place.number}")
        try:
            found = _given(row, task, place, name)
        except UserError as error:
            on_bad(unfit(error))
        else:
            yield found


def _given(row: dict[str, Any], task: Task, place: Place, name: str) -> Given:
    if objectives.is_of_another_job(row):
        raise UserError(f"{place}: {objectives.other_than('solutions', row)} Known are: {FORMS}.")
    row = {key: value for key, value in row.items() if value is not None}  # a table has all columns in each
    row = {key if (new := _NAMES.get(key, key)) in row else new: value for key, value in row.items()}
    if "messages" in row and "question" not in row:
        row |= _conversation(row["messages"], place)
    question = _text(row, place, "question" if "question" in row else "problem")
    grammar, answer = task.grammar, row.get("answer", "")
    reference = str(answer)
    if (graded := row.get("grade")) in ("wrong", "ungraded"):  # of an export's trajectories
        problem = Problem(name, question, reference)
        return Given(_row(problem, ()), problem, lost=f"a trajectory that is {graded}")
    if "steps" in row:
        steps = row["steps"]
        _require_texts(steps, place)
        for step in steps:
            require_text(place, "steps", step, code=True)
        return _solution(Problem(name, question, reference), steps, task, place)
    if "solution" not in row:
        working, reference = gsm8k.reference(_text(row, place, "answer", f"{FORMS} are"))
        if not reference:
            raise UserError(
                f"{place}: answer is {shown(answer)}: a working that ends in '#### ANSWER' expected, as "
                "there is no solution and there are no steps."
            )
        return _working(Problem(name, question, reference), working, grammar)
    solution = _text(row, place, "solution")
    if any(mark in solution for mark in (grammar.opening, *grammar.stops) if mark):
        return _solution(Problem(name, question, reference), grammar.parse(solution), task, place)
    working, stated = gsm8k.reference(solution)
    if not (stated or reference):
        raise UserError(
            f"{place}: solution has no step of our grammar ({_form(grammar)}), and for a "
            "working to be converted an answer is missing, in the key answer or behind '####'."
        )
    return _working(Problem(name, question, reference or stated), working, grammar)


def _conversation(messages: Any, place: Place) -> dict[str, str]:
    """The question and the solution of a chat of two; what a system says beside them is passed over."""
    known = isinstance(messages, list) and all(isinstance(one, dict) for one in messages)
    said = [one for one in messages if one.get("role") != "system"] if known else []
    if [one.get("role") for one in said] != ["user", "assistant"]:
        raise UserError(
            f"{place}: messages is {shown(messages)}; one of a user and one of an assistant, each with role "
            "and content, expected."
        )
    return {"question": said[0].get("content", ""), "solution": said[1].get("content", "")}


def _solution(problem: Problem, steps: Sequence[str], task: Task, place: Place) -> Given:
    _require_steps(steps, problem, task, place)
    return Given(_row(problem, steps), problem)


def _working(problem: Problem, working: str, grammar: Grammar) -> Given:
    steps, lost = [], ""
    try:
        bodies = gsm8k.convert(problem.question, working, problem.answer, grammar)
        steps = grammar.render(bodies)
    except gsm8k.NotConverted as why:
        lost = str(why)
    return Given(_row(problem, steps), problem, converted=True, lost=lost)


def _row(problem: Problem, steps: Sequence[str]) -> SftRow:
    return SftRow(problem.id, problem.question, tuple(steps), mean_q=1.0, min_q=1.0, round=0)


def _require_texts(steps: Any, place: Place) -> None:
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise UserError(f"{place}: steps is {shown(steps)}, a list of step texts expected.")


def _require_steps(steps: Sequence[str], problem: Problem, task: Task, place: Place) -> None:
    """Refuses texts that no policy may write: to train on them teaches a form that is thrown away."""
    if not steps:
        raise UserError(f"{place}: no steps; at least one expected.")
    for i in range(len(steps)):
        written = task.grammar.split_tool(steps[i])[0]
        found = task.step(problem, (*steps[:i], written))
        why = found.detail if isinstance(found, StepVerdict) and not found.alive else ""
        if i and task.grammar.finish_of(steps[i - 1]) == "answer":
            why = "a step after the answer"
        if why:
            raise UserError(
                f"{place}: step {i + 1} of {len(steps)} is malformed ({why}): {shown(steps[i])}. The task's "
                f"steps have the form {_form(task.grammar)}; an answer is the last step."
            )


def _form(grammar: Grammar) -> str:
    """`<code> ... <end_of_step>, <end_of_code> or <end_of_answer>`, for messages."""
    *stops, last = grammar.stops
    ends = f"{', '.join(stops)} or {last}" if stops else last
    return f"{grammar.opening} ... {ends}".strip()


def _text(row: dict[str, Any], place: Place, key: str, expected: str = "text") -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        what = f"no '{key}'" if value is None else f"{key} is {shown(value)}"
        raise UserError(f"{place}: {what}; {expected} expected. Rows hold {FORMS}.")
    require_text(place, key, value, code=key == "solution")
    return value
