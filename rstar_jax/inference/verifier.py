"""A task's checks at work for a search, whoever writes the steps; and a problem's name as a number."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rstar_jax.inference.meter import Meter
from rstar_jax.queues import Queue
from rstar_jax.search import Leaf, Queues
from rstar_jax.search.contract import ScoreRequest
from rstar_jax.tasks import Checker
from rstar_jax.types import Candidate, Grade, GradeRequest, Problem


class Verifier:
    """Checks and grades, with a meter of their time.

    Its kinds (`result`): "sandbox", in which programs ran or waited for a process; "sandbox_awaited", with
    nothing to do but to wait for programs, grades or a server; "execution", with checks or grades open,
    fetched or not.
    """

    def __init__(self, checker: Checker) -> None:
        self._checker, self._task = checker, checker.task
        self.meter = Meter()
        self._ran_before = checker.sandbox.busy_s

    def _verified(
        self,
        propose: Queue[Leaf, list[Candidate]],
        score: Queue[ScoreRequest, np.ndarray] | None = None,
    ) -> Queues:
        """The queues of one search at a time, of a policy's and a PPM's."""
        check, grade = self._checker.steps(), self._checker.finals()
        execution = self.meter.gauge("execution")
        check.watch, grade.watch = execution("check"), execution("grade")
        awaiting = functools.partial(self.meter.time, "sandbox_awaited")
        return Queues(propose=propose, check=check, grade=grade, score=score, awaiting=awaiting)

    def begins(self, trees: str, block: str, problem_id: str) -> None:
        """Hear that a tree of this problem is begun, which is one of a block's. Nothing here is kept."""

    def settled(self, trees: str, problem_ids: Iterable[str]) -> None:
        """Hear that trees of these problems are on disk. Nothing here is kept for them."""

    def grade(self, requests: Sequence[GradeRequest]) -> list[Grade]:
        """Return the task's grades of final answers, in order."""
        with self.meter.time("execution"), self.meter.time("sandbox_awaited"):
            return self._checker.grade(requests)

    def same(self, problem: Problem, one: str, other: str) -> bool:
        """Return whether two answers to a problem are one to the task; its reference is not looked at."""
        with self.meter.time("execution"), self.meter.time("sandbox_awaited"):
            return self._checker.same(problem, one, other)

    def result(self) -> dict[str, Any]:
        """JSON-ready: seconds by kind, and tokens written, duplicates included."""
        seconds = {kind: round(value, 3) for kind, value in sorted(self._seconds().items())}
        return {"seconds": seconds, "tokens": self.meter.tokens}

    def _seconds(self) -> dict[str, float]:
        ran = self._checker.sandbox.busy_s - self._ran_before
        return {"sandbox_awaited": 0.0, **self.meter.seconds, "sandbox": ran}


def problem_key(problem_id: str) -> int:
    """A problem's name as 31 bits, the same in every process and release."""
    return int.from_bytes(hashlib.sha256(problem_id.encode()).digest()[:4], "big") >> 1
