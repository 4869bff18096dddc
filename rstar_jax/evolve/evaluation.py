"""Any model, with or without a PPM, measured on benchmarks: no round, no training.

    WORKDIR/benchmarks/NAME/samples-*.parquet    a tree for each sample
    WORKDIR/benchmarks/NAME/predictions.parquet  what they came to, a row a trajectory
    WORKDIR/benchmarks/NAME/greedy.parquet       the policy's greedy solutions, measured besides
    WORKDIR/benchmarks/NAME/disagreements.jsonl  answers that the two gradings judge differently
    WORKDIR/evaluation.json                      every figure with its interval, and where it comes from
    WORKDIR/report.json                          the same, with what it took
    WORKDIR/lm_eval/..., inspect/...             the same as others' tools read it (`evaluate/shapes.py`)

A sample counts once its tree is on disk (`shards.py`): killed at any moment, the same command runs the others
alone. More benchmarks may be added to a folder later.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import Any

from rich.console import Console

from rstar_jax import distributed, records, weights
from rstar_jax.data.corrections import corrections
from rstar_jax.data.problem_set import fingerprint
from rstar_jax.errors import UserError
from rstar_jax.evaluate import benchmarks, shapes
from rstar_jax.evaluate.benchmarks import Asked
from rstar_jax.evaluate.outcome import Evaluation, Measured
from rstar_jax.evaluate.protocol import Protocol, protocol_of, require_metrics, require_options
from rstar_jax.evolve import benchmark_stage, report_page, rounds
from rstar_jax.evolve.code_version import code_version
from rstar_jax.evolve.context import Context, Models, policy_hash
from rstar_jax.evolve.evaluation_needs import EvaluationLoad, announce_evaluation
from rstar_jax.evolve.evaluation_settings import EvaluationSettings
from rstar_jax.evolve.kept import keep_estimates, keep_sources
from rstar_jax.evolve.problems import with_room
from rstar_jax.evolve.run_models import of_run
from rstar_jax.evolve.stages import Workdir
from rstar_jax.evolve.summary import collect_evaluation
from rstar_jax.report import results
from rstar_jax.report.notes import layers_line
from rstar_jax.report.progress import Progress
from rstar_jax.report.tables import show
from rstar_jax.report.write import write_report
from rstar_jax.served import Address, is_served, parse
from rstar_jax.served.models import require_model
from rstar_jax.settings import home_expanded, to_dict

EVALUATION = "evaluation.json"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A benchmark that is to be measured: its problems in a context of its own, and how."""

    asked: Asked
    protocol: Protocol
    context: Context

    @property
    def stage(self) -> str:
        """Name of the stage that measures it."""
        return f"benchmarks/{self.asked.name}"


def run(settings: EvaluationSettings, workdir: Path) -> dict[str, Any]:
    """Measure a model in `workdir`; returns the report that it also writes and shows, and {} on hosts other
    than the first.

    1. look at the models, the benchmarks' problems and their protocols; print these
    2. claim the folder; try the sandbox; say what will be needed
    3. each benchmark: sample or search, judge, count
    4. evaluation.json and the report, after each benchmark and where one had to stop; then as others read it

    What is done is not done again. Raises UserError for bad input, and for a sandbox that would not hold.
    """
    work = Workdir(workdir, settings)
    settings = _with_models(settings)
    leads = distributed.here().leader
    with Progress(leads) as progress:
        models, measurements = _look(settings, work, progress)  # 1
        with work:  # 2
            _claim(models, measurements, work)
            if leads:
                keep_sources(work.root, {m.asked.name: m.context.heldout for m in measurements})
            with measurements[0].context.sandbox() as sandbox:  # refuses to start where it would not hold
                progress.log(f"sandbox: {layers_line(sandbox.layers)}.")
            distributed.led(lambda: _estimate(models, measurements, work, progress))
            try:
                for m in measurements:  # 3
                    if isinstance(models.policy, Address) and not work.manifest(m.stage):
                        require_model(models.policy, "config.policy")
                    measure = functools.partial(benchmark_stage.measure, m, models, settings.figures)
                    work.stage(m.stage, measure, "host")
                    if leads:
                        _write(settings, work, models, measurements)
            except BaseException:
                if leads:
                    with contextlib.suppress(UserError):  # a disk that is full is full for the report too
                        _write(settings, work, models, measurements)
                raise
            if not leads:
                return {}
            report, evaluation = _write(settings, work, models, measurements)  # 4
            _write_shapes(settings, work, evaluation)
            show(report, Console(highlight=False))
            report_page.at_the_end(work.root, progress.log)
    return report


def _with_models(settings: EvaluationSettings) -> EvaluationSettings:
    """The same with the folders of the models that a run's folder stands for."""
    if not settings.run:
        return settings
    found = of_run(home_expanded(Path(settings.run), "config.run"))
    found.require_use(settings.strategy, settings.scores)
    ppm = str(found.ppm) if found.ppm else ""
    return dataclasses.replace(settings, run="", policy=str(found.policy), ppm=ppm, ppm_value=found.ppm_value)


def _look(
    settings: EvaluationSettings, work: Workdir, progress: Progress
) -> tuple[Models, list[Measurement]]:
    """Point 1 of `run`."""
    asked = benchmarks.asked(settings.benchmarks, settings.data)
    task, ppm = settings.verify.make_task(), bool(settings.ppm)
    protocols = {
        one.name: protocol_of(
            one,
            settings.protocol,
            settings.given(),
            ppm=ppm,
            task=settings.verify.task,
            prompt=settings.prompt or None,
        )
        for one in asked
    }
    require_options(settings.given(), protocols)
    for protocol in protocols.values():
        require_metrics(settings.figures, protocol, ppm=ppm)
    policy = _policy(settings)
    base = policy if isinstance(policy, Path) else weights.TINY_BASE
    judge = rounds.base_folder(settings.ppm, "config.ppm") if settings.ppm else None
    found = list[Measurement]()
    for one in asked:
        problems = benchmarks.problems_of(
            one,
            task,
            columns=settings.columns,
            bad=settings.bad,
            mended=corrections(settings.corrections, "config.corrections"),
            limit=settings.limit,
            log=progress.log,
        )
        context = Context(
            settings=settings.as_run(protocols[one.name]),
            work=work,
            progress=progress,
            base=base,
            bootstrap=policy,
            train=[],
            heldout=problems,
            judge=judge,
            option="config.policy",
        )
        if not found:
            rounds.require_models(context, {base: "config.policy"})
            rounds.require_judge(context, "config.ppm")
        if isinstance(policy, Path):  # whose tokens are known
            context = with_room(context)
        # Nothing else is ever asked: caches are sized by these prompts.
        context = dataclasses.replace(context, train=context.heldout)
        found.append(Measurement(one, protocols[one.name], context))
        told = ", ".join(f"{name} {value}" for name, value in protocols[one.name].told().items())
        progress.log(f"{one.name}: {len(context.heldout):,} problems of {one.source}; {told}.")
    # One size for all: it is a shape of what is compiled.
    most = max((m.context.demand for m in found), default=0) if isinstance(policy, Path) else 0
    sized = [dataclasses.replace(m, context=dataclasses.replace(m.context, least_demand=most)) for m in found]
    return Models(policy, judge, found[0].protocol.prompt), sized


def _policy(settings: EvaluationSettings) -> Path | Address:
    if is_served(settings.policy):
        return parse(settings.policy, "config.policy")
    return rounds.base_folder(settings.policy, "config.policy")


def _estimate(models: Models, measurements: list[Measurement], work: Workdir, progress: Progress) -> None:
    """Say what is needed here; of a served policy nothing is."""
    if isinstance(models.policy, Address):
        return
    found = {}
    for m in measurements:
        p = m.protocol
        paths, searches = (p.k, 0) if p.of_chains else (0, p.k)
        found[m.stage] = EvaluationLoad(
            m.context.settings,
            m.context.prompts,
            len(m.context.heldout),
            paths + (p.greedy and p.strategy != "greedy"),
            searches,
            models.ppm is not None,
        )
    context = measurements[0].context
    estimates = announce_evaluation(
        found,
        models.policy.name,
        rounds.shape_of(models.policy),
        rounds.machine(context),
        log=progress.log,
    )
    keep_estimates(work.root, estimates)


def _claim(models: Models, measurements: list[Measurement], work: Workdir) -> None:
    work.claim_inputs(
        {
            "policy": policy_hash(models.policy),
            **({"ppm": weights.model_hash(models.ppm)} if models.ppm else {}),
            **{f"benchmarks.{m.asked.name}": fingerprint(m.context.heldout) for m in measurements},
        }
    )


def _write(
    settings: EvaluationSettings, work: Workdir, models: Models, measurements: list[Measurement]
) -> tuple[dict[str, Any], Evaluation]:
    """Write what is known by now; returns it, as a report and as it is."""
    done = [manifest for m in measurements if (manifest := work.manifest_here(m.stage))]
    evaluation = Evaluation(
        models={
            "policy": {"name": settings.policy, "sha256": policy_hash(models.policy)},
            **(
                {"ppm": {"name": settings.ppm, "sha256": weights.model_hash(models.ppm)}}
                if models.ppm
                else {}
            ),
        },
        code=code_version(),
        seed=settings.seed,
        config=to_dict(settings),
        benchmarks=tuple(results.of_json(Measured, manifest["result"]["measured"]) for manifest in done),
    )
    records.write_signed(work.root / EVALUATION, results.to_json(evaluation))
    report = collect_evaluation(work.root, to_dict(settings), evaluation, done)
    write_report(work.root / "report.json", report)
    return report, evaluation


def _write_shapes(settings: EvaluationSettings, work: Workdir, evaluation: Evaluation) -> None:
    files = {
        one.name: work.root / "benchmarks" / one.name / benchmark_stage.PREDICTIONS
        for one in evaluation.benchmarks
    }
    for shape in settings.written_shapes:
        shapes.write(shape, work.root / shape, evaluation, files)
