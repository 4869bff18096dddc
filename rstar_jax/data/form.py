"""A row of any known form as a Problem. Faults are `Unfit`, by their kind, naming the row's place."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from typing import Any

from rstar_jax.data.known import CUTS, NO_ANSWER, NO_ID, Columns, KnownSet, recognised
from rstar_jax.data.problem_set import digest
from rstar_jax.data.tables import Place, require_text, shown
from rstar_jax.errors import Unfit
from rstar_jax.types import Problem

_OWN = Columns("question", "answer", "id", "level", cut="auto")
_KINDS = {
    "id": (str, int),
    "question": (str,),
    "answer": (str, int, float),
    "level": (int,),
    "source": (str,),
    "synthetic": (bool,),
}
_LEVEL = re.compile(r"Level (\d|\?)")


@dataclasses.dataclass(frozen=True)
class Form:
    """What the rows of a set look like. name: of a published set, as the problems' source; empty: one's own
    rows, which may say their source. option: which names the columns, where a job has such a one."""

    columns: Columns
    name: str = ""
    option: str = ""

    def problem(self, row: dict[str, Any], place: Place) -> Problem:
        """Make a problem of a row. Raises Unfit for what it lacks or what is of another kind."""
        columns, answered = self.columns, self.columns.cut != NO_ANSWER
        question = columns.question
        if question == "question" and row.get("question") is None and "problem" in row:
            question = "problem"
        fields: dict[str, Any] = {
            "question": self._present(row, question, "question", place),
            "answer": self._present(row, columns.answer, "answer", place) if answered else None,
            "level": row.get(columns.level),
        }
        name = None if columns.id == NO_ID else row.get(columns.id)
        if name is not None and not (isinstance(name, str) and not name.strip()):
            fields["id"] = name
        if self.name and isinstance(fields["answer"], list):  # OlympiadBench: all of its answers
            fields["answer"] = _joined(fields["answer"], place)
        if self.name:
            fields["level"] = _level(fields["level"])
        elif isinstance(fields["level"], str) and (found := _LEVEL.fullmatch(fields["level"])):
            fields["level"] = 0 if found[1] == "?" else int(found[1])
        elif isinstance(fields["level"], float) and math.isfinite(fields["level"]):  # tables write 4.0
            fields["level"] = round(fields["level"])
        if not self.name:
            fields |= {key: row.get(key) for key in ("source", "synthetic")}
        fields = {key: value for key, value in fields.items() if value is not None}
        _require_kinds(fields, place)
        cut, missing = CUTS[columns.cut]
        answer = cut(str(fields["answer"])) if answered else ""
        if answered and not answer:
            where = "nothing behind '####' in the answer, which is" if "####" in missing else f"{missing} is"
            raise Unfit("no answer", f"{place}: {where} expected there: {shown(row[columns.answer])}.")
        if self.name:
            fields["source"] = "/".join([self.name, *_subject(row.get(columns.subject), place)])
            named = f"{self.name.rpartition('/')[2]}/{fields['id']}" if "id" in fields else ""
        else:
            named = str(fields.get("id", ""))
            if columns.subject and (subject := _subject(row.get(columns.subject), place)):
                fields["source"] = "/".join([*filter(None, [fields.get("source")]), *subject])
        return Problem(**{**fields, "id": named or content_id(fields["question"]), "answer": answer})

    def _present(self, row: dict[str, Any], column: str, what: str, place: Place) -> Any:
        value = row.get(column)
        if value is None or (isinstance(value, str) and not value.strip()):
            named = "" if column == what else f", which is to hold the {what}"
            hint = f" (--{self.option}.{what}=COLUMN names another)" if self.option else ""
            raise Unfit(
                f"no {column}",
                f"{place}: no '{column}'{named}. Every row needs question and answer; it has "
                f"{shown(', '.join(map(str, row)))}{hint}.",
            )
        return value


# What a row of a prepared set says besides of where it comes from (`rstar_problems.py`).
PROVENANCE = ("origin", "origin_row", "fingerprint")


@dataclasses.dataclass(frozen=True)
class PreparedForm(Form):
    """Rows of a set that `--config=prepare_problems` wrote: problems already, taken as they are."""

    def problem(self, row: dict[str, Any], place: Place) -> Problem:
        """Make the problem that was written. Raises Unfit where the row's fingerprint is of another one."""
        values: dict[str, Any] = {field.name: row.get(field.name) for field in dataclasses.fields(Problem)}
        problem = Problem(**values)
        if digest([problem]) != row.get("fingerprint"):
            raise Unfit(
                "not as it was prepared",
                f"{place}: {shown(row.get('id'))} is not the problem that its fingerprint names "
                f"({row.get('fingerprint')}). Prepare the set again.",
            )
        return problem


def content_id(question: str) -> str:
    """An id made of a question, capitals and spaces aside: the same wherever it stands."""
    plain = " ".join(question.split()).casefold()
    return f"q-{hashlib.sha256(plain.encode(errors='replace')).hexdigest()[:20]}"


def form_of(
    row: dict[str, Any], asked: Columns, known: tuple[str, KnownSet] | None, option: str = ""
) -> Form:
    """The form of a set, by its name where that is `known`, else by the keys of its first row. option: that
    of `asked`, for errors.

    Columns that are asked for count before these, but not in a set that has none of them and does without:
    held-out problems may be of another one.
    """
    if all(name in row for name in PROVENANCE):
        return PreparedForm(_OWN)
    given = {name: value for name, value in dataclasses.asdict(asked).items() if value}
    found = known or recognised(row)
    named = {name: column for name, column in given.items() if name != "cut" and column != NO_ID}
    if named and not any(column in row for column in named.values()):
        own = row.get("answer") is not None and not {"question", "problem"}.isdisjoint(row)
        given = {n: value for n, value in given.items() if value in (NO_ID, NO_ANSWER) or not (found or own)}
    elif not known and not {"question", "answer"}.isdisjoint(named):
        found = None  # another set that has the same keys
    columns = found[1].columns if found else _OWN
    return Form(dataclasses.replace(columns, **given), found[0] if found else "", option)


def _joined(answers: list[Any], place: Place) -> str:
    if not answers or not all(isinstance(answer, str | int | float) for answer in answers):
        raise Unfit(
            "no answer", f"{place}: the answers are {shown(answers)}, texts or numbers in a list expected."
        )
    return ", ".join(map(str, answers))


def _require_kinds(fields: dict[str, Any], place: Place) -> None:
    for key, value in fields.items():
        if not isinstance(value, _KINDS[key]) or (isinstance(value, bool) and bool not in _KINDS[key]):
            kinds = " or ".join(kind.__name__ for kind in _KINDS[key])
            raise Unfit(
                f"another kind of {key}",
                f"{place}: {key} is {shown(value)} ({type(value).__name__}), {kinds} expected.",
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise Unfit(
                f"another kind of {key}", f"{place}: {key} is {value}, a finite number or text expected."
            )
        if isinstance(value, str):
            require_text(place, key, value)
    if not 0 <= fields.get("level", 0) <= 9:
        raise Unfit(
            "another kind of level", f"{place}: level is {fields['level']}, 0 (unknown) to 9 expected."
        )


def _level(value: Any) -> int:
    """A published difficulty: 5, "Level 5", 4.5 of 10; 0 where it is none."""
    if isinstance(value, str) and (found := _LEVEL.fullmatch(value)):
        return 0 if found[1] == "?" else int(found[1])
    if isinstance(value, int | float) and -math.inf < value < math.inf:
        return round(min(9, max(1, value)))
    return 0


def _subject(value: Any, place: Place) -> list[str]:
    """A subject, or the first of several, as part of a source."""
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, str) or not first.strip():
        return []
    require_text(place, "subject", first)
    return [first]
