"""Answers that are known to be wrong, and what is right: corrections of published sets, or a user's own.

The list that comes with the package (assets/corrections.jsonl) holds what others reported in public and what
was then calculated again here; it is short, and no claim that a set's other answers are right.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from rstar_jax.data.clean import normalise
from rstar_jax.data.tables import read_objects, require_text, shown
from rstar_jax.errors import UserError
from rstar_jax.grading import grade
from rstar_jax.settings import home_expanded
from rstar_jax.types import Problem

KNOWN = Path(__file__).parents[1] / "assets" / "corrections.jsonl"
_EXPECTED = "question and answer"
_BEGINNING = 8  # letters that tell most questions from those of the list
_LETTERS = re.compile("[a-z]")


@dataclasses.dataclass
class Corrections:
    """Right answers by question, however that is spelt. option: "", "known" or a file, as a config names it.
    name: of that option.

    found: ids of problems that were looked at and whose answer is another than the right one.
    """

    option: str
    answers: dict[str, str]
    name: str = ""
    found: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._beginnings = {_beginning(question) for question in self.answers}

    def __call__(self, problem: Problem) -> Problem:
        """Return a problem with its answer mended, where that is known to be wrong and the option asks for
        it; else note it."""
        if _beginning(problem.question) not in self._beginnings:
            return problem
        right = self.answers.get(normalise(problem.question))
        if right is None or grade(problem.answer, right) == "right":
            return problem
        self.found.append(problem.id)
        return dataclasses.replace(problem, answer=right) if self.option else problem


def corrections(option: str, name: str) -> Corrections:
    """Read corrections: "" and "known" are those of the package, noted or made; else those of a file of rows
    {question, answer}, as `curate` writes suspects. name: of the option, for errors.

    Raises UserError naming file and line of a row that is none, and of a question that has two answers.
    """
    path = KNOWN if option in ("", "known") else home_expanded(Path(option), name)
    if not path.is_file():
        raise UserError(
            f"{name}: '{option}' given, 'known' or a file of rows with {_EXPECTED} that exists expected."
        )
    answers: dict[str, str] = {}
    for place, row in read_objects(path, _EXPECTED):
        values = [row.get(key) for key in ("question", "answer")]
        for key, value in zip(("question", "answer"), values, strict=True):
            if not isinstance(value, str) or not value.strip():
                raise UserError(f"{place}: {key} is {shown(value)}, text expected.")
            require_text(place, key, value)
        question, answer = normalise(str(values[0])), str(values[1])
        if answers.setdefault(question, answer) != answer:
            raise UserError(
                f"{place}: answers {shown(answer)} to a question that an earlier row answers "
                f"{shown(answers[question])}. Leave one of them out."
            )
    return Corrections(option, answers, name)


def _beginning(question: str) -> str:
    return "".join(_LETTERS.findall(question[:80].lower())[:_BEGINNING])
