"""Any set of runs beside each other: `--config=compare --config.runs=A,B,...`.

    WORKDIR/comparison.json    runs, options that differ, figures and differences with intervals
    WORKDIR/comparison.md      the same as tables

Every run is compared with the first; a single run of rounds round by round. Nothing is run or judged again.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from rstar_jax import records
from rstar_jax.compare import heldout
from rstar_jax.compare.runs import GREEDY, ComparedRun, is_run, read_run
from rstar_jax.compare.table import Comparison, compared, markdown
from rstar_jax.errors import UserError
from rstar_jax.evaluate import metrics
from rstar_jax.report.progress import Progress
from rstar_jax.settings import home_expanded, nearest

JSON, MARKDOWN = "comparison.json", "comparison.md"
ALL = "all"
SWEPT = "points"  # where the runs of a sweep lie


@dataclasses.dataclass(frozen=True)
class CompareSettings:
    """A comparison.

    runs: working directories of evaluations, or of runs of rounds, joined by commas; a folder of several
        stands for all of them.
    metrics: which figures, joined by commas, such as pass@8,maj@8,search; "all": all that were measured;
        empty: those that count.
    seed: of the resampling that makes intervals.
    """

    job: str = "compare"
    runs: str = ""
    metrics: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        named = (ALL, GREEDY, *heldout.METRICS)
        for name in self.figures:
            if name not in named and "@" not in name:
                known = [*named, *(f"{kind}@8" for kind in metrics.METRICS)]
                raise UserError(f"config.metrics: '{name}': no such metric. {nearest(name, known)}")
        metrics.require_named(name for name in self.figures if name not in named)

    @property
    def figures(self) -> tuple[str, ...]:
        """The metrics that were asked for."""
        return tuple(dict.fromkeys(_words(self.metrics)))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def run(settings: CompareSettings, workdir: Path) -> None:
    """Compare; writes both files into `workdir` and prints the tables.

    1. find the runs, and what of them was measured
    2. read each figure, problem by problem, and compare
    3. write

    Raises UserError where a folder is no run's, and for runs that have no figure in common, saying why.
    """
    try:
        with Progress() as progress:
            folders = _folders(_words(settings.runs))  # 1
            names = _names(folders)
            runs = [read_run(folder, name, progress) for folder, name in zip(folders, names, strict=True)]
            alone = len(runs) == 1
            runs = _rounds(runs[0]) if alone else runs
            found = compared(runs, settings.figures, seed=settings.seed, previous=alone)  # 2
    except records.Damaged as error:  # whose own words are a run's
        raise UserError(
            f"{error.path}: damaged ({error.why}). It stays as it is: put the file back as it was, or let "
            "that run's own command make it anew."
        ) from error
    _write(found, workdir)  # 3


def _write(found: Comparison, workdir: Path) -> None:
    text = markdown(found)
    records.write_json(workdir / JSON, dataclasses.asdict(found))
    with records.replacing(workdir / MARKDOWN) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text, end="")
    print(f"\nWritten to {workdir / MARKDOWN} and {workdir / JSON}.")


def _folders(given: list[str]) -> list[Path]:
    """The folders of the runs, a folder of several taken apart."""
    if not given:
        raise UserError(
            "config.runs: none given, folders of runs (their --workdir), joined by commas, expected."
        )
    found = list[Path]()
    for word in given:
        folder = home_expanded(Path(word), "config.runs")
        if not folder.is_dir():
            raise UserError(f"config.runs: {folder}: no such folder. Give that of a run, its --workdir.")
        if (folder / SWEPT).is_dir():
            folder /= SWEPT
        inside = [folder] if is_run(folder) else sorted(filter(is_run, folder.iterdir()))
        if not inside:
            raise UserError(
                f"config.runs: {folder}: neither a run's folder (with config.json or evaluation.json) nor "
                "one of several. Give a run's --workdir."
            )
        found += inside
    twice = [folder for folder, times in Counter(f.resolve() for f in found).items() if times > 1]
    if twice:
        raise UserError(f"config.runs: {twice[0]}: given twice. Leave one out.")
    return found


def _names(folders: list[Path]) -> list[str]:
    """Names that tell the runs apart: as much of the ends of their paths as that takes."""
    parts = [folder.absolute().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _rounds(run: ComparedRun) -> list[ComparedRun]:
    """One run as one for each of its stages. Raises UserError where it has only one."""
    if len(run.sources) < 2 or not all(source.stage for source in run.sources):
        raise UserError(
            f"config.runs: {run.folder} given alone, two runs or more expected, or one that has evaluated "
            "several rounds."
        )
    return [
        dataclasses.replace(run, name=source.stage, sources=(dataclasses.replace(source, stage=""),))
        for source in run.sources
    ]
