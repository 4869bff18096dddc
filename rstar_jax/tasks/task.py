"""Interface of a task: pure rules. Search, curation and training know tasks only through this.

    task.step(problem, steps)  -> StepVerdict, or a Program to run, whose result task.read makes a verdict of
    task.final(problem, answer) -> Grade, or what to ask, whose result task.read_final makes a grade of

`checker.Checker` puts a task to work: it runs programs in a sandbox and has pairs graded.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from rstar_jax.errors import UserError
from rstar_jax.sandbox import ExecResult, Limits
from rstar_jax.settings import nearest
from rstar_jax.text.grammar import Grammar
from rstar_jax.types import Grade, Problem, StepVerdict

# Who is asked: a general model that never saw the steps; a policy that has learnt them, or is to; a PPM.
Role = Literal["bootstrap", "finetuned", "ppm"]


class Program(str):
    """A Python program for the sandbox."""


class Pair(NamedTuple):
    """An answer and its reference for the grader."""

    prediction: str
    reference: str


class Task(abc.ABC):
    """A kind of problem: how it is put to a model, and what steps and answers must be. Holds no process.

    grading: how answers are judged, one of `GRADINGS`. output_kb: what a program may print. Raises UserError
    for an unknown one.

    grammar: the delimiters of its steps. judges: what finals ask, `Pair` or `Program`.
    """

    grammar: ClassVar[Grammar]
    judges: ClassVar[type] = Pair
    GRADINGS: ClassVar[tuple[str, ...]] = ("strict",)
    writing: ClassVar[str] = (
        ""  # what a policy is told that is to write new problems; empty: none can be written
    )

    def __init__(self, *, grading: str = "strict", output_kb: int = Limits().output_kb) -> None:
        if grading not in self.GRADINGS:
            raise UserError(
                f"grading: {grading!r} given, one of {', '.join(self.GRADINGS)} expected. "
                f"{nearest(grading, self.GRADINGS)}"
            )
        self.grading, self.output_kb = grading, output_kb

    def prompt(self, question: str, role: Role) -> str:
        """Return the text that stands before the first step. What looks like a delimiter in the question is
        none: a space breaks it."""
        return self.frame(self.grammar.harmless(question), role)

    @abc.abstractmethod
    def frame(self, question: str, role: Role) -> str:
        """Return the prompt around a question that holds no delimiter. Of a problem only the question is
        known to who trains on its solution."""

    @abc.abstractmethod
    def step(self, problem: Problem, steps: tuple[str, ...]) -> StepVerdict | Program:
        """Return what became of the last step, given those before it, or the program that shows it."""

    @abc.abstractmethod
    def read(self, problem: Problem, steps: tuple[str, ...], result: ExecResult) -> StepVerdict:
        """Return what became of the last step by the run of its program."""

    @abc.abstractmethod
    def final(self, problem: Problem, answer: str) -> Grade | Pair | Program:
        """Return whether a terminal's answer is right, or what to ask to find out."""

    @abc.abstractmethod
    def read_final(self, problem: Problem, answer: str, result: Any) -> Grade:
        """Return whether it is right by what was found out; "ungraded" where that says nothing."""

    @abc.abstractmethod
    def same(self, problem: Problem, one: str, other: str, ask: Callable[[Sequence[Any]], list[Any]]) -> bool:
        """Return whether two answers are alike, for votes; what the problem expects is not looked at.

        ask: gets results of what finals ask, in order.
        """

    def require(self, problem: Problem) -> None:
        """Raises UserError naming the problem's id and field where it is none that this task can check."""
        del problem  # any text may be an answer, unless a task says otherwise
