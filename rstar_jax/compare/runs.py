"""Contents of a working directory: its options, its models, and figures problem by problem.

    an evaluation       evaluation.json, benchmarks/NAME/predictions.parquet, greedy.parquet
    a run of rounds     base/evaluate, roundN/evaluate: policy-*.parquet and, where it searched,
                        search-*.parquet (also a warm start, and a PPM trained alone)

Texts are not kept: a problem is its id and a hash of what it asks, a figure one number for each problem.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rstar_jax import manifests, parquet, records
from rstar_jax.compare import heldout
from rstar_jax.errors import UserError
from rstar_jax.evaluate import metrics
from rstar_jax.evaluate.prediction import Prediction
from rstar_jax.report.progress import Progress
from rstar_jax.settings import from_config, to_dict

EVALUATION, CONFIG = "evaluation.json", "config.json"
HELDOUT = "held-out"  # the benchmark of a run's own evaluations
GREEDY = "greedy"  # the policy's one greedy solution of each problem
ALONE = (GREEDY, "policy")  # metrics of which that is all
_ROWS = 4096  # predictions in memory at a time
_KINDS = {"evolve": "run of rounds", "sft": "warm start", "ppm": "training of a PPM"}

_Trees = tuple[np.ndarray, dict[str, np.ndarray]]  # as `heldout.values` gives them


@dataclasses.dataclass(frozen=True)
class Values:
    """A figure, problem by problem. problems: [B] str, ids with what they ask. values: [B] in [0, 1]."""

    problems: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Source:
    """Where figures of a benchmark come from. stage: after which stage of a run; "" of an evaluation.

    headline: the metrics that count. known: all that were measured. protocol: what figures depend on but the
    models. read: gives a metric's values, raises UserError where it cannot be had. beside: counts of samples
    with something amiss, and means over problems of what they cost, by what they are.
    """

    benchmark: str
    stage: str
    headline: tuple[str, ...]
    known: tuple[str, ...]
    protocol: Mapping[str, Any]
    read: Callable[[str], Values]
    beside: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """A run's folder. options: all, flat, by name. models: name and checksum of each, by kind."""

    name: str
    kind: str
    folder: Path
    options: dict[str, Any]
    models: dict[str, str]
    code: str
    sources: tuple[Source, ...]

    def source(self, benchmark: str, stage: str) -> Source | None:
        """The one of a benchmark after a stage."""
        return next((s for s in self.sources if (s.benchmark, s.stage) == (benchmark, stage)), None)


def is_run(folder: Path) -> bool:
    """Tell whether a folder is that of a run, or of an evaluation."""
    return (folder / EVALUATION).is_file() or (folder / CONFIG).is_file()


def read_run(folder: Path, name: str, progress: Progress) -> ComparedRun:
    """Read what is known of a run before any figure.

    Raises UserError where the folder is no run's or nothing of it is measured, Damaged for a damaged file.
    """
    if (folder / EVALUATION).is_file():
        return _evaluation(folder, name, progress)
    return _rounds(folder, name, progress)


def _evaluation(folder: Path, name: str, progress: Progress) -> ComparedRun:
    found = records.read_signed(folder / EVALUATION)
    try:
        models = {kind: _model(model) for kind, model in found["models"].items()}
        sources = tuple(_benchmark(folder, name, one, progress) for one in found["benchmarks"])
        code, options = found["code"], _flat(found["config"])
    except (KeyError, TypeError, AttributeError) as error:
        raise records.Damaged(folder / EVALUATION, f"no {error} as an evaluation has it") from error
    if not sources:
        raise UserError(f"config.runs: {folder}: no benchmark there is measured yet. Let its command go on.")
    return ComparedRun(name, "evaluation", folder, options, models, _code(code), sources)


def _model(model: Mapping[str, str]) -> str:
    return f"{model['name']} ({model.get('sha256', '')[:12] or 'no checksum'})"


def _code(code: Mapping[str, str]) -> str:
    return " ".join(str(part) for part in code.values() if part)


def _benchmark(folder: Path, name: str, one: Mapping[str, Any], progress: Progress) -> Source:
    """The source of a benchmark's figures, of its entry in evaluation.json."""
    protocol, figures, at = one["protocol"], one["figures"], folder / "benchmarks" / one["name"]
    alone = protocol.get("strategy") == GREEDY
    files = {GREEDY: at / ("predictions.parquet" if alone else "greedy.parquet")}

    @functools.cache
    def samples(file: Path) -> tuple[np.ndarray, metrics.Samples]:
        with progress.stage(f"read {name}, {one['name']}", parquet.count_rows(file), "samples"):
            return _predictions(file, progress)

    def read(metric: str) -> Values:
        file = files.get(metric, at / "predictions.parquet")
        if not file.is_file():
            raise UserError(f"{file}: not there, from which '{metric}' is computed.")
        problems, found = samples(file)
        return Values(problems, metrics.values(found, "pass@1" if metric == GREEDY else metric))

    known = tuple(figures)
    counts = str(protocol.get("metric", "pass@1"))
    headline = dict.fromkeys((counts, *([] if counts.startswith("avg@") else ["pass@1"]), GREEDY))
    costs = {f"{what.replace('_', ' ')} a problem": value for what, value in (one.get("costs") or {}).items()}
    beside = {what.replace("_", " "): count for what, count in (one.get("counts") or {}).items()} | costs
    return Source(one["name"], "", tuple(m for m in headline if m in known), known, protocol, read, beside)


def _predictions(file: Path, progress: Progress) -> tuple[np.ndarray, metrics.Samples]:
    """Problems and samples of a file of predictions, read in pieces."""
    names = [*metrics.COLUMNS, "question", "reference"]
    problems = list[str]()

    def tables() -> Iterator[dict[str, Any]]:
        last, done = None, 0
        for table in parquet.read_tables(file, Prediction, _ROWS, names):
            part = table.to_pydict()
            for problem in zip(part["problem_id"], part["question"], part["reference"], strict=True):
                if problem[0] != last:
                    last = problem[0]
                    problems.append(heldout.problem_key(*problem))
            done += len(table)
            progress.update(done)
            yield part

    samples = metrics.of_columns(tables())
    return np.array(problems), samples


def _rounds(folder: Path, name: str, progress: Progress) -> ComparedRun:
    options = records.read_signed(folder / CONFIG)
    job = options.get("job", "evolve")
    options = _brought_up(options) if job == "evolve" else options
    if job == "evaluate":
        raise UserError(f"config.runs: {folder}: no benchmark there is measured yet. Let its command go on.")
    if job not in _KINDS:
        raise UserError(
            f"config.runs: {folder}: made by the job '{job}'; an evaluation or a run of rounds expected."
        )
    sources = tuple(_stages(folder, name, job, options, progress))
    if not sources:
        raise UserError(
            f"config.runs: {folder}: a {_KINDS[job]} without a finished evaluation. Let its command go "
            "on, or give it held-out problems."
        )
    models = {"base": str((options.get("policy") or {}).get("init", ""))}
    return ComparedRun(name, _KINDS[job], folder, _flat(options), models, "", sources)


def _stages(
    folder: Path, name: str, job: str, options: Mapping[str, Any], progress: Progress
) -> Iterator[Source]:
    """The evaluations of a run that are done, in order."""
    numbers = (path.name[5:] for path in folder.glob("round*"))
    rounds = {f"round {n}": f"round{n}/evaluate" for n in sorted(int(n) for n in numbers if n.isdecimal())}
    for stage, at in {"base": "base/evaluate", **rounds, "trained": "evaluate"}.items():
        if not (folder / at / manifests.MANIFEST).is_file():
            continue
        outputs = manifests.read(folder / at / manifests.MANIFEST)["outputs"]
        known = ["policy"] if any(file.startswith("policy-") for file in outputs) else []
        if any(file.startswith("search-") for file in outputs):
            known += ["search", "solved"] if job == "evolve" else ["solved"]
        protocol = {f"evaluate.{key}": value for key, value in _flat(options.get("evaluate") or {}).items()}

        @functools.cache
        def trees(of: str, at: Path = folder / at, title: str = f"read {name}, {stage}") -> _Trees:
            return heldout.values(at, of, options, progress, f"{title}, {of}")

        def read(metric: str, trees: Callable[[str], _Trees] = trees, known: Sequence[str] = known) -> Values:
            if metric not in known:
                raise UserError(f"metric '{metric}': not measured there; {', '.join(known)} were.")
            problems, found = trees(heldout.METRICS[metric])
            return Values(problems, found[metric])

        yield Source(HELDOUT, stage, tuple(known), tuple(known), protocol, read)


def _brought_up(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a run of rounds of an earlier release under today's names, with what it lacked."""
    from rstar_jax.evolve.settings import RunSettings

    try:
        return to_dict(from_config(RunSettings, options))
    except UserError:  # of a later release, or damaged: as they are
        return options


def _flat(options: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Options by their dotted names."""
    found = {}
    for key, value in options.items():
        name = f"{where}{key}"
        found.update(_flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return found
