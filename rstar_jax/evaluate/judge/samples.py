"""One solution of a benchmark of steps, and the values that a PPM gave its steps."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class JudgeSample:
    """A solution whose wrong steps are known.

    id: unique in its benchmark. part: of the benchmark, a subset or a class of errors. problem: names the
        problem; samples of one problem are resampled together.
    steps: texts, of prose or of a task's grammar.
    errors: wrong steps, counted from 0, in order; empty: all are right. ProcessBench and the suite know the
        first wrong one alone.
    kind: of the suite's, what was done to the solution (`known_errors.py`); "" elsewhere.
    q: of a search's trajectories, the mean value of each step, [-1, 1]; empty elsewhere.
    """

    id: str
    part: str
    problem: str
    question: str
    steps: tuple[str, ...]
    errors: tuple[int, ...]
    kind: str = ""
    q: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StepScores:
    """A row of scores-*.parquet: a sample without its texts, and its values.

    steps, characters, tokens: of it; tokens with the question, as the PPM reads them.
    values: of each step, [-1, 1]; empty where the whole has more tokens than the context, and was not read.
    """

    id: str
    part: str
    problem: str
    kind: str
    errors: tuple[int, ...]
    q: tuple[float, ...]
    steps: int
    characters: int
    tokens: int
    values: tuple[float, ...]

    @classmethod
    def of(cls, sample: JudgeSample, tokens: int, values: tuple[float, ...]) -> StepScores:
        """The row of a sample that was read in so many tokens."""
        return cls(
            id=sample.id,
            part=sample.part,
            problem=sample.problem,
            kind=sample.kind,
            errors=sample.errors,
            q=sample.q,
            steps=len(sample.steps),
            characters=sum(map(len, sample.steps)),
            tokens=tokens,
            values=values,
        )
