"""Published prediction files -> figures, without any model.

ProcessBench (code/run_eval.py of github.com/QwenLM/ProcessBench): rows of the benchmark with `prediction` and
`match`, in files SUBSET_error.jsonl and SUBSET_correct.jsonl of a folder; or one file of all.

    {"id", "problem", "label", "prediction": 2, "match": true, ...}     prediction -1: all right; null: unread

PRMBench (mr_eval of github.com/ssmisya/PRMBench): either what it goes on from (save_to_ckpt), or what it ends
with (output_path), an object with detailed_logs. The first does not say which steps are wrong: the benchmark
itself is read beside it.

    {"task_name", "model_name", "results": {"idx", "scores": {"step_level_validity_labels": [true, ...]}}}
    {"total_hallucination_results", "detailed_logs": [{"idx", "error_steps", "classifcation", "prediction"}]}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from rstar_jax.data.form import content_id
from rstar_jax.data.readers import files_of
from rstar_jax.data.tables import Place, read_objects, shown
from rstar_jax.errors import UserError
from rstar_jax.evaluate.judge.first_error import processbench_figures
from rstar_jax.evaluate.judge.prm_score import confusion, prmbench_figures
from rstar_jax.evaluate.judge.readers import CLASSES, SUBSETS, whole
from rstar_jax.evaluate.judge.resampling import Resampled
from rstar_jax.evaluate.judge.samples import JudgeSample

_FORMS = (
    "ProcessBench's {id, problem, label, prediction}, PRMBench's {results: {idx, scores}} or {detailed_logs}"
)
# Classes of which "redundant" is what is asked, where a model says so apart from "valid".
_REDUNDANT = ("redundency", "circular")


@dataclasses.dataclass(frozen=True)
class PredictedFirst:
    """A row of ProcessBench's. prediction: None: none could be read."""

    id: str
    part: str
    problem: str
    label: int
    prediction: int | None
    benchmark: ClassVar[str] = "processbench"
    needs_sample: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True)
class PredictedSteps:
    """A row of PRMBench's. right: what each step is taken for; None: the model gave nothing that counts.
    errors: wrong steps, from 0; None where the file does not say."""

    id: str
    part: str
    problem: str
    right: tuple[bool, ...] | None
    errors: tuple[int, ...] | None
    benchmark: ClassVar[str] = "prmbench"

    @property
    def needs_sample(self) -> bool:
        """Return whether the benchmark itself has to say which steps are wrong."""
        return self.right is not None and self.errors is None


Predicted = PredictedFirst | PredictedSteps


def read_predictions(path: Path) -> Iterator[Predicted]:
    """Yield the predictions in a file or a folder of files.

    Raises UserError naming file, line and field of a row that is none.
    """
    for file in files_of(path, "config.predictions"):
        for place, row in read_objects(file, _FORMS):
            if "prediction" in row and "label" in row:
                yield _first(row, place)
            elif "detailed_logs" in row:
                yield from _logged(row, place)
            elif isinstance(row.get("results", row).get("scores"), dict):
                yield _steps(row.get("results", row), place, None)
            else:
                raise UserError(
                    f"{place}: fields {shown(', '.join(row))}, which are no prediction's. Known are {_FORMS}."
                )


def _first(row: Mapping[str, Any], place: Place) -> PredictedFirst:
    name, label = str(row.get("id", "")).rpartition("/")[2], whole(dict(row), "label", place)
    subset = name.rpartition("-")[0]
    if subset not in SUBSETS:
        raise UserError(
            f"{place}: id is {shown(row.get('id'))}; one such as 'gsm8k-0' expected, of a subset "
            f"{', '.join(SUBSETS)}."
        )
    prediction = None if row["prediction"] is None else whole(dict(row), "prediction", place)
    if "match" in row and bool(row["match"]) != (prediction == label):
        raise UserError(
            f"{place}: match is {shown(row['match'])}, but prediction is {prediction} and label {label}. One "
            "of the three was changed."
        )
    problem = row.get("problem")
    problem = content_id(problem) if isinstance(problem, str) else name
    return PredictedFirst(name, subset, problem, label, prediction)


def _logged(row: Mapping[str, Any], place: Place) -> Iterator[PredictedSteps]:
    logs = row["detailed_logs"]
    if not isinstance(logs, list) or not all(isinstance(log, dict) for log in logs):
        raise UserError(f"{place}: detailed_logs is {shown(logs)}, a list of objects expected.")
    for log in logs:
        if log.get("classifcation") == "correct":
            continue  # original solutions, which no PRMScore counts
        prediction, errors = log.get("prediction"), log.get("error_steps")
        if prediction is None:
            name = str(log.get("idx"))
            yield PredictedSteps(name, _class(name, place), _problem(name, place), None, None)
        elif isinstance(errors, list) and all(type(step) is int for step in errors):
            yield _steps(prediction, place, tuple(step - 1 for step in errors))
        else:
            raise UserError(f"{place}: error_steps is {shown(errors)}, a list of whole numbers expected.")


def _steps(row: Any, place: Place, errors: tuple[int, ...] | None) -> PredictedSteps:
    name = row.get("idx") if isinstance(row, dict) else None
    scores = row.get("scores") if isinstance(row, dict) else None
    if not isinstance(name, str) or not isinstance(scores, dict):
        raise UserError(f"{place}: a prediction is {shown(row)}; one with idx and scores expected.")
    if name.startswith("correct_"):
        return PredictedSteps(name, "correct", name, None, ())
    kind = _class(name, place)
    if row.get("validity", True) is False:
        return PredictedSteps(name, kind, _problem(name, place), None, errors)
    redundant = kind in _REDUNDANT and "step_level_redundancy_labels" in scores
    key = "step_level_redundancy_labels" if redundant else "step_level_validity_labels"
    labels = scores.get(key)
    if not isinstance(labels, list) or not all(label in (True, False) for label in labels):
        raise UserError(f"{place}: {key} is {shown(labels)}, a list of true and false expected.")
    right = tuple(bool(label) != redundant for label in labels)
    return PredictedSteps(name, kind, _problem(name, place), right, errors)


def _class(name: str, place: Place) -> str:
    found = [kind for kind in CLASSES if name.startswith(f"{kind}_")]
    if not found:
        raise UserError(
            f"{place}: idx is {shown(name)}; a class and a name, such as 'circular_prm_test_p1_0', expected. "
            f"Classes: {', '.join(CLASSES)}."
        )
    return found[0]


def _problem(name: str, place: Place) -> str:
    return name.removeprefix(f"{_class(name, place)}_")  # its classes are made from the same solutions


class Tallied:
    """Predictions as they come, of one benchmark; the first of those with equal ids counts.

    unread: predictions in which nothing could be read. missing: that are of no sample.
    """

    def __init__(self) -> None:
        self.unread = self.missing = 0
        self._seen = set[str]()
        self._first: list[PredictedFirst] = []
        self._counts: list[tuple[str, str, tuple[int, int, int, int]]] = []

    @property
    def count(self) -> int:
        """How many predictions count."""
        return len(self._first) + len(self._counts)

    @property
    def problems(self) -> int:
        """Count the problems that they are of."""
        return len({row.problem for row in self._first} | {problem for _, problem, _ in self._counts})

    def add(self, one: Predicted, samples: Mapping[str, JudgeSample]) -> None:
        """Take a prediction in. samples: the benchmark's, where `one` does not say what is wrong."""
        if one.id in self._seen or one.part == "correct":
            return
        self._seen.add(one.id)
        if isinstance(one, PredictedFirst):
            self.unread += one.prediction is None
            self._first.append(one)
            return
        if one.right is None:
            self.unread += 1
            return
        errors = one.errors
        if errors is None:
            sample = samples.get(one.id)
            if sample is None:
                self.missing += 1
                return
            errors = sample.errors
        self._counts.append((one.part, one.problem, confusion(errors, one.right)))

    def resampled(self) -> Resampled:
        """The benchmark's figures."""
        if self._first:
            rows = self._first
            return processbench_figures(
                [row.part for row in rows],
                [row.problem for row in rows],
                [row.prediction for row in rows],
                [row.label for row in rows],
            )
        parts, problems, counts = zip(*self._counts, strict=True) if self._counts else ((), (), ())
        return prmbench_figures(parts, problems, counts)
