"""A PPM as a judge of steps: ProcessBench, PRMBench, and where every step's truth is known.

    WORKDIR/processbench/scores-00000.parquet   values of a block of samples; also prmbench/, suite/, trees/
    WORKDIR/processbench/DONE.json              SHA-256 of each such file, as of a run's stages
    WORKDIR/judge.json                          figures, and where they come from

A block that is on disk is not scored again, whatever moment the process was killed at. Figures are computed
from the files of scores: another threshold needs no model. Or they are those of a published file of
predictions; then no model is loaded at all.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from rstar_jax import records, sharding, weights
from rstar_jax.errors import UserError
from rstar_jax.evaluate.judge.figures import judged
from rstar_jax.evaluate.judge.judgement import JudgedBenchmark, Judgement
from rstar_jax.evaluate.judge.known_truth import suite_samples, trajectory_samples
from rstar_jax.evaluate.judge.predictions import Tallied, read_predictions
from rstar_jax.evaluate.judge.readers import read_samples, source_of
from rstar_jax.evaluate.judge.samples import JudgeSample
from rstar_jax.evolve import report_page
from rstar_jax.evolve.code_version import code_version
from rstar_jax.evolve.judge_settings import JudgeSettings
from rstar_jax.evolve.judge_stage import SampleSource, StoredScores, score_samples
from rstar_jax.evolve.stages import Workdir
from rstar_jax.inference.step_values import StepValues, read_by
from rstar_jax.report.judgement import judgement_lines, judgement_tables
from rstar_jax.report.progress import Progress
from rstar_jax.report.tables import draw
from rstar_jax.settings import home_expanded, to_dict
from rstar_jax.tasks import VerifySettings

T = TypeVar("T")

RESULT = "judge.json"
_TOLD_EVERY = 64
_FILES = ("processbench", "prmbench")  # whose samples are read from files


def run(settings: JudgeSettings, workdir: Path) -> Judgement:
    """Judge in `workdir`; returns what it also writes and shows.

    1. look at the PPM's folder and at every sample; refuse what is no such model or benchmark
    2. score the samples that have no scores yet, a benchmark after the other
    3. figures

    Raises UserError for bad input. What was scored stays.
    """
    with Progress() as progress:
        found = _of_predictions(settings, workdir, progress) if settings.predictions else None
        if found is None:
            found = _of_ppm(settings, workdir, progress)
        records.write_json(workdir / RESULT, dataclasses.asdict(found))
        progress.log(f"{workdir / RESULT}: all figures, and where they come from.")
        report_page.at_the_end(workdir, progress.log)
    draw(judgement_tables(found), judgement_lines(found), Console(highlight=False))
    return found


def _of_ppm(settings: JudgeSettings, workdir: Path, progress: Progress) -> Judgement:
    folder, task = _folder(settings.ppm), VerifySettings().make_task()  # 1
    read_by(folder, task)
    sources = {name: _looked_at(_source(settings, name), name, progress) for name in settings.benchmarks}
    digest = weights.model_hash(folder)
    model: list[StepValues] = []  # loaded when the first sample needs it

    def load() -> StepValues:
        if not model:
            progress.update(doing="load the PPM")
            model.append(_loaded(settings, folder))
            progress.update(doing="")
        return model[0]

    threshold, benchmarks = settings.threshold[0] if settings.threshold else None, []
    with Workdir(workdir, settings) as work:  # 2
        claimed = {f"benchmarks.{name}": source.fingerprint for name, source in sources.items()}
        work.claim_inputs({"ppm": digest, **claimed})
        for name, source in sources.items():
            score = functools.partial(score_samples, name, source, settings.block)
            work.stage(name, lambda at, score=score: score(at, load, progress))
            found = judged(name, StoredScores(work.root / name), threshold, settings.seed)  # 3
            benchmarks.append(dataclasses.replace(found, source=source.text, fingerprint=source.fingerprint))
    return _judgement(settings, {"ppm": {"name": settings.ppm, "sha256": digest}}, benchmarks)


def _judgement(
    settings: JudgeSettings, models: dict[str, dict[str, str]], benchmarks: list[JudgedBenchmark]
) -> Judgement:
    return Judgement(
        models=models,
        code=code_version(),
        seed=settings.seed,
        config=to_dict(settings),
        benchmarks=tuple(benchmarks),
    )


def _folder(spec: str) -> Path:
    """The PPM's folder. Raises UserError naming config.ppm."""
    expected = "A PPM with its value head, such as roundN/ppm/model of a run, is expected."
    if not spec:
        raise UserError(
            f"config.ppm: '' given. {expected} Or give config.predictions, a file of somebody's predictions."
        )
    path = home_expanded(Path(spec), "config.ppm")
    try:
        folder = weights.local_folder(path if path.exists() else spec)
        weights.check_reward_model(folder)
        weights.require_whole(folder)
        return folder
    except UserError as error:
        raise UserError(f"config.ppm: {error} {expected}") from error


def _source(settings: JudgeSettings, name: str) -> SampleSource:
    if name == "suite":
        text = f"suite:{settings.problems}"
        return SampleSource(text, lambda: suite_samples(settings.problems, settings.seed))
    if name == "trees":
        folder = home_expanded(Path(settings.trees), "config.trees")
        return SampleSource(str(folder), lambda: trajectory_samples(folder, settings.limit))
    data = settings.data if settings.data == "hf:" else _data_folder(settings.data)
    text = source_of(name, data)
    return SampleSource(text, lambda: _from("config.data", read_samples(name, text, settings.limit)))


def _from(option: str, rows: Iterator[T]) -> Iterator[T]:
    """The same, where what they cannot be read for is told of the option that named them."""
    try:
        yield from rows
    except UserError as error:
        told = str(error)
        raise UserError(told if told.startswith(option) else f"{option}: {told}") from error


def _data_folder(spec: str) -> str:
    return str(home_expanded(Path(spec), "config.data")) if spec else ""


def _looked_at(source: SampleSource, name: str, progress: Progress) -> SampleSource:
    """The source with a digest of its samples, and how many there are."""
    found, count = hashlib.sha256(), 0
    with progress.stage(f"read {name}", None, "samples"):
        for count, sample in enumerate(source.samples(), start=1):
            found.update(repr(dataclasses.astuple(sample)).encode(errors="replace"))
            if count % _TOLD_EVERY == 0:
                progress.update(count)
        progress.update(count)
    return dataclasses.replace(source, count=count, fingerprint=found.hexdigest())


def _loaded(settings: JudgeSettings, folder: Path) -> StepValues:
    try:
        mesh = sharding.make_mesh(**dataclasses.asdict(settings.mesh))
    except UserError as error:
        raise UserError(f"config.mesh: {error}") from error
    return StepValues(
        folder,
        VerifySettings().make_task(),
        context=settings.context,
        batch_tokens=settings.batch_tokens,
        dtype=settings.dtype,
        scale=1.0 if settings.ppm_value == "tanh" else 5.0,
        mesh=mesh if mesh.size > 1 else None,
    )


def _of_predictions(settings: JudgeSettings, workdir: Path, progress: Progress) -> Judgement:
    """Figures of a file of predictions."""
    path = home_expanded(Path(settings.predictions), "config.predictions")
    if not path.exists():
        raise UserError(
            f"config.predictions: {settings.predictions!r} given, a file of predictions that exists, or a "
            "folder of such, expected."
        )
    samples: dict[str, JudgeSample] = {}
    tallies = {name: Tallied() for name in _FILES}
    with progress.stage("read predictions", None, "predictions"):
        for count, one in enumerate(_from("config.predictions", read_predictions(path)), start=1):
            if one.needs_sample and not samples:
                source = source_of("prmbench", _data_folder(settings.data))
                read = _from("config.data", read_samples("prmbench", source))
                samples = {sample.id: sample for sample in read}
            tallies[one.benchmark].add(one, samples)
            progress.update(count)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(records.digest(file).encode())
    benchmarks = [
        JudgedBenchmark(
            name=name,
            source=str(path),
            samples=tally.count,
            problems=tally.problems,
            fingerprint=digest.hexdigest(),
            figures=tally.resampled().figures(settings.seed),
            counts={"read": tally.count, "unread": tally.unread, "missing": tally.missing},
        )
        for name, tally in tallies.items()
        if tally.count
    ]
    if not benchmarks:
        raise UserError(
            f"config.predictions: {path}: no prediction in it that counts; rows as ProcessBench's or "
            "PRMBench's own code writes them expected."
        )
    return _judgement(
        settings, {"predictions": {"name": str(path), "sha256": digest.hexdigest()}}, benchmarks
    )
