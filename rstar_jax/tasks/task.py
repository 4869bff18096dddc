"""Interface of a task. Search, curation and training know tasks only through this."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar

from rstar_jax.errors import UserError
from rstar_jax.sandbox import Sandbox
from rstar_jax.settings import nearest
from rstar_jax.types import Grade, Problem, StepVerdict


class Task(abc.ABC):
    """A kind of problem: how it is put to the policy, and how steps and answers are checked.

    Steps and answers come many at a time, so that their programs run together; `check_step` and `check_final`
    are the same for one. All methods may be called from several threads.

    sandbox: the caller opens and closes it. prompt: what stands before the first step, one of `PROMPTS`.
    grading: how answers are judged, one of `GRADINGS`. Raises UserError for an unknown one.

    opening: what every first step begins with, white space before it aside; empty: anything. One that begins
    otherwise is sampled no further.
    """

    PROMPTS: ClassVar[tuple[str, ...]]
    opening: ClassVar[str] = ""
    GRADINGS: ClassVar[tuple[str, ...]] = ("strict",)

    def __init__(self, sandbox: Sandbox, *, prompt: str = "finetuned", grading: str = "strict") -> None:
        for name, value, known in (("prompt", prompt, self.PROMPTS), ("grading", grading, self.GRADINGS)):
            if value not in known:
                raise UserError(
                    f"{name}: {value!r} given, one of {', '.join(known)} expected. {nearest(value, known)}"
                )
        self.sandbox, self.prompt_name, self.grading = sandbox, prompt, grading

    @abc.abstractmethod
    def prompt(self, problem: Problem) -> str:
        """The text that stands before the first step."""

    @abc.abstractmethod
    def check_steps(self, requests: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepVerdict]:
        """Return what became of each request's last step, given the steps before it; in order."""

    @abc.abstractmethod
    def check_finals(self, requests: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Return whether each terminal's answer is right; "ungraded" where that could not be found out; in
        order."""

    @abc.abstractmethod
    def same(self, problem: Problem, one: str, other: str) -> bool:
        """Return whether two answers are alike, for votes; what the problem expects is not looked at."""

    def require(self, problem: Problem) -> None:
        """Raises UserError naming the problem's id and field where it is none that this task can check."""
        del problem  # any text may be an answer, unless a task says otherwise

    def check_step(self, problem: Problem, steps: tuple[str, ...]) -> StepVerdict:
        """Return what became of the last of `steps`: its outcome (ok, fail or unknown) and an observation."""
        return self.check_steps([(problem, steps)])[0]

    def check_final(self, problem: Problem, answer: str) -> Grade:
        """Return whether a terminal's answer is right."""
        return self.check_finals([(problem, answer)])[0]
