r"""Mathematics with Python steps: the code of all steps so far is run, the boxed answer is graded.

The rules of a valid step (arXiv 2501.04519, section 3.2; details as in the released code) are those of
`code_steps.py`, and:

- to the step that ends the code the program's output is appended, stripped, a lone decimal rounded to 4
  places.
- after the code comes the answer: `<answer>` with a `\boxed{}` makes the terminal; nothing is run.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rstar_jax.errors import Unfit
from rstar_jax.grading.answer import GRADINGS, gradable
from rstar_jax.sandbox import ExecResult
from rstar_jax.tasks import code_steps
from rstar_jax.tasks.task import Pair, Program, Role, Task
from rstar_jax.text import prompts
from rstar_jax.text.boxed import boxed
from rstar_jax.text.grammar import CODE_STEPS, Grammar
from rstar_jax.types import Grade, Problem, StepVerdict

# Calculations as GSM8K marks them, and what introduces an answer: of a reference that was not cut out.
_WORKING = re.compile(r"####|<<[^<>=]*=[^<>]*>>|\b[Tt]he (?:final )?answer is\b")
_LONE_DECIMAL = re.compile(r"-?\d+\.\d{5,}")


class MathTask(Task):
    r"""The task of the paper. Answers are what `\boxed{}` holds; GRADINGS says how they are judged."""

    grammar: ClassVar[Grammar] = CODE_STEPS
    writing: ClassVar[str] = prompts.WRITING
    GRADINGS: ClassVar[tuple[str, ...]] = tuple(GRADINGS)

    def frame(self, question: str, role: Role) -> str:
        return prompts.bootstrap(question) if role == "bootstrap" else prompts.finetuned(question)

    def step(self, problem: Problem, steps: tuple[str, ...]) -> StepVerdict | Program:
        if code_steps.code_ended(self.grammar, steps[:-1]):
            return self._after_code(steps[-1])
        return code_steps.program_of(self.grammar, steps)

    def read(self, problem: Problem, steps: tuple[str, ...], result: ExecResult) -> StepVerdict:
        verdict = code_steps.verdict(steps[-1], result)
        if verdict.status != "ok" or self.grammar.finish_of(steps[-1]) != "code":
            return verdict
        output = verdict.observation
        if _LONE_DECIMAL.fullmatch(output):
            output = str(round(float(output), 4))
        text = self.grammar.with_output(steps[-1], output)
        return dataclasses.replace(verdict, text=text, observation=output)

    def require(self, problem: Problem) -> None:
        """Refuse a reference that no answer could equal, as kinds of `Unfit`; a question alone has none."""
        if not problem.answer:
            return
        if _WORKING.search(problem.answer):
            raise Unfit(
                "a working in the answer",
                f"problem {problem.id}: answer is {problem.answer[:80]!r}, which still holds its "
                "working; the answer alone expected.",
            )
        if self.grading == "strict" and not gradable(problem.answer):
            raise Unfit(
                "an answer that cannot be graded",
                f"problem {problem.id}: answer is {problem.answer[:80]!r}, which cannot be graded, "
                "not even against itself. Mend it, or leave such rows out.",
            )

    def final(self, problem: Problem, answer: str) -> Pair:
        return Pair(answer, problem.answer)

    def read_final(self, problem: Problem, answer: str, result: Grade) -> Grade:
        return result

    def same(self, problem: Problem, one: str, other: str, ask: Callable[[Sequence[Any]], list[Any]]) -> bool:
        return ask([Pair(one, other)]) == ["right"]

    def _after_code(self, step: str) -> StepVerdict:
        """After the code only text follows: an answer, or a thought."""
        if why := code_steps.after_code_fault(self.grammar, step):
            return StepVerdict(step, "malformed", detail=why)
        if self.grammar.finish_of(step) != "answer":
            return StepVerdict(step, "ok")
        return StepVerdict(step, "answer", answer=boxed(self.grammar.body(step)))
