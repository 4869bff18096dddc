"""What is asked of a policy and how its steps and answers are judged: `task.py` says what a task is, `TASKS`
names those there are.

`checker.py` puts one to work. To add one, derive a class from `Task` in a file of its own and give it a row;
`code_steps.py` holds what those share whose steps are Python.
"""

from __future__ import annotations

from rstar_jax.tasks.checker import Checker
from rstar_jax.tasks.code_task import CodeTask
from rstar_jax.tasks.math_task import MathTask
from rstar_jax.tasks.settings import TASKS, VerifySettings
from rstar_jax.tasks.task import Role, Task

__all__ = ["TASKS", "Checker", "CodeTask", "MathTask", "Role", "Task", "VerifySettings"]
