"""ProcessBench (arXiv 2412.06559) and PRMBench (arXiv 2501.03124) as samples, from files or from the hub.

    {"id", "problem", "steps", "label"}     ProcessBench, as it is published (hub: Qwen/ProcessBench); the
                                            subset is what stands before the number in the id, "gsm8k-0"
    {"idx", "modified_question", "modified_process", "error_steps", "classification"}
                                            PRMBench, as it is published (hub: hitsmy/PRMBench_Preview)
    {"id", "problem", "steps", "error_steps", "subject"}    PRMBench in the columns of problem sets

Further columns are left alone. A row of another form is a UserError naming file, line and field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rstar_jax.data.form import content_id
from rstar_jax.data.readers import READERS
from rstar_jax.data.specification import parse
from rstar_jax.data.tables import Place, raise_it, require_whole, shown
from rstar_jax.errors import UserError
from rstar_jax.evaluate.judge.samples import JudgeSample

SUBSETS = ("gsm8k", "math", "olympiadbench", "omnimath")
# PRMBench's classes by what they are grouped under, in the order of its table (draw_radar.ipynb of
# github.com/ssmisya/PRMBench, commit a1ae4ea).
GROUPS = {
    "simplicity": ("redundency", "circular"),
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
CLASSES = tuple(name for names in GROUPS.values() for name in names)
HUB = {
    "processbench": "+".join(f"hf:Qwen/ProcessBench:{subset}" for subset in SUBSETS),
    "prmbench": "hf:hitsmy/PRMBench_Preview:train",
}
_ENDINGS = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz")
# takes "Step 3. " and "3. ": what PRMBench's own code takes off before a model reads a step
# (mr_eval/utils/model_utils.py: remove_step_prefix)
_NUMBERED = re.compile(r"^(Step\s*\d+\.\s*|\d+\.\s*)", re.IGNORECASE)
_FORMS = {
    "processbench": "id, problem, steps and label",
    "prmbench": "idx, modified_question, modified_process, error_steps and classification",
}


def source_of(benchmark: str, data: str) -> str:
    """The specification that a benchmark's rows are read from: a file of its name in the folder `data`, or
    the hub. Raises UserError naming config.data."""
    if data == "hf:":
        return HUB[benchmark]
    paths = [Path(data).expanduser() / f"{benchmark}{ending}" for ending in _ENDINGS] if data else []
    found = [path for path in paths if path.is_file()]
    if not found:
        raise UserError(
            f"config.data: {data!r} given, a folder with {benchmark}.jsonl in it expected (rows with "
            f"{_FORMS[benchmark]}), or hf: for {HUB[benchmark]}."
        )
    return str(found[0])


def read_samples(benchmark: str, source: str, limit: int = 0) -> Iterator[JudgeSample]:
    """Yield the samples of a source, one by one; of a PRMBench sample that occurs twice the first, as its own
    code does. limit: so many of each part, the first; 0: all. Of
    ProcessBench that is for erroneous and for correct solutions each.

    Raises UserError for a row that is none, and where there is no sample.
    """
    read: Callable[[dict[str, Any], Place], JudgeSample] = _READ[benchmark]
    seen, taken = set[str](), dict[tuple[str, bool], int]()
    for part in parse(source, "config.data"):
        for place, row in READERS[part.kind](part, "config.data", raise_it):
            sample = read(row, place)
            if sample.id in seen:
                if benchmark == "prmbench":
                    continue
                raise UserError(f"{place}: id {shown(sample.id)} stands in an earlier row, too.")
            seen.add(sample.id)
            kind = sample.part, bool(sample.errors)
            taken[kind] = taken.get(kind, 0) + 1
            if not limit or taken[kind] <= limit:
                yield sample
    if not seen:
        raise UserError(f"{source}: no rows in it; {benchmark}'s expected, with {_FORMS[benchmark]}.")


def _processbench(row: dict[str, Any], place: Place) -> JudgeSample:
    name = _text(row, "id", place).rpartition("/")[2]
    question, steps = _text(row, "problem", place), _steps(row, "steps", place)
    label = whole(row, "label", place)
    if not -1 <= label < len(steps):
        raise UserError(
            f"{place}: label is {label}; the first wrong of {len(steps)} steps, from 0, or -1 expected."
        )
    subset = name.rpartition("-")[0]
    if subset not in SUBSETS:
        raise UserError(f"{place}: id is {shown(row['id'])}; one such as 'gsm8k-0' expected, of a subset "
                        f"{', '.join(SUBSETS)}.")  # fmt: skip
    return JudgeSample(
        id=name,
        part=subset,
        problem=content_id(question),
        question=question,
        steps=steps,
        errors=() if label < 0 else (label,),
    )


def _prmbench(row: dict[str, Any], place: Place) -> JudgeSample:
    published = "modified_process" in row
    columns = ("idx", "modified_question", "modified_process", "classification")
    name_, question_, steps_, class_ = columns if published else ("id", "problem", "steps", "subject")
    name, question = _text(row, name_, place), _text(row, question_, place)
    steps, kind = _steps(row, steps_, place), _text(row, class_, place)
    if kind not in CLASSES:
        raise UserError(f"{place}: {class_} is {shown(kind)}, one of {', '.join(CLASSES)} expected.")
    errors = row.get("error_steps")
    if not isinstance(errors, list) or not all(type(step) is int and step >= 1 for step in errors):
        raise UserError(f"{place}: error_steps is {shown(errors)}, a list of steps from 1 on expected.")
    parts = [part for part in name.split("/") if not part.isdecimal()]
    return JudgeSample(
        id=prmbench_id(parts[-1] if parts else name, kind),
        part=kind,
        problem=content_id(question),
        question=question,
        steps=tuple(_NUMBERED.sub("", step.strip()) for step in steps),
        # Steps that the solution does not have are named in a hundred rows; its own code passes them over.
        errors=tuple(sorted({step - 1 for step in errors if step <= len(steps)})),
    )


def prmbench_id(name: str, kind: str) -> str:
    """A sample's id as PRMBench's code and predictions have it: the class stands before it, once."""
    return name if name.startswith(f"{kind}_") else f"{kind}_{name}"


_READ = {"processbench": _processbench, "prmbench": _prmbench}


def _text(row: dict[str, Any], key: str, place: Place) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(
            f"{place}: {key} is {shown(value)}, text expected. The row has {shown(', '.join(row))}."
        )
    require_whole(place, key, value)
    return value


def whole(row: dict[str, Any], key: str, place: Place) -> int:
    """A whole number of a row. Raises UserError naming place and field."""
    value = row.get(key)
    if type(value) is not int:
        raise UserError(
            f"{place}: {key} is {shown(value)}, a whole number expected. The row has {shown(', '.join(row))}."
        )
    return value


def _steps(row: dict[str, Any], key: str, place: Place) -> tuple[str, ...]:
    value = row.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(step, str) for step in value):
        raise UserError(
            f"{place}: {key} is {shown(value)}, a list of step texts expected. The row has "
            f"{shown(', '.join(row))}."
        )
    for step in value:
        require_whole(place, key, step)
    return tuple(value)
