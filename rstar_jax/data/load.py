"""Problems from a specification (`specification.py`): read once, looked at row by row, kept as a set."""

from __future__ import annotations

import contextlib
import dataclasses
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from rstar_jax.data.corrections import Corrections
from rstar_jax.data.faults import Faults
from rstar_jax.data.form import Form, content_id, form_of
from rstar_jax.data.known import NO_ANSWER, NO_ID, Columns, named
from rstar_jax.data.problem_set import Mixture, ProblemSet, Selected, StoredProblems, share
from rstar_jax.data.readers import READERS
from rstar_jax.data.specification import SourcePart, parse
from rstar_jax.data.tables import OnBad, Place, shown
from rstar_jax.errors import Unfit, UserError
from rstar_jax.problems.family import Split
from rstar_jax.problems.suite import instances
from rstar_jax.types import Problem

_MOST = 10**6  # problems of the suite: to make them takes minutes
_TOLD_EVERY = 100_000
_TELLING = 100  # rows of a part by which its columns are known

Require = Callable[[Problem], None]


def load_problems(
    spec: str,
    *,
    seed: int,
    split: Split,
    option: str = "",
    columns: Columns | None = None,
    bad: Literal["fatal", "drop"] = "fatal",
    require: Require | None = None,
    log: Callable[[str], None] | None = None,
    met: set[str] | None = None,
    mended: Corrections | None = None,
) -> ProblemSet:
    """Read the problems that `spec` names; suite problems are those of `split`.

    seed: draws suite problems and shares. option: which one `spec` is of, for errors; config.problems.SPLIT
    unless given. columns: of files, where they are not to be told by their keys; None: the job has no option
    for them. bad: whether a bad row ends it, or is left out and counted (`faults` of the set). require:
    raises UserError for a problem that its task cannot check. log: told how many rows were left out, and why,
    and how far reading is. met: to it the columns are added that the first rows of every part have, for
    `require_columns`. mended: answers that are known to be wrong.

    Rows of one's own hold question (or `problem`), answer and optionally id, level (0 to 9), source,
    synthetic; other keys are left alone. Of an answer that ends in "#### 72", GSM8K's form, that number is
    taken. Raises UserError naming file and line of the first bad row.
    """
    option = option or f"config.problems.{split}"
    named = "" if columns is None else f"{option.rpartition('.')[0]}.columns"
    faults = Faults(fatal=bad == "fatal")
    parts = parse(str(spec), option)
    sets, ids = [], array("q")
    for part in parts:
        found = StoredProblems()
        for place, problem in _problems(part, seed, split, option, columns or Columns(), named, faults, met):
            problem = mended(problem) if mended else problem
            if _passes(problem, place, require, faults):
                found.add(problem, place)
                ids.append(hash(problem.id))
                if log is not None and len(ids) % _TOLD_EVERY == 0:
                    log(f"{option}: {len(ids):,} problems read.")
        if not len(found):
            raise UserError(
                f"{part.text}: no problems in it; one JSON object with question and answer a line expected."
                f"{faults.told()}"
            )
        sets.append(found)
    chosen = [share(len(each), part.share, seed) for each, part in zip(sets, parts, strict=True)]
    shares: list[ProblemSet] = [Selected(each, rows) for each, rows in zip(sets, chosen, strict=True)]
    if columns is None or columns.cut != NO_ANSWER:  # what is compared alone may ask twice
        shares = _distinct(sets, chosen, ids, faults, parts, f"{option}: {str(spec)!r} given", named)
    if log is not None and faults.left_out:
        log(f"{option}: {faults.summary(sum(map(len, shares)))}")
    whole = shares[0] if len(shares) == 1 else Mixture(shares)
    whole.faults, whole.mended = faults, mended
    return whole


def require_columns(columns: Columns, met: set[str], option: str) -> None:
    """Raise UserError for a column that was asked for and that no source has: a misspelt one.

    met: columns of the sources. option: that of `columns`. Of several sources each may have its own form.
    """
    for name, column in dataclasses.asdict(columns).items():
        if column and name != "cut" and column not in met and (name, column) != ("id", NO_ID):
            raise UserError(
                f"{option}.{name}: {column!r} given, but no source has such a column; they have "
                f"{shown(', '.join(sorted(met)) or 'none')}. Name one of these, or leave it out."
            )


def _problems(
    part: SourcePart,
    seed: int,
    split: Split,
    option: str,
    columns: Columns,
    columns_option: str,
    on_bad: OnBad,
    met: set[str] | None,
) -> Iterator[tuple[Place, Problem]]:
    if part.kind == "suite":
        for number, problem in enumerate(_suite(part, seed, split, option), start=1):
            yield Place(part.text, "problem", number), problem
        return
    known, form = named(part.name) if part.kind == "hf" else None, None
    for number, (place, row) in enumerate(READERS[part.kind](part, option, on_bad)):
        if met is not None and number < _TELLING:
            met.update(row)
        try:
            problem, form = _formed(
                row, place, form, lambda row: form_of(row, columns, known, columns_option)
            )
        except Unfit as error:
            on_bad(error)
        else:
            yield place, problem


def _formed(
    row: dict[str, Any], place: Place, before: Form | None, form_of: Callable[[dict[str, Any]], Form]
) -> tuple[Problem, Form]:
    """A row's problem, by the form of the rows before or else by its own: files of a folder may differ."""
    if before is None:
        before = form_of(row)
    try:
        return before.problem(row, place), before
    except Unfit:
        form = form_of(row)
        if form != before:
            with contextlib.suppress(Unfit):
                return form.problem(row, place), form
        raise


def _suite(part: SourcePart, seed: int, split: Split, option: str) -> Iterator[Problem]:
    number = part.name
    if len(number) > len(str(_MOST)) or not 1 <= int(number) <= _MOST:
        given = number if len(number) < 20 else f"{number[:20]}..."
        raise UserError(f"{option}: {given} given, 1 problem or more expected, {_MOST:,} at most.")
    return instances(int(number), seed=seed, split=split, levels=part.levels)


def _passes(problem: Problem, place: Place, require: Require | None, on_bad: OnBad) -> bool:
    try:
        if require is not None:
            require(problem)
    except UserError as error:
        reason = error.reason if isinstance(error, Unfit) else "not of this task"
        on_bad(Unfit(reason, f"{place}: {error}"))
        return False
    return True


def _alike(hashes: array[int], among: np.ndarray) -> list[list[int]]:
    """Those among some indices of problems whose ids have the same hash, in order; mostly their ids are the
    same."""
    found = np.frombuffer(hashes, np.int64)[among]
    order = np.argsort(found, kind="stable")
    same = np.flatnonzero(np.diff(found[order]) == 0)
    order = among[order]
    groups = np.split(same, np.flatnonzero(np.diff(same) > 1) + 1) if len(same) else []
    return sorted(order[group[0] : group[-1] + 2].tolist() for group in groups)


def _once(one: SourcePart, other: SourcePart, apart: bool, columns_option: str) -> str:
    """Say how two parts of a specification come to have no problem twice. apart: whether they are read from
    different files. columns_option: as of `_distinct`."""
    kinds = {one.kind, other.kind}
    if kinds == {"suite"}:
        what = "Each part counts the suite's problems from the first: give one, of as many as are wanted"
    elif columns_option and apart and not kinds <= {"suite", "tfds"}:
        return f"--{columns_option}.id={NO_ID} makes ids of the questions."
    else:
        what = "Name each source once"
    bad = f"{columns_option.rpartition('.')[0]}.bad"
    return f"{what}{f', or leave out what comes again: --{bad}=drop' if columns_option else ''}."


def _distinct(
    sets: list[StoredProblems],
    chosen: list[np.ndarray],
    ids: array[int],
    faults: Faults,
    parts: Sequence[SourcePart],
    given: str,
    columns_option: str,
) -> list[ProblemSet]:
    """The chosen rows without those whose id, or question where that made the id, an earlier one has.

    parts: of the specification, one for each set. given: says which that is, for errors. columns_option: as
    of the job, "" where it has none.
    """
    ends = np.cumsum([len(each) for each in sets]).tolist()

    def row_of(index: int) -> tuple[int, int]:
        part = next(k for k, end in enumerate(ends) if index < end)
        return part, index - (ends[part] - len(sets[part]))

    again: list[tuple[int, int]] = []
    starts = [end - len(each) for end, each in zip(ends, sets, strict=True)]
    among = np.concatenate([rows + start for rows, start in zip(chosen, starts, strict=True)])
    for group in _alike(ids, among):
        first: dict[str, int] = {}
        for index in group:
            part, row = row_of(index)
            found = sets[part][row]
            if first.setdefault(found.id, index) != index:
                again.append((index, first[found.id]))
    dropped: list[list[int]] = [[] for _ in sets]
    for index, earlier in sorted(again):
        (part, row), (other_part, other_row) = row_of(index), row_of(earlier)
        found, place, other = sets[part][row], sets[part].place(row), sets[other_part].place(other_row)
        where = other.short if part == other_part and other.path == place.path else str(other)
        if found.id == content_id(found.question):  # nobody gave it that id
            if (answer := sets[other_part][other_row].answer) == found.answer:
                faults.count(Unfit("asked before", f"{place}: asks what {where} does."))
            else:
                faults.count(
                    Unfit(
                        "asked before, with another answer",
                        f"{place}: asks what {where} does and answers {shown(found.answer)}, where that has "
                        f"{shown(answer)}.",
                    )
                )
        else:
            told = f"{place}: id '{found.id}' is already that of {where}."
            if part != other_part:
                hint = _once(parts[other_part], parts[part], other.path != place.path, columns_option)
                told = f"{given}, but {told} {hint}"
            faults(Unfit("an id that is taken", told))
        dropped[part].append(row)
    return [
        each if len(left := np.setdiff1d(rows, gone)) == len(each) else Selected(each, left)
        for each, rows, gone in zip(sets, chosen, dropped, strict=True)
    ]
