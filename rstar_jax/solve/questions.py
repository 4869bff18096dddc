"""Questions: the one of the command line, or those of a file, of which each has an id of its own."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rstar_jax.data.form import content_id
from rstar_jax.data.problem_set import StoredProblems
from rstar_jax.data.tables import Place, read_objects, require_text, shown
from rstar_jax.errors import UserError
from rstar_jax.settings import home_expanded
from rstar_jax.types import Problem


class Questions:
    """Problems by index, and by id.

    problems: in the order of the file. A question without its answer has "" there.
    """

    def __init__(self, problems: StoredProblems, keys: array[int]) -> None:
        self.problems = problems
        self._keys = np.frombuffer(keys, np.uint64)  # 8 bytes a question: there may be a million
        self._order = np.argsort(self._keys, kind="stable")

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> Questions:
        """These problems."""
        return cls(StoredProblems(problems), array("Q", [_key(problem.id) for problem in problems]))

    def __len__(self) -> int:
        return len(self.problems)

    def place(self, name: str) -> int | None:
        """The index of the question with this id; None if there is none."""
        key = np.uint64(_key(name))
        at = int(np.searchsorted(self._keys, key, sorter=self._order))
        found = int(self._order[at]) if at < len(self) else -1
        return found if found >= 0 and self.problems[found].id == name else None

    def require_distinct(self) -> None:
        """Refuse questions of one id. Raises UserError naming both rows."""
        ordered = self._keys[self._order]
        for at in np.flatnonzero(ordered[1:] == ordered[:-1]):
            first, second = sorted((int(self._order[at]), int(self._order[at + 1])))
            problem, where = self.problems[second], self.problems.place(first).short
            if problem.id == content_id(problem.question):
                raise UserError(
                    f"{self.problems.place(second)}: asks what {where} does. Leave one out, or give each an "
                    "'id' of its own to have both searched."
                )
            raise UserError(
                f"{self.problems.place(second)}: id {shown(problem.id)} is already that of {where}. Give "
                "each question an id of its own."
            )


def read_questions(path: str, require: Callable[[Problem], None]) -> Questions:
    """Read rows {question[, id, answer]}; other keys are left alone. require: raises UserError for a problem
    that the task cannot check.

    Raises UserError naming file and line of a row that is no such object, or whose id another has.
    """
    problems, keys, file = StoredProblems(), array("Q"), home_expanded(Path(path), "config.questions")
    if not file.is_file():
        raise UserError(
            f"config.questions: {path} given, a file of JSON lines expected; no such file is there."
        )
    for place, row in read_objects(file, "question"):
        problem = _problem(place, row)
        try:
            require(problem)
        except UserError as error:
            raise UserError(f"{place}: {error}") from error
        problems.add(problem, place)
        keys.append(_key(problem.id))
    if not len(problems):
        raise UserError(
            f"config.questions: no question in {path}. Rows as of JSON lines expected, such as "
            '{"question": "What is 2 plus 3?"}.'
        )
    found = Questions(problems, keys)
    found.require_distinct()
    return found


def _problem(place: Place, row: dict[str, Any]) -> Problem:
    question, name, answer = (row.get(key) for key in ("question", "id", "answer"))
    if not isinstance(question, str) or not question.strip():
        given = f"{shown(question)} as 'question'" if "question" in row else f"{shown(', '.join(row))}"
        raise UserError(
            f"{place}: {given} given, a question expected: a row is "
            '{"question": TEXT}, with "id" and "answer" if there are such.'
        )
    for key, value in (("id", name), ("answer", answer)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float)):
            raise UserError(f"{place}: '{key}' is {shown(value)}, a text or a number expected.")
    name = "" if name is None else str(name).strip()
    for key, text in (("question", question), ("id", name)):
        require_text(place, key, text)
    return Problem(
        name or content_id(question), question.strip(), "" if answer is None else str(answer).strip()
    )


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(errors="replace"), digest_size=8).digest(), "little")
