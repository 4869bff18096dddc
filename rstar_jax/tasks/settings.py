"""Options of a task and of the sandbox that its programs run in."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path

from rstar_jax.sandbox import Isolation, Limits, Sandbox
from rstar_jax.settings import at_least, at_most, require
from rstar_jax.tasks.code_task import CodeTask
from rstar_jax.tasks.math_task import MathTask
from rstar_jax.tasks.task import Task

TASKS: dict[str, type[Task]] = {"math": MathTask, "code": CodeTask}
MOST_OUTPUT_KB = 2**16


@dataclasses.dataclass(frozen=True)
class VerifySettings:
    """task: what a step is and how answers are checked, a row of TASKS.
    grading: how answers are judged: "strict", or "released" as the authors' code does it (math alone).
    workers: processes that run code. cpu_s: most seconds of processor time of a program. wall_s: most seconds
    of a program, waiting included. memory_mb: most memory of a program, MiB. output_kb: most that a program
    may print, KiB.
    memo: whether results of programs are kept in the working directory, for a run that goes on.
    sandbox: how strongly programs are shut in (`sandbox/isolation.py`)."""

    task: str = "math"
    grading: str = "strict"
    workers: int = 2
    cpu_s: float = 5.0
    wall_s: float = 10.0
    memory_mb: int = 1024
    output_kb: int = 64
    memo: bool = True
    sandbox: Isolation = dataclasses.field(default_factory=Isolation)

    def __post_init__(self) -> None:
        require(self.task in TASKS, "verify.task", self.task, f"one of {', '.join(TASKS)}")
        known = TASKS[self.task].GRADINGS
        require(
            self.grading in known, "verify.grading", self.grading, f"of task {self.task}: {', '.join(known)}"
        )
        at_least(self, "verify", workers=1, cpu_s=0.1, wall_s=0.1, memory_mb=64, output_kb=1)
        # What is more than any machine has or any program deserves is a slip of the hand.
        at_most(self, "verify", workers=1024, cpu_s=3600, wall_s=3600, memory_mb=2**19)
        at_most(self, "verify", output_kb=MOST_OUTPUT_KB)

    def make_task(self) -> Task:
        """Make the task that is named."""
        return TASKS[self.task](grading=self.grading, output_kb=self.output_kb)

    def make_sandbox(self, root: Path | None) -> Sandbox:
        """Make the sandbox, not yet started. root: a working directory, that keeps its results; None: nothing
        is kept."""
        limits = Limits(self.cpu_s, self.wall_s, self.memory_mb, self.output_kb)
        # A file for each host: its locks hold on one machine only.
        memo = root / "cache" / f"sandbox-{platform.node()}.sqlite" if self.memo and root else None
        return Sandbox(self.workers, limits, isolation=self.sandbox, memo=memo)
