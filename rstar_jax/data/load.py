"""Problems from a specification: a number of suite problems, or a file of the user's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rstar_jax.data import gsm8k
from rstar_jax.data.tables import Place, read_objects, require_text, shown
from rstar_jax.errors import UserError
from rstar_jax.problems.family import Split
from rstar_jax.problems.suite import generate
from rstar_jax.settings import home_expanded
from rstar_jax.types import Problem

_MOST = 10**6  # problems of the suite: memory holds them, and to make them takes minutes
_KINDS = {
    "id": (str, int),
    "question": (str,),
    "answer": (str, int, float),
    "level": (int,),
    "source": (str,),
    "synthetic": (bool,),
}


def load_problems(spec: str, *, seed: int, split: Split, option: str = "") -> list[Problem]:
    """Read `spec`: "240" is that many suite problems of `split`, anything else a file: JSON lines, a JSON
    array or Parquet (`tables.py`).

    option: which one `spec` is of, for errors; config.problems.SPLIT unless given.
    Rows hold id, question (or `problem`), answer and optionally level (0 to 9), source, synthetic; other keys
    are left alone. Of an answer that ends in "#### 72", GSM8K's form, that number is taken. Raises UserError
    naming file and line of the first bad row.
    """
    spec, option = str(spec).strip(), option or f"config.problems.{split}"
    if spec.removeprefix("-").isdecimal():
        if len(spec) > len(str(_MOST)) or not 1 <= int(spec) <= _MOST:
            given = spec if len(spec) < 20 else f"{spec[:20]}..."
            raise UserError(f"{option}: {given} given, 1 problem or more expected, {_MOST:,} at most.")
        return generate(int(spec), seed=seed, split=split)
    path = home_expanded(Path(spec), option)
    if not path.is_file():
        raise UserError(
            f"{option}: '{spec}' given, a number of suite problems or a file of them that "
            "exists expected (JSON lines, a JSON array or Parquet)."
        )
    problems: list[Problem] = []
    first: dict[str, str] = {}
    for place, row in read_objects(path, "id, question and answer"):
        problem = _problem(row, place)
        if problem.id in first:
            raise UserError(f"{place}: id '{problem.id}' is already that of {first[problem.id]}.")
        first[problem.id] = place.short
        problems.append(problem)
    if not problems:
        raise UserError(
            f"{path}: no problems in it; one JSON object with id, question and answer a line expected."
        )
    return problems


def _problem(row: dict[str, Any], place: Place) -> Problem:
    if row.get("question") is None and "problem" in row:
        row = {**row, "question": row["problem"]}
    for key in ("id", "question", "answer"):
        if key not in row or row[key] is None or (isinstance(row[key], str) and not row[key].strip()):
            raise UserError(f"{place}: no '{key}'. Every row needs id, question and answer.")
    fields: dict[str, Any] = {key: row[key] for key in _KINDS if row.get(key) is not None}
    for key, value in fields.items():
        if not isinstance(value, _KINDS[key]) or (isinstance(value, bool) and bool not in _KINDS[key]):
            kinds = " or ".join(kind.__name__ for kind in _KINDS[key])
            raise UserError(f"{place}: {key} is {shown(value)} ({type(value).__name__}), {kinds} expected.")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{place}: {key} is {value}, a finite number or text expected.")
        if isinstance(value, str):
            require_text(place, key, value)
    if not 0 <= fields.get("level", 0) <= 9:
        raise UserError(f"{place}: level is {fields['level']}, 0 (unknown) to 9 expected.")
    answer = str(row["answer"])
    if "####" in answer:  # GSM8K's own: a working, and its answer
        answer = gsm8k.reference(answer)[1]
        if not answer:
            raise UserError(f"{place}: nothing behind '####' in the answer, which is expected there.")
    return Problem(**{**fields, "id": str(row["id"]), "answer": answer})
