"""One pass over a set that reads every question once, then duplicates by hashes; texts are never held."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rstar_jax.data.clean.against import KINDS, Against
from rstar_jax.data.clean.config import CleanConfig
from rstar_jax.data.clean.duplicates import Sketches
from rstar_jax.data.clean.forms import forms
from rstar_jax.data.clean.parts import multi_part
from rstar_jax.data.clean.report import REASONS, CleanExample, CleanReport
from rstar_jax.data.clean.rows import Rows
from rstar_jax.errors import UserError
from rstar_jax.types import Problem

_BATCH = 1024  # texts at a time: their bytes and hashes stay in the processor's cache
_KEPT = len(REASONS)
_CODES = {reason: code for code, reason in enumerate(REASONS)}


@dataclasses.dataclass(frozen=True)
class Cleaned:
    """kept: rows that stay, int64, in their order. reasons: [N] uint8, why each was dropped, as its place in
    `report.REASONS`; their number where it was kept."""

    kept: np.ndarray
    reasons: np.ndarray
    report: CleanReport


def clean(
    problems: Sequence[Problem],
    against: Mapping[str, Sequence[Problem]] | None = None,
    config: CleanConfig = CleanConfig(),
    *,
    told: Callable[[int], None] = lambda rows: None,
) -> Cleaned:
    """Find which problems of a set to train on.

    1. Drop blank rows and questions of several parts.
    2. Drop those that a benchmark of `against` (by name) knows; report template twins.
    3. Drop exact, then near duplicates; the first of each group stays.

    problems: anything with `len` and `[i]`; it is read once in order, and what may be near duplicates again.
        Of N rows 60 N bytes are held. Which questions stay does not depend on the order of rows, but for near
        duplicates.
    told: called with how many rows were read, now and then.
    Raises UserError naming the first row that is no problem.
    """
    known = Against(against or {}, config)
    size = len(problems)
    reasons = np.full(size, _KEPT, np.uint8)
    sketches = Sketches(size, near=config.near < 1)
    examples = _Examples(problems, config.examples)
    overlaps = {name: collections.Counter[str]() for name in against or {}}
    twins = 0

    for start in range(0, size, _BATCH):
        batch = _read(problems, range(start, min(start + _BATCH, size)))
        for row, problem in enumerate(batch, start):
            reason, detail = _fault(problem, config)
            if reason:
                reasons[row] = _CODES[reason]
                examples.add(reason, row, detail=detail)
        texts = forms([problem.question for problem in batch], compare=bool(known.problems))
        answers = forms([problem.answer for problem in batch], compare=False)
        sketches.add(start, texts, answers.exact)
        first = dict[int, str]()
        for overlap in known.overlaps(texts):
            row, reason = start + overlap.row, f"{overlap.kind}_benchmark"
            name, other_id, other = known.problems[overlap.other]
            overlaps[name][overlap.kind] += 1
            if row in first or reasons[row] != _KEPT:
                continue
            first[row] = reason
            examples.add(reason, row, other_id=other_id, other=other, similarity=overlap.similarity)
        for row, reason in first.items():
            if reason == "twin_benchmark" and not config.drop_twins:
                twins += 1
            else:
                reasons[row] = _CODES[reason]
        told(start + len(batch))

    if config.exact:
        rows, others = sketches.exact_duplicates(reasons == _KEPT)
        _drop(reasons, "exact_duplicate", rows, others, np.ones(len(rows)), examples)
    if config.near < 1:
        rows, others, shares = sketches.near_duplicates(
            reasons == _KEPT, config.near, lambda rows: _windows(problems, rows)
        )
        _drop(reasons, "near_duplicate", rows, others, shares, examples)

    counts = np.bincount(reasons, minlength=_KEPT + 1)
    kept = np.flatnonzero(reasons == _KEPT)
    report = CleanReport(
        rows=size,
        kept=len(kept),
        dropped={reason: int(counts[code]) for reason, code in _CODES.items() if counts[code]},
        twins_kept=twins,
        overlaps={name: {kind: found[kind] for kind in KINDS} for name, found in overlaps.items()},
        examples=tuple(examples.found),
    )
    return Cleaned(kept, reasons, report)


class _Examples:
    """The first few rows of each reason."""

    def __init__(self, problems: Sequence[Problem], most: int) -> None:
        self._problems, self._most = problems, most
        self._counts = collections.Counter[str]()
        self.found = list[CleanExample]()

    def add(
        self, reason: str, row: int, *, other: str = "", other_id: str = "", similarity=0.0, detail=""
    ) -> None:
        self._counts[reason] += 1
        if self._counts[reason] <= self._most:
            problem = self._problems[row]
            self.found.append(
                CleanExample(
                    reason, row, problem.id, problem.question, other_id, other, round(similarity, 3), detail
                )
            )


def _read(problems: Sequence[Problem], rows: range) -> list[Problem]:
    batch = [problems[row] for row in rows]
    for row, problem in zip(rows, batch, strict=True):
        if not isinstance(problem, Problem):
            raise UserError(f"clean: row {row} is {type(problem).__name__}, a problem expected.")
        if not isinstance(problem.question, str) or not isinstance(problem.answer, str):
            name = "answer" if isinstance(problem.question, str) else "question"
            value = getattr(problem, name)
            raise UserError(
                f"clean: row {row} (id '{problem.id}') has {name} {value!r} ({type(value).__name__}), text "
                "expected. Mend the row or leave it out."
            )
    return batch


def _fault(problem: Problem, config: CleanConfig) -> tuple[str, str]:
    """Return the reason why a row by itself is dropped and its detail, empty if it is not."""
    if not problem.question.strip() or not problem.answer.strip():
        return "blank", "no answer" if problem.question.strip() else "no question"
    detail = multi_part(problem.question, problem.answer) if config.multi_part else None
    return ("multi_part", detail) if detail else ("", "")


def _windows(problems: Sequence[Problem], rows: np.ndarray) -> Rows:
    return forms([problems[int(row)].question for row in rows], compare=False).windows.distinct()


def _drop(
    reasons: np.ndarray,
    reason: str,
    rows: np.ndarray,
    others: np.ndarray,
    shares: np.ndarray,
    examples: _Examples,
) -> None:
    reasons[rows] = _CODES[reason]
    for place in np.argsort(rows)[: examples._most].tolist():
        other = examples._problems[int(others[place])]
        examples.add(
            reason, int(rows[place]), other_id=other.id, other=other.question, similarity=float(shares[place])
        )
