"""Synthesis: new problems after the example of seed problems, kept where solutions of them agree.

A policy writes problems; a policy, the same or another, solves each several times, its programs run. What
`agree` of `samples` solutions come to is the answer (arXiv 2501.04519, section 4.1: 3 of 10). Either may be a
folder or behind a server.

    WORKDIR/written/*.parquet     the problems as they were written, in blocks
    WORKDIR/cleaned/*.parquet     those that are new: no seed's, no benchmark's and none written before
    WORKDIR/solved/trees-*        their solutions
    WORKDIR/problems/problems.jsonl   those whose solutions agree, as problems of a run
    WORKDIR/report.json           how many were lost at which point, and why, with examples
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rstar_jax import distributed, weights
from rstar_jax.data.known import NO_ANSWER, Columns
from rstar_jax.data.load import load_problems
from rstar_jax.data.problem_set import ProblemSet, fingerprint
from rstar_jax.errors import UserError
from rstar_jax.evolve import report_page
from rstar_jax.evolve.context import policy_hash
from rstar_jax.evolve.rounds import base_folder
from rstar_jax.evolve.stages import Scope, Workdir
from rstar_jax.evolve.summary import stage_times
from rstar_jax.evolve.synthesis import Synthesis, SynthesiseSettings
from rstar_jax.evolve.synthesis_stages import clean_new, keep, solve
from rstar_jax.evolve.writing_stage import write
from rstar_jax.report.progress import Progress
from rstar_jax.report.write import write_report
from rstar_jax.served import Address, is_served, parse
from rstar_jax.settings import to_dict

Stage = Callable[[Synthesis, Path], dict[str, Any]]


def run(settings: SynthesiseSettings, workdir: Path) -> dict[str, Any]:
    """Does a synthesis in `workdir` and returns the report that it also writes.

    1. read seeds and benchmarks; find the policies
    2. write problems
    3. drop those that are not new
    4. solve the others
    5. keep those whose solutions agree

    What is done is not done again. Raises UserError for bad input and where nothing was written.
    """
    leads = distributed.here().leader
    with Progress(leads) as progress:
        option = {"seeds": "config.seeds", "against": "config.against"}
        read = functools.partial(_problems, settings, progress)  # 1
        solver = _policy(settings.policy, "config.policy")
        writer = _policy(settings.writer, "config.writer") if settings.writer else solver
        synthesis = Synthesis(
            settings=settings,
            work=Workdir(workdir, settings),
            progress=progress,
            solver=solver,
            writer=writer,
            seeds=read(settings.seeds, option["seeds"]),
            against=read(settings.against, option["against"]) if settings.against else None,
        )
        with synthesis.work as work:
            work.claim_inputs(_inputs(synthesis))
            stages: tuple[tuple[str, Stage, Scope], ...] = (
                ("written", write, "host"),
                ("cleaned", clean_new, "leader"),
                ("solved", solve, "host"),
                ("problems", keep, "leader"),
            )
            done: dict[str, Any] = {}
            try:
                for name, stage, scope in stages:  # 2 to 5
                    done[name] = work.stage(name, functools.partial(stage, synthesis), scope)
            finally:
                report = _report(settings, done)
                if leads:
                    with contextlib.suppress(UserError):
                        write_report(work.root / "report.json", report)
        if not leads:
            return {}
        for line in _told(report, work.root):
            progress.log(line)
        report_page.at_the_end(synthesis.work.root, progress.log)
    return report


def _problems(settings: SynthesiseSettings, progress: Progress, spec: str, option: str) -> ProblemSet:
    compared = option == "config.against"  # by its questions, which need neither answers nor ids
    return load_problems(
        spec,
        seed=settings.seed,
        split="train",
        option=option,
        columns=Columns(cut=NO_ANSWER) if compared else Columns(),
        bad="drop",
        require=None if compared else settings.verify.make_task().require,
        log=progress.log,
    )


def _policy(spec: str, option: str) -> Path | Address:
    """The folder or address of a policy; looked at now, before anything is written."""
    if is_served(spec):
        return parse(spec, option)
    folder = base_folder(spec, option)
    try:
        weights.check_pretrained(folder)
    except UserError as error:
        raise UserError(f"{option}: {error}") from error
    return folder


def _inputs(synthesis: Synthesis) -> dict[str, str]:
    return {
        "seeds": fingerprint(synthesis.seeds),
        "against": fingerprint(synthesis.against) if synthesis.against else "",
        "policy": policy_hash(synthesis.solver),
        "writer": policy_hash(synthesis.writer),
    }


def _report(settings: SynthesiseSettings, done: dict[str, Any]) -> dict[str, Any]:
    stages = (dataclasses.asdict(stage_times(manifest)) for manifest in done.values())
    return {
        "synthesis": {name: manifest["result"] for name, manifest in done.items()},
        "stages": [{name: value for name, value in stage.items() if value is not None} for stage in stages],
        "seed": settings.seed,
        "config": to_dict(settings),
    }


def _told(report: dict[str, Any], root: Path) -> list[str]:
    found = report["synthesis"]
    written, cleaned, kept = found["written"], found["cleaned"], found["problems"]
    lost = {**written["lost"], **cleaned["dropped"], **kept["lost"]}
    why = ", ".join(f"{count:,} {reason}" for reason, count in lost.items())
    path = root / "problems" / "problems.jsonl"
    return [
        f"{written['asked']:,} asked for, {written['written']:,} written, {cleaned['kept']:,} of them new, "
        f"{kept['kept']:,} kept. Lost: {why or 'none'}.",
        f"Runs take them by --config.problems.train=jsonl:{path}."
        if kept["kept"]
        else f"There is nothing in {path} for a run; {root / 'report.json'} has examples of what was lost.",
    ]
