"""Running and grading what a model wrote.

`sandbox/` executes Python, `answer.py` grades final answers, and a task puts the two together: `task.py` says
what a task is and `TASKS` names those there are. To add one, derive a class from `Task` in a file of its own
and give it a row; `code_steps.py` holds what those share whose steps are Python.
"""

from __future__ import annotations

from rstar_jax.verify.answer import GRADINGS, Grader, grade
from rstar_jax.verify.code_task import CodeTask
from rstar_jax.verify.math_task import MathTask
from rstar_jax.verify.sandbox import ExecResult, Isolation, Limits, Sandbox
from rstar_jax.verify.task import Task

TASKS: dict[str, type[Task]] = {"math": MathTask, "code": CodeTask}

__all__ = [
    "GRADINGS",
    "TASKS",
    "CodeTask",
    "ExecResult",
    "Grader",
    "Isolation",
    "Limits",
    "MathTask",
    "Sandbox",
    "Task",
    "grade",
]
