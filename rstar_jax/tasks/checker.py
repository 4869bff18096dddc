"""A task at work: its steps and answers as queues over a sandbox and a grader."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from rstar_jax.grading.answer import shared
from rstar_jax.queues import Coded, Known, Queue, call
from rstar_jax.sandbox import Sandbox
from rstar_jax.tasks.task import Pair, Task
from rstar_jax.types import CheckRequest, Grade, GradeRequest, Problem, StepVerdict


class Checker:
    """What a task asks, asked. sandbox: the caller opens and closes it. For any number of threads."""

    def __init__(self, task: Task, sandbox: Sandbox) -> None:
        self.task, self.sandbox = task, sandbox

    def steps(self) -> Queue[CheckRequest, StepVerdict]:
        """Make a queue of trajectories whose last step is checked."""

        def encode(request: CheckRequest) -> Any:
            asked = self.task.step(*request)
            return Known(asked) if isinstance(asked, StepVerdict) else asked

        return Coded(self.sandbox.queue(), encode, lambda request, ran: self.task.read(*request, ran))

    def finals(self) -> Queue[GradeRequest, Grade]:
        """Make a queue of answers to grade."""

        def encode(request: GradeRequest) -> Any:
            asked = self.task.final(*request)
            return asked if isinstance(asked, self.task.judges) else Known(asked)

        return Coded(self._judges(), encode, lambda request, found: self.task.read_final(*request, found))

    def check(self, requests: Sequence[CheckRequest]) -> list[StepVerdict]:
        """Return the verdicts, in order; all programs run together."""
        return call(self.steps(), requests)

    def grade(self, requests: Sequence[GradeRequest]) -> list[Grade]:
        """Return the grades, in order."""
        return call(self.finals(), requests)

    def same(self, problem: Problem, one: str, other: str) -> bool:
        """Return whether two answers are one to the task."""
        return self.task.same(problem, one, other, functools.partial(call, self._judges()))

    def _judges(self) -> Queue[Any, Any]:
        return shared(self.task.grading).queue() if self.task.judges is Pair else self.sandbox.queue()
