"""Problems from a specification: a number of suite problems, or a JSONL file of the user's own."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.problems.family import Split
from rstar_jax.problems.suite import generate
from rstar_jax.settings import home_expanded
from rstar_jax.types import Problem

_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS = {
    "id": (str, int),
    "problem": (str,),
    "answer": (str, int, float),
    "level": (int,),
    "source": (str,),
    "synthetic": (bool,),
}


def load_problems(spec: str, *, seed: int, split: Split, option: str = "") -> list[Problem]:
    """Reads `spec`: "240" is that many suite problems of `split`, anything else a .jsonl file.

    option: which one `spec` is of, for errors; config.problems.SPLIT unless given.
    Rows hold id, problem, answer and optionally level (0 to 9), source, synthetic; other keys are left
    alone. Raises UserError naming file and line of the first bad row.
    """
    spec, option = str(spec).strip(), option or f"config.problems.{split}"
    if spec.removeprefix("-").isdecimal():
        if int(spec) < 1:
            raise UserError(f"{option}: {spec} given, 1 problem or more expected.")
        return generate(int(spec), seed=seed, split=split)
    path = home_expanded(Path(spec), option)
    if not path.is_file():
        raise UserError(
            f"{option}: '{spec}' given, a number of suite problems or a .jsonl file that "
            "exists expected."
        )
    problems: list[Problem] = []
    first: dict[str, int] = {}
    for number, row in read_objects(path, "id, problem and answer"):
        problem = _problem(row, f"{path}:{number}")
        if problem.id in first:
            raise UserError(
                f"{path}:{number}: id '{problem.id}' is already that of line {first[problem.id]}."
            )
        first[problem.id] = number
        problems.append(problem)
    if not problems:
        raise UserError(
            f"{path}: no problems in it; one JSON object with id, problem and answer a line expected."
        )
    return problems


def read_objects(path: Path, expected: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a .jsonl file, each with its line (1-based); empty lines are passed over.

    expected: the keys that an error names. Raises UserError naming file and line of what is no JSON object,
    or holds half a character, and the file where it is not UTF-8 or cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}). Check its rights.") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _object(line, f"{path}:{number}", expected)


def _object(line: str, where: str, expected: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error.msg} at column {error.colno}).") from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of brackets
        raise UserError(f"{where}: cannot be read as JSON ({error}).") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: {type(row).__name__} given, an object with {expected} expected.")
    return row


def require_whole(where: str, key: str, text: str) -> None:
    """Raises UserError where a text holds half a character, as JSON's escapes can write it."""
    if half := _SURROGATE.search(text):
        raise UserError(
            f"{where}: {key} holds half a character ({half[0]!a}), which is no text. Mend that escape."
        )


def _problem(row: dict[str, Any], where: str) -> Problem:
    for key in ("id", "problem", "answer"):
        if key not in row or row[key] is None or (isinstance(row[key], str) and not row[key].strip()):
            raise UserError(f"{where}: no '{key}'. Every row needs id, problem and answer.")
    fields: dict[str, Any] = {key: row[key] for key in _KINDS if row.get(key) is not None}
    for key, value in fields.items():
        if not isinstance(value, _KINDS[key]) or (isinstance(value, bool) and bool not in _KINDS[key]):
            kinds = " or ".join(kind.__name__ for kind in _KINDS[key])
            raise UserError(f"{where}: {key} is {value!r} ({type(value).__name__}), {kinds} expected.")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{where}: {key} is {value}, a finite number or text expected.")
        if isinstance(value, str):
            require_whole(where, key, value)
    if not 0 <= fields.get("level", 0) <= 9:
        raise UserError(f"{where}: level is {fields['level']}, 0 (unknown) to 9 expected.")
    return Problem(**{**fields, "id": str(row["id"]), "answer": str(row["answer"])})
