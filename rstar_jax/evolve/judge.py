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
import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from rich.console import Console

import rstar_jax
from rstar_jax import records, sharding, weights
from rstar_jax.errors import UserError
from rstar_jax.evaluate.judge.figures import BENCHMARKS, judged
from rstar_jax.evaluate.judge.judgement import JudgedBenchmark, Judgement
from rstar_jax.evaluate.judge.known_truth import suite_samples, trajectory_samples
from rstar_jax.evaluate.judge.predictions import Tallied, read_predictions
from rstar_jax.evaluate.judge.readers import read_samples, source_of
from rstar_jax.evaluate.judge.samples import JudgeSample, StepScores
from rstar_jax.evaluate.judge.shown import judgement_lines, judgement_tables
from rstar_jax.evolve.stages import Workdir
from rstar_jax.inference.step_values import StepValues, read_by
from rstar_jax.report.progress import Progress
from rstar_jax.report.tables import draw
from rstar_jax.settings import home_expanded, nearest, require, to_dict
from rstar_jax.sharding import MeshConfig
from rstar_jax.tasks import VerifySettings

RESULT = "judge.json"
_FILES = ("processbench", "prmbench")  # whose samples are read from files


@dataclasses.dataclass(frozen=True)
class JudgeSettings:
    """A PPM, and the benchmarks of steps that it judges.

    ppm: folder or hub id of a PPM, or of a reward model of others. ppm_value: what its
        training compared (`train.ppm.ppm_value` of its run).
    benchmarks: "processbench", "prmbench", "suite", "trees".
    data: the folder in which processbench.jsonl and prmbench.jsonl lie (or .json, .parquet); "hf:" reads them
        from the hub.
    predictions: a file of predictions, or a folder of such, as ProcessBench's or PRMBench's own code writes
        them: their figures are computed, and no PPM is asked.
    trees: for "trees", the folder of a finished search (RUN/round1/search).
    limit: so many erroneous and so many correct samples of each part of ProcessBench and PRMBench, the first
        ones, and trajectories of a tree; 0: all.
    problems: of the suite, held-out ones. seed: draws them, and the weights of the intervals.
    threshold: below which a step's value is taken for wrong, -1 to 1; empty: ProcessBench's is the one with
        the best F1 on its GSM8K subset, PRMBench's is 0, a probability of 1/2.
    dtype: the type of numbers that the model computes with. context: tokens of the longest text that is read;
        longer ones are counted and named. batch_tokens: tokens of a device call, padding included.
    block: samples in a file of scores; a killed run does one such again at most. mesh: over which devices the
        model and its batches are split.
    """

    job: str = "judge"
    ppm: str = ""
    ppm_value: Literal["tanh", "raw"] = "tanh"
    benchmarks: tuple[str, ...] = ("processbench", "prmbench", "suite")
    data: str = ""
    predictions: str = ""
    trees: str = ""
    limit: int = 0
    problems: int = 216
    seed: int = 0
    threshold: tuple[float, ...] = ()
    dtype: Literal["float32", "bfloat16"] = "float32"
    context: int = 4096
    batch_tokens: int = 8192
    block: int = 256
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)

    def __post_init__(self) -> None:
        # A single word on the command line may hold several: --config.benchmarks=suite,prmbench.
        names = tuple(dict.fromkeys(name for word in self.benchmarks for name in word.split(",") if name))
        object.__setattr__(self, "benchmarks", names)
        require(names, "benchmarks", self.benchmarks, "one of them at least")
        for name in names:
            hint = f"names of benchmarks of steps. {nearest(name, BENCHMARKS)} Each"
            require(name in BENCHMARKS, "benchmarks", name, hint)
        for name, least in (("limit", 0), ("problems", 1), ("context", 2), ("batch_tokens", 1), ("block", 1)):
            require(getattr(self, name) >= least, name, getattr(self, name), f"{least} or more")
        require(0 <= self.seed < 2**31, "seed", self.seed, "a whole number from 0 to below 2**31")
        require(len(self.threshold) <= 1, "threshold", self.threshold, "one number, or none,")
        for value in self.threshold:
            require(-1 <= value <= 1, "threshold", value, "a number from -1 to 1, as values are,")
        if "trees" in names and not self.trees:
            raise UserError(
                "config.trees: '' given, the folder of a finished search (RUN/round1/search) expected, as "
                "config.benchmarks has 'trees'."
            )


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
    draw(judgement_tables(found), judgement_lines(found), Console(highlight=False))
    return found


@dataclasses.dataclass(frozen=True)
class _Source:
    """Samples of a benchmark, read anew at each call. text: where from, for people."""

    text: str
    samples: Callable[[], Iterator[JudgeSample]]


def _of_ppm(settings: JudgeSettings, workdir: Path, progress: Progress) -> Judgement:
    folder, task = _folder(settings.ppm), VerifySettings().make_task()  # 1
    read_by(folder, task)
    sources = {name: _source(settings, name) for name in settings.benchmarks}
    fingerprints, counts = {}, {}
    for name, source in sources.items():
        with progress.stage(f"read {name}", None, "samples"):
            fingerprints[name], counts[name] = _fingerprint(source.samples(), progress)
    digest = weights.model_hash(folder)
    model: list[StepValues] = []  # loaded when the first sample needs it

    def load() -> StepValues:
        if not model:
            progress.update(doing="load the PPM")
            model.append(_loaded(settings, folder))
            progress.update(doing="")
        return model[0]

    with Workdir(workdir, settings) as work:  # 2
        work.claim_inputs({"ppm": digest, **{f"benchmarks.{n}": f for n, f in fingerprints.items()}})
        benchmarks = []
        for name, source in sources.items():
            work.stage(
                name, lambda at, n=name, s=source: _score(settings, n, s, counts[n], at, load, progress)
            )
            rows = _Stored(work.root / name)
            benchmarks.append(
                judged(
                    name,
                    rows,
                    settings.threshold[0] if settings.threshold else None,
                    settings.seed,
                    source=source.text,
                    fingerprint=fingerprints[name],
                )
            )  # 3
    return _judgement(settings, {"ppm": {"name": settings.ppm, "sha256": digest}}, benchmarks)


def _judgement(
    settings: JudgeSettings, models: dict[str, dict[str, str]], benchmarks: list[JudgedBenchmark]
) -> Judgement:
    return Judgement(
        models=models,
        code={"rstar_jax": rstar_jax.__version__},
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
    except weights.OtherKind as error:
        raise UserError(f"config.ppm: {error} {expected}") from error
    except UserError as error:
        raise UserError(f"config.ppm: {error}") from error


def _source(settings: JudgeSettings, name: str) -> _Source:
    if name == "suite":
        text = f"suite:{settings.problems}"
        return _Source(text, lambda: suite_samples(settings.problems, settings.seed))
    if name == "trees":
        folder = home_expanded(Path(settings.trees), "config.trees")
        return _Source(str(folder), lambda: trajectory_samples(folder, settings.limit))
    data = settings.data if settings.data == "hf:" else _data_folder(settings.data)
    text = source_of(name, data)
    return _Source(text, lambda: read_samples(name, text, settings.limit))


def _data_folder(spec: str) -> str:
    return str(home_expanded(Path(spec), "config.data")) if spec else ""


def _fingerprint(samples: Iterator[JudgeSample], progress: Progress) -> tuple[str, int]:
    """A digest of samples, and how many there are."""
    found, count = hashlib.sha256(), 0
    for count, sample in enumerate(samples, start=1):
        found.update(repr(dataclasses.astuple(sample)).encode(errors="replace"))
        if count % 64 == 0:
            progress.update(count)
    progress.update(count)
    return found.hexdigest(), count


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


def _score(
    settings: JudgeSettings,
    name: str,
    source: _Source,
    total: int,
    folder: Path,
    load: Callable[[], StepValues],
    progress: Progress,
) -> dict[str, int]:
    """Point 2 of `run`: write the blocks that are not there. Returns how many samples and texts too long."""
    samples, done, long = source.samples(), 0, 0
    blocks = iter(lambda: list(itertools.islice(samples, settings.block)), [])
    there = sum(_is_done(path) for path in folder.glob("scores-*.parquet")) * settings.block
    with progress.stage(f"judge {name}", total, "samples", done=min(total, there)):
        for number, block in enumerate(blocks):
            path = folder / f"scores-{number:05d}.parquet"
            rows = _stored(path, block)
            if rows is None:
                rows = _scored(load(), block)
                records.write_rows(path, StepScores, rows)
            done += len(rows)
            long += sum(not row.values for row in rows)
            progress.update(done, note=f"{long:,} too long" if long else "")
    return {"samples": done, "too_long": long}


def _is_done(path: Path) -> bool:
    return records.is_of(path, StepScores)


def _stored(path: Path, block: list[JudgeSample]) -> list[StepScores] | None:
    """The scores of a block that are on disk; None where it has to be scored."""
    if not path.exists():
        return None
    try:
        rows = records.read_rows(path, StepScores)
        if [row.id for row in rows] != [sample.id for sample in block]:
            raise records.Damaged(path, "not of the samples that belong there")
        return rows
    except records.Damaged:
        records.quarantine(path)
        return None


def _scored(model: StepValues, block: list[JudgeSample]) -> list[StepScores]:
    texts = [model.encode(sample.question, sample.steps) for sample in block]
    fitting = [i for i, text in enumerate(texts) if model.fits(text)]
    values = dict(zip(fitting, model.values([texts[i] for i in fitting]), strict=True))
    return [StepScores.of(sample, texts[i].tokens, values.get(i, ())) for i, sample in enumerate(block)]


@dataclasses.dataclass(frozen=True)
class _Stored:
    """The scores of a benchmark, in order, one file at a time in memory."""

    folder: Path

    def __call__(self) -> Iterator[StepScores]:
        for path in sorted(self.folder.glob("scores-*.parquet")):
            yield from records.read_rows(path, StepScores)


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
        for count, one in enumerate(read_predictions(path), start=1):
            if one.needs_sample and not samples:
                source = source_of("prmbench", _data_folder(settings.data))
                samples = {sample.id: sample for sample in read_samples("prmbench", source)}
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
