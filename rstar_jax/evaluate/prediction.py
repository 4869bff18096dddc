"""One sample of a problem and how it was judged, as a row of predictions.parquet.

Every figure of an evaluation is computed from such rows: another vote, another k or another interval needs no
model and no search.
"""

from __future__ import annotations

import dataclasses

from rstar_jax.types import Grade


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """One trajectory of a benchmark's problem.

    sample: its place among the problem's, from 0, in the order found. chosen: whether the protocol's vote
        took its answer for the problem's (of each problem one row at most, the first that gives the answer).
    text: its steps, as the model and the interpreter wrote them. answer: None where it came to none.
    same: equal answers of one problem have equal numbers, from 0; -1: no answer.
    grade, released: the answer judged by `grading=strict` and `grading=released`; None: no answer.
    score: the PPM's value of the trajectory, [-1, 1]; None where no PPM read it.
    steps, tokens: of it. tool: whether a program of it was run. ended: what became of its last step, a
        `types.Status`, or the budget that was spent before ("tokens", "seconds").
    """

    benchmark: str
    problem_id: str
    level: int
    sample: int
    chosen: bool
    question: str
    reference: str
    text: str
    answer: str | None
    same: int
    grade: Grade | None
    released: Grade | None
    score: float | None
    steps: int
    tokens: int
    tool: bool
    ended: str
