"""report.html and report.md of a working directory, finished, under way or damaged.

Whatever can be read is shown, and what cannot be is named. Nothing but the two files is written, and no lock
is taken: a run may go on meanwhile.
"""

from __future__ import annotations

import dataclasses
import logging
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from rstar_jax import records
from rstar_jax.errors import UserError
from rstar_jax.evolve import findings
from rstar_jax.evolve.code_version import code_version
from rstar_jax.evolve.findings import Faults
from rstar_jax.evolve.summary import collect, collect_ppm, collect_warm_start
from rstar_jax.report.page.assemble import markdown, page
from rstar_jax.report.page.contents import Contents
from rstar_jax.report.page.frame import Section
from rstar_jax.report.progress import Progress
from rstar_jax.report.tables import typed_report
from rstar_jax.report.viewer.embed import BUDGET, MB, embedded
from rstar_jax.report.viewer.tree_index import tree_files
from rstar_jax.settings import at_least

PAGE, MARKDOWN = "report.html", "report.md"
_LARGE = 512 * MB  # of trees: more take minutes
Log = Callable[[str], None]
_COLLECT = {"evolve": collect, "sft": collect_warm_start, "ppm": collect_ppm}


@dataclasses.dataclass(frozen=True)
class ReportSettings:
    """A report of the folder that `--workdir` names.

    markdown: also as report.md, for papers and CI.
    trees_mb: megabytes (2**20 bytes) of search trees that the page may hold; 0: none, and those of training
    problems are not read.
    """

    job: str = "report"
    markdown: bool = False
    trees_mb: float = BUDGET / MB

    def __post_init__(self) -> None:
        at_least(self, "config", trees_mb=0)


def run(settings: ReportSettings, workdir: Path) -> Path:
    """Write the report of `workdir`, and return the page's path. Raises UserError where the folder holds
    nothing of a job, or cannot be written."""
    with Progress() as progress:
        if settings.trees_mb:
            _forewarn(workdir, progress.log)
        contents = gather(workdir, progress.log)
        path = write(contents, markdown_too=settings.markdown, budget=int(settings.trees_mb * MB))
        for fault in contents.faults:
            progress.log(fault)
        progress.log(said(path))
        if settings.markdown:
            progress.log(f"Markdown: {path.with_name(MARKDOWN)}.")
        else:
            progress.log(f"--config.markdown=True writes it as {MARKDOWN}, too.")
    return path


def said(path: Path) -> str:
    """The line with which a job ends."""
    return f"Report: {path} ({path.stat().st_size / 1000:,.0f} kB; open it in a browser)."


def at_the_end(root: Path, log: Log) -> None:
    """Write the page as a run ends, without the trees of a large run, which take minutes to read. A run does
    not fail for want of it: what went wrong is logged."""
    try:
        large = _bytes_of_trees(root) > _LARGE
        log(said(write(gather(root, lambda _: None), budget=0 if large else BUDGET)))
        if large:
            log(
                f"It holds no trees: --config=report --workdir={root} puts some there, --config=view has all."
            )
    except UserError as error:
        log(f"No {PAGE}: {error}")
    except Exception:
        logging.exception("No %s was written: a fault of ours. The run's files are whole.", PAGE)


def _forewarn(root: Path, log: Log) -> None:
    """Say what takes a while: a few columns of all trees are read."""
    if (size := _bytes_of_trees(root)) > _LARGE:
        log(f"{PAGE}: reading {size / MB:,.0f} MB of trees; Ctrl-C leaves the page as it was.")


def _bytes_of_trees(root: Path) -> int:
    return sum(int(file.stamp.split()[0]) for file in tree_files(root))


def write(contents: Contents, *, markdown_too: bool = False, budget: int = BUDGET) -> Path:
    """Write the page beside what it shows, whole or not at all; budget: bytes of trees in it. Raises
    UserError as `records.replacing`."""
    path, walk = contents.root / PAGE, embedded(contents.root, budget) if budget else None
    trees = [Section("trees", "Trees", walk.body)] if walk else []
    texts = {path: page(contents, trees, [walk.script] if walk else [], [walk.style] if walk else [])}
    if markdown_too:
        texts[contents.root / MARKDOWN] = markdown(contents)
    for where, text in texts.items():
        with records.replacing(where) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path


def gather(root: Path, log: Log) -> Contents:
    """Read what a folder holds. Raises UserError where that is nothing of a job's."""
    if not root.is_dir():
        what = "a file" if root.exists() else "no such folder"
        raise UserError(f"--workdir={root}: {what}; the folder of a run or another job expected.")
    faults = Faults(root)
    options = faults.json(root / "config.json") or {}
    evaluation, judge = (findings.figures(root / f"{name}.json", faults) for name in ("evaluation", "judge"))
    job = findings.job_of(root, options)
    stages = findings.stages(root, job, options, faults)
    if not options and not stages and not evaluation and not judge:
        raise UserError(
            f"--workdir={root}: no config.json, no finished stage, no evaluation.json and no judge.json: "
            "nothing of a run or another job. Give the --workdir of one."
        )
    for name in ("sources.json", "estimates.json"):  # which are left out where they are damaged
        faults.json(root / name)
    try:
        raw = _report(root, job, options, evaluation)
        typed = typed_report(raw)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # fields of ours are not there
        whose = "evaluation.json" if evaluation else "a stage's result"
        faults.add(root / whose, f"not as we write it ({error}). Of all figures only the times are shown.")
        evaluation, raw = None, findings.plain_report(root, options)
        typed = typed_report(raw)
    return Contents(
        root=root,
        job=job,
        report=typed,
        raw=raw,
        stages=stages,
        trainings=findings.trainings(root),
        scaling=findings.scalings(root, options, faults, log),
        evaluation=evaluation,
        judge=judge,
        suspects=findings.suspects(root, faults),
        inputs={name: str(digest) for name, digest in (faults.json(root / "inputs.json") or {}).items()},
        versions=_versions(),
        faults=tuple(faults.told),
    )


def _report(
    root: Path, job: str, options: dict[str, Any], evaluation: dict[str, Any] | None
) -> dict[str, Any]:
    """Make what report.json would hold now; of a job without such a report, its stages' times."""
    if job in _COLLECT:
        return _COLLECT[job](root, options)
    found = findings.plain_report(root, options)
    return found | {"evaluation": evaluation} if evaluation else found


def _versions() -> dict[str, str]:
    ours = {"rstar_jax" if name == "version" else name: told for name, told in code_version().items()}
    found = {**ours, "Python": platform.python_version()}
    for name in ("jax", "jaxlib"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {**found, "machine": f"{platform.machine()}, {platform.system()}"}
