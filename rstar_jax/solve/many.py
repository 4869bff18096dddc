"""The folder of the answers to many questions: which of them a command has still to ask."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rstar_jax import weights
from rstar_jax.data.problem_set import Selected
from rstar_jax.errors import UserError
from rstar_jax.evolve.run_models import ModelFolders
from rstar_jax.evolve.stages import Workdir
from rstar_jax.solve.answers import FILE, Answers
from rstar_jax.solve.questions import Questions
from rstar_jax.solve.settings import SolveSettings
from rstar_jax.types import Problem


class AnswerFolder:
    """The folder that the answers to many questions are kept in, claimed for this command.

    answers: of these questions. left: those without one. unanswered: how many came to no answer before.
    """

    def __init__(
        self, settings: SolveSettings, found: ModelFolders, questions: Questions, workdir: Path
    ) -> None:
        self._work, self._found, self._questions = Workdir(workdir, settings), found, questions
        self.answers = Answers(workdir / "answers" / FILE)
        self.left: Sequence[Problem] = ()
        self.unanswered = 0

    def __enter__(self) -> AnswerFolder:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._work)
            models = {"policy": self._found.policy, "ppm": self._found.ppm}
            self._work.claim_inputs(
                {name: weights.model_hash(path) for name, path in models.items() if path is not None}
            )
            stack.enter_context(self.answers)
            there = np.zeros(len(self._questions), bool)
            for number, row in self.answers.read():
                place = self._questions.place(str(row["id"]))
                if place is None:
                    continue  # of a file with more questions, or others
                if self._questions.problems[place].question != row.get("question"):
                    raise UserError(
                        f"{self.answers.path}:{number}: answers another question of the id {row['id']!r} "
                        f"than {self._questions.problems.place(place)} asks. Give it another id, or choose "
                        "a new --workdir."
                    )
                there[place] = True
                self.unanswered += row.get("answer") is None
            self.left = Selected(self._questions.problems, np.flatnonzero(~there))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
