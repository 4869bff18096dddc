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
from collections.abc import Sequence
from typing import ClassVar

from rstar_jax.grading.answer import GRADINGS, shared
from rstar_jax.sandbox import ExecResult
from rstar_jax.tasks import code_steps
from rstar_jax.tasks.task import Task
from rstar_jax.text import grammar
from rstar_jax.text.prompts import PROMPTS
from rstar_jax.types import Grade, Problem, StepVerdict

_LONE_DECIMAL = re.compile(r"-?\d+\.\d{5,}")


class MathTask(Task):
    r"""The task of the paper. Answers are what `\boxed{}` holds; GRADINGS says how they are judged."""

    PROMPTS: ClassVar[tuple[str, ...]] = tuple(PROMPTS)
    opening: ClassVar[str] = grammar.CODE
    GRADINGS: ClassVar[tuple[str, ...]] = tuple(GRADINGS)

    def prompt(self, problem: Problem) -> str:
        return PROMPTS[self.prompt_name](problem.question)

    def check_finals(self, requests: Sequence[tuple[Problem, str]]) -> list[Grade]:
        return shared(self.grading).grade([(answer, problem.answer) for problem, answer in requests])

    def same(self, problem: Problem, one: str, other: str) -> bool:
        return GRADINGS[self.grading](one, other) == "right"

    def check_steps(self, requests: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepVerdict]:
        """Verdicts in order; all programs of a call run in the sandbox together."""
        verdicts = [_without_running(steps) for _, steps in requests]
        waiting = [i for i, verdict in enumerate(verdicts) if verdict is None]
        results = self.sandbox.run([grammar.program(requests[i][1]) for i in waiting])
        for i, result in zip(waiting, results, strict=True):
            verdicts[i] = _ran(requests[i][1][-1], result)
        return [verdict for verdict in verdicts if verdict is not None]


def _without_running(steps: tuple[str, ...]) -> StepVerdict | None:
    """The verdict on the last step if its text alone decides; None if its program must be run."""
    if code_steps.code_ended(steps[:-1]):
        return _after_code(steps[-1])
    why = code_steps.code_fault(steps)
    return StepVerdict(steps[-1], "malformed", detail=why) if why else None


def _after_code(step: str) -> StepVerdict:
    """After the code only text follows: an answer, or a thought."""
    if why := code_steps.after_code_fault(step):
        return StepVerdict(step, "malformed", detail=why)
    if grammar.finish_of(step) != "answer":
        return StepVerdict(step, "ok")
    return StepVerdict(step, "answer", answer=grammar.boxed(code_steps.body(step)))


def _ran(step: str, result: ExecResult) -> StepVerdict:
    verdict = code_steps.verdict(step, result)
    if verdict.status != "ok" or grammar.finish_of(step) != "code":
        return verdict
    output = verdict.observation
    if _LONE_DECIMAL.fullmatch(output):
        output = str(round(float(output), 4))
    return dataclasses.replace(verdict, text=grammar.with_output(step, output), observation=output)
