"""New problems after the example of others: how a policy is asked for them, and what it wrote.

The paper names seed problems (7.5k of MATH, 3.6k of AMC and AIME; arXiv 2501.04519, section 4.1); the words
of the prompt are ours. What is written has no answer: solutions that agree are to give it one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rstar_jax.tasks.task import Role, Task
from rstar_jax.text.grammar import Grammar
from rstar_jax.types import Grade, Problem, StepVerdict

_END = "<end_of_problem>"
_BEFORE = "Problem:"


class Writing(Task):
    """The writing of problems as a task: its question is what `ask` makes of seed problems, and its one step
    a new problem. Nothing is run or graded.

    instructions: what is asked for, before the examples.
    """

    grammar: ClassVar[Grammar] = Grammar(end_answer=_END)

    def __init__(self, instructions: str) -> None:
        super().__init__()
        self._instructions = instructions

    def ask(self, seeds: Sequence[Problem]) -> str:
        """Make the prompt that shows seed problems, each ended as the new one is to end."""
        shown = (f"{_BEFORE} {self.grammar.harmless(seed.question)}\n{_END}\n\n" for seed in seeds)
        return f"{self._instructions}\n\n{''.join(shown)}{_BEFORE}"

    def prompt(self, question: str, role: Role) -> str:
        """Return what `ask` made, which holds delimiters of its own."""
        return question

    def frame(self, question: str, role: Role) -> str:
        return question

    def written(self, step: str) -> str:
        """The question of a new problem, as the policy ended it."""
        return " ".join(self.grammar.body(step).split())

    def step(self, problem: Problem, steps: tuple[str, ...]) -> StepVerdict:
        return StepVerdict(steps[-1], "answer", answer=self.written(steps[-1]))

    def read(self, problem: Problem, steps: tuple[str, ...], result: object) -> StepVerdict:
        return self.step(problem, steps)  # nothing is run

    def final(self, problem: Problem, answer: str) -> Grade:
        return "ungraded"

    def read_final(self, problem: Problem, answer: str, result: object) -> Grade:
        return "ungraded"

    def same(self, problem: Problem, one: str, other: str, ask: object) -> bool:
        return one == other
