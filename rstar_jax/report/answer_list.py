"""Answers to many questions as text: one after the other, as they come.

    [ 3/20] q-0d1f: 410  5 of 6 trajectories, ppm +0.98
            a weak answer: it has only 40% of 6 trajectories

With show="full" a whole conclusion (`transcript.py`) instead of the line, with "answer" no line of weakness.
"""

from __future__ import annotations

from collections.abc import Sequence

from rstar_jax.report.answer import Answer, votes_text
from rstar_jax.report.events import Begin, End
from rstar_jax.report.progress import clock_text
from rstar_jax.report.transcript import Transcript
from rstar_jax.search.contract import Leaf
from rstar_jax.search.votes import Class
from rstar_jax.types import Node, Problem


class AnswerList:
    """Prints by a transcript. show: as there. total: questions. done: answered before."""

    def __init__(self, script: Transcript, show: str, total: int, done: int) -> None:
        self._script, self._show, self._total, self._done = script, show, total, done

    def say(self, text: str = "") -> None:
        """Print lines."""
        self._script.say(text)

    def begins(self, begin: Begin) -> None:
        """Tell what is asked, of whom."""
        if self._show != "answer":
            self.say(f"policy: {begin.policy}\nppm: {begin.ppm or 'none'}")
            earlier = f", {begin.answered} of them answered before" if begin.answered else ""
            self.say(f"search: {begin.search['strategy']}\nquestions: {begin.questions}{earlier}")
            self.say(f"answers: {begin.answers}\n")

    def ends(self, end: End) -> None:
        """How many were answered."""
        left = f", {end.left} not searched to their end" if end.left else ""
        self.say(
            f"\n{end.answered} answered, {end.weak} of them weakly; {end.unanswered} came to no answer{left}"
            f"; in {clock_text(end.seconds)}"
        )

    def expanded(self, leaf: Leaf, children: Sequence[Node]) -> None:
        """Steps of many searches in turn: nobody could follow."""

    def leads(self, problem: Problem, classes: Sequence[Class]) -> None:
        """As `expanded`."""

    def concludes(self, found: Answer) -> None:
        """An answer, with what supports it."""
        self._done += 1
        width = len(str(self._total))
        place = f"[{self._done:>{width}}/{self._total}]"
        if self._show == "full":
            self._script.say(f"{place} {found.id}: {found.question}")
            self._script.concludes(found)
            self._script.say()
            return
        if found.answer is None:
            causes = ", ".join(f"{n} {cause}" for cause, n in found.failures.items()) or "none failed"
            self._script.say(f"{place} {found.id}: no answer; of {found.steps} steps failed: {causes}")
            return
        ppm = f", ppm {found.ppm[-1]:+.2f}" if found.ppm and found.ppm[-1] is not None else ""
        grade = f", {found.grade}" if found.grade else ""
        votes = votes_text(found.votes, found.trajectories)
        self._script.say(f"{place} {found.id}: {found.answer}  {votes}{ppm}{grade}")
        if found.warning and self._show != "answer":
            self._script.say(f"{' ' * len(place)} a weak answer: {found.warning}")
