"""A prepared set: problems of any sources, cleaned once and packed for every run that reads them.

WORKDIR/rstar_problems/1.0.0   the set (`data/rstar_problems.py`), which is there when it is whole
WORKDIR/rstar_problems/DONE.json, WORKDIR/report.json   what was dropped and why, digests of all files
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rstar_jax import records
from rstar_jax.data.clean import CleanConfig, CleanReport, clean
from rstar_jax.data.corrections import corrections
from rstar_jax.data.known import NO_ANSWER, Columns
from rstar_jax.data.load import load_problems, require_columns
from rstar_jax.data.prepared import SHARD
from rstar_jax.data.problem_set import ProblemSet, Selected
from rstar_jax.errors import UserError
from rstar_jax.evolve.stages import Workdir
from rstar_jax.report import results
from rstar_jax.report.notes import known_wrong
from rstar_jax.report.progress import Progress
from rstar_jax.report.write import write_report
from rstar_jax.settings import require, to_dict
from rstar_jax.tasks import TASKS, VerifySettings
from rstar_jax.tasks.settings import MOST_OUTPUT_KB

STAGE = "rstar_problems"
HELDOUT = "heldout"
_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class PrepareSettings:
    """A prepared set.

    sources: where its problems come from, as a run's (`data/specification.py`), such as
        hf:openai/gsm8k:train+jsonl:FILE*0.5; they are cleaned and become the split "train".
    heldout: the same for the split "heldout", which is taken as it is; problems of `sources` that are in it
        are dropped. Empty: the set has no such split.
    against: benchmarks whose problems are dropped from `sources`, too, each a specification or
        NAME=SPECIFICATION, as in "('MATH-500=math500.jsonl','aime.jsonl')".
    columns: which columns of these hold what, where keys do not tell.
    bad: whether a row that cannot be used is "fatal", or to "drop": then it is counted by kind and named by
        example. corrections: answers that are put in the place of wrong ones, as a run's. seed: draws suite
        problems and shares.
    task: a problem that it cannot check is a bad row, a row of `tasks.TASKS`.
    clean: what is dropped.
    shard: rows of a file. Reading a row takes the longer the more its file has.
    """

    job: str = "prepare"
    sources: str = ""
    heldout: str = ""
    against: tuple[str, ...] = ()
    columns: Columns = Columns()
    bad: Literal["fatal", "drop"] = "fatal"
    corrections: str = ""
    seed: int = 0
    task: str = "math"
    clean: CleanConfig = dataclasses.field(default_factory=CleanConfig)
    shard: int = SHARD

    def __post_init__(self) -> None:
        require(self.shard >= 1, "shard", self.shard, "1 or more")
        require(self.task in TASKS, "task", self.task, f"one of {', '.join(TASKS)}")
        self.benchmarks()  # what is wrong with their names is told now

    def benchmarks(self) -> dict[str, str]:
        """Return the specifications of `against` by name. Raises UserError for a name that comes twice."""
        found: dict[str, str] = {}
        for given in self.against:
            named = None if os.path.exists(given) else _NAMED.fullmatch(given)
            name, spec = named.groups() if named else (given, given)
            if name in found or name == HELDOUT:
                raise UserError(
                    f"config.against: the name '{name}' is given twice, or is that of the held-out problems. "
                    "Name each otherwise: NAME=SPECIFICATION."
                )
            found[name] = spec
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """Rows that were packed, and those that were not.

    splits: of the set, rows and fingerprint of each. left_out: rows that could not be used, by option, with
    their kinds and first examples. clean: what was dropped of `sources`. known_wrong: ids of problems that
    were read and whose answers are known to be wrong, by option.
    """

    splits: dict[str, dict[str, Any]]
    left_out: dict[str, dict[str, Any]]
    clean: CleanReport
    known_wrong: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def run(settings: PrepareSettings, workdir: Path) -> dict[str, Any]:
    """Prepare a set in `workdir` and return the report that is also written and shown.

    1. read all sources; refuse what cannot be read
    2. claim the folder
    3. clean the sources against the held-out problems and the benchmarks
    4. pack what stays, and put the set in its place
    5. report

    A set that is there is not made again; one that was not finished is begun anew. Raises UserError for bad
    input, for a folder made of other input, and where no problem is left.
    """
    with Progress() as progress:
        read = _read(settings, progress)  # 1
        with Workdir(workdir, settings) as work:  # 2
            work.claim_inputs({name: _fingerprint(name, read) for name in ("sources", "heldout", "against")})

            def make(folder: Path) -> dict[str, Any]:
                return results.to_json(_prepare(settings, read, folder, progress))

            manifest = work.stage(STAGE, make)
            report = {
                **manifest["result"],
                "folder": str(workdir),
                "seconds": manifest["seconds"],
                "peak_mb": manifest["peak_mb"],
                "config": to_dict(settings),
            }
            write_report(workdir / "report.json", report)  # 5
    print("\n".join(_summary(results.of_json(PrepareReport, report), settings, workdir)))
    return report


def _read(settings: PrepareSettings, progress: Progress) -> dict[str, ProblemSet]:
    """Read everything, by option and, of benchmarks, by name: "sources", "heldout", "against MATH-500"."""
    # Runs have their own limit of what a program prints, and refuse what is above it.
    fits = VerifySettings(task=settings.task, output_kb=MOST_OUTPUT_KB).make_task().require
    met: set[str] = set()

    def load(option: str, spec: str, split: Literal["train", "heldout"]) -> ProblemSet:
        # Of benchmarks the questions are compared, which need neither answers nor ids of their own.
        compared = dataclasses.replace(settings.columns, cut=NO_ANSWER)
        return load_problems(
            spec,
            seed=settings.seed,
            split=split,
            option=f"config.{option}",
            columns=compared if option == "against" else settings.columns,
            bad=settings.bad,
            require=None if option == "against" else fits,
            log=progress.log,
            met=met,
            mended=None if option == "against" else corrections(settings.corrections, "config.corrections"),
        )

    found = {"sources": load("sources", settings.sources, "train")}
    if settings.heldout:
        found[HELDOUT] = load("heldout", settings.heldout, "heldout")
    for name, spec in settings.benchmarks().items():
        found[f"against {name}"] = load("against", spec, "heldout")
    require_columns(settings.columns, met, "config.columns")
    return found


def _fingerprint(option: str, read: Mapping[str, ProblemSet]) -> str:
    """SHA-256 of all that was read by an option; of nothing where it was not given."""
    parts = [f"{name} {one.fingerprint}" for name, one in read.items() if name.split()[0] == option]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _prepare(
    settings: PrepareSettings, read: Mapping[str, ProblemSet], folder: Path, progress: Progress
) -> PrepareReport:
    """Points 3 and 4 of `run`. folder: of the stage, which holds nothing else."""
    sources = read["sources"]
    against = {name.removeprefix("against "): one for name, one in read.items() if name != "sources"}
    with progress.stage("clean", len(sources), "problems"):
        cleaned = clean(sources, against, settings.clean, told=progress.update)
    if not len(cleaned.kept):
        why = "\n".join(cleaned.report.lines())
        raise UserError(f"config.sources: '{settings.sources}' given, of which no problem is left:\n{why}")
    splits: dict[str, ProblemSet] = {"train": Selected(sources, cleaned.kept)}
    if HELDOUT in read:
        splits[HELDOUT] = read[HELDOUT]
    _pack(folder, splits, settings.shard, progress)
    return PrepareReport(
        splits={
            name: {"rows": len(problems), "fingerprint": problems.fingerprint}
            for name, problems in splits.items()
        },
        left_out={
            name: {"kinds": dict(one.faults.kinds), "examples": one.faults.examples}
            for name, one in read.items()
            if one.faults and one.faults.left_out
        },
        clean=cleaned.report,
        known_wrong={name: one.mended.found for name, one in read.items() if one.mended and one.mended.found},
    )


def _pack(folder: Path, splits: Mapping[str, ProblemSet], shard: int, progress: Progress) -> None:
    """Write the set beside its place, have all of it on disk, then rename it."""
    from rstar_jax.data import rstar_problems  # imports tensorflow-datasets

    place = folder / rstar_problems.VERSION
    fresh, old = (folder / f".set.{name}-{os.getpid()}" for name in ("new", "old"))
    with progress.stage("pack", sum(map(len, splits.values())), "problems"):
        try:
            made = rstar_problems.write(fresh, splits, shard=shard, told=progress.update)
            for path in [*made.iterdir(), made]:
                records.sync(path)
            if place.exists():  # damaged, or of a process that was killed before it wrote DONE.json
                place.rename(old)
            made.rename(place)
            records.sync(folder)
        except OSError as error:
            raise records.writing_failed(place, error) from error
        finally:
            for path in (fresh, old):
                shutil.rmtree(path, ignore_errors=True)


def _summary(report: PrepareReport, settings: PrepareSettings, workdir: Path) -> list[str]:
    """Tell what was packed and dropped, and how to read it."""
    lines = report.clean.lines()
    for option, found in report.left_out.items():
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in found["kinds"].items())
        what = ", with which no problem was compared" if option.startswith("against ") else ""
        lines.append(f"config.{option}: rows left out{what}: {kinds}")
    corrected = bool(settings.corrections)
    for option, wrong in report.known_wrong.items():
        lines.append(f"config.{option}: {known_wrong(wrong, corrected, 'config.corrections')}.")
    lines += [
        f"{split}: {found['rows']:,} problems, read by tfds:{workdir}/{split}"
        for split, found in report.splits.items()
    ]
    return [*lines, f"What was dropped, with examples: {workdir / 'report.json'}"]
