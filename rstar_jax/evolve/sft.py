"""A warm start: a policy fine-tuned on given solutions, and what that is worth on held-out problems.

A round trains on what its own search has found. A general model whose search finds nothing yet is first shown
solutions of others; the policy that comes of it is the `policy.init` or `policy.bootstrap` of a run.

    WORKDIR/rows/sft.parquet   the solutions, read, converted and run
    WORKDIR/base/evaluate      the base alone, where `base` names a prompt for it
    WORKDIR/policy/model       the policy, in Hugging Face format
    WORKDIR/evaluate           the policy alone
    WORKDIR/report.json        figures of all of them
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from rstar_jax import distributed, parquet
from rstar_jax.data.executed import executed
from rstar_jax.data.faults import Faults
from rstar_jax.data.known import Columns
from rstar_jax.data.row_file import RowFile
from rstar_jax.data.rows import FORMS
from rstar_jax.distributed import DistributedConfig
from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.evolve import given, learnt_sizes, one_training, rounds, search_stages, train_stages
from rstar_jax.evolve.announce_training import announce_warm_start
from rstar_jax.evolve.context import Context, Models
from rstar_jax.evolve.kept import keep_estimates
from rstar_jax.evolve.problems import asked_before
from rstar_jax.evolve.reward_models import SFT
from rstar_jax.evolve.settings import (
    EvaluateSettings,
    PolicySettings,
    ProblemSettings,
    RunSettings,
    SearchSettings,
    TrainSettings,
)
from rstar_jax.evolve.summary import collect_warm_start
from rstar_jax.report import results
from rstar_jax.report.notes import layers_line
from rstar_jax.sharding import MeshConfig
from rstar_jax.tasks import Checker, VerifySettings
from rstar_jax.train import TrainConfig
from rstar_jax.types import SftRow

_AT_ONCE = 64  # rows whose programs run together


@dataclasses.dataclass(frozen=True)
class SftTraining:
    """policy: the training. mesh: over which devices it is split. As in a run's `train`."""

    policy: TrainConfig = TrainSettings().policy
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)


@dataclasses.dataclass(frozen=True)
class SftSettings:
    """A warm start.

    rows: the file of solutions, or of trees that have some, or a folder of such files (docs/DATA.md, "Data
        in", says of which forms). limit: so many of its first rows are taken; 0: all.
    heldout: where held-out problems come from, as a run's (`data/specification.py`): a number of suite
        problems, a file of rows {question, answer}; empty: nothing is evaluated. columns, corrections: of
        these, as a run's. bad: as a run's, of these and of the rows.
    base: the prompt with which the base is evaluated before, "none": it is not.
    samples: so many solutions of each held-out problem are sampled besides, at `temperature`, for the
        majority of their answers (maj@k) and for whether any is right (pass@k); 0: none.
    temperature: at which these are sampled. seed: names all randomness of training and sampling.
    max_depth: most steps of a held-out solution. batch: how many held-out solutions are written at a time.
    wandb: a project of Weights & Biases that gets the scalars that TensorBoard gets; empty: none.
    policy: of its fields `init` is the base; `bootstrap` and `ppm` have no meaning here and are refused.
    """

    job: str = "sft"
    rows: str = ""
    limit: int = 0
    heldout: str = "120"
    columns: Columns = Columns()
    bad: Literal["fatal", "drop"] = "fatal"
    corrections: str = ""
    base: Literal["none", "bootstrap", "finetuned"] = "bootstrap"
    samples: int = 0
    temperature: float = 0.7
    seed: int = 0
    max_depth: int = 16
    batch: int = 256
    wandb: str = ""
    policy: PolicySettings = dataclasses.field(default_factory=PolicySettings)
    verify: VerifySettings = dataclasses.field(default_factory=VerifySettings)
    decode: DecodeConfig = DecodeConfig()
    distributed: DistributedConfig = DistributedConfig()
    train: SftTraining = SftTraining()

    def __post_init__(self) -> None:
        for name, least in (("limit", 0), ("samples", 0), ("temperature", 0), ("max_depth", 1), ("batch", 1)):
            if getattr(self, name) < least:
                raise UserError(f"config.{name}: {getattr(self, name)} given, {least} or more expected.")
        one_training.refuse_unused(
            self.policy,
            "a warm start searches with no policy. Name the model to train in config.policy.init.",
            "a warm start searches with no PPM. Leave it out, and give it to the rounds that go on from "
            "here.",
        )
        if self.samples and not self.heldout:
            raise UserError(
                f"config.samples: {self.samples} given, but config.heldout is empty: nothing is evaluated. "
                "Name held-out problems, or leave samples out."
            )
        self.as_run()  # what is wrong with the rest is told now

    def as_run(self) -> RunSettings:
        """The same options as those of a run, by which the stages know them: one that searches nothing, so
        that caches are sized by the evaluation alone."""
        samples = max(1, self.samples)
        return RunSettings(
            rounds=(1,),
            seed=self.seed,
            wandb=self.wandb,
            problems=ProblemSettings(heldout=self.heldout, seed=0),
            policy=self.policy,
            search=SearchSettings(
                rollouts=(1,),
                escalation=((),),
                candidates=(1,),
                max_depth=self.max_depth,
                batch=self.batch,
                prompt=("finetuned" if self.base == "none" else self.base,),
            ),
            verify=self.verify,
            decode=self.decode,
            train=TrainSettings(policy=self.train.policy, mesh=self.train.mesh),
            evaluate=EvaluateSettings(
                strategy="sample",
                rollouts=samples,
                candidates=1,
                temperature=self.temperature,
                vote="majority",
                top_k=0,
            ),
        )


def run(settings: SftSettings, workdir: Path) -> dict[str, Any]:
    """Does a warm start in `workdir` and returns the report that it also writes and shows.

    1. as `one_training.run`: look at what is given, claim the folder
    2. read, convert and run the rows; say what the rest will need
    3. evaluate the base
    4. train
    5. evaluate the policy
    6. report, also where a stage had to stop

    What is done is not done again; a killed training goes on from its last checkpoint. Raises UserError for
    bad input, for a sandbox that would not hold, and where no row is left to train on.
    """
    data = "rows", settings.rows, FORMS
    stages = functools.partial(_warm_start, settings)
    return one_training.run(settings, workdir, data, stages, collect_warm_start)


def _warm_start(settings: SftSettings, context: Context, files: list[Path]) -> None:
    """Points 2 to 5 of `run`."""
    evaluated, sampled = bool(settings.heldout), settings.samples > 0
    _rows(context, files, settings)  # 2
    distributed.led(lambda: _estimate(context, settings))
    if evaluated and settings.base != "none":  # 3
        _evaluate(context, "base/evaluate", context.models(0, "evaluate"), sampled)
    _train(context)  # 4
    policy = context.work.root / "policy" / "model"
    if evaluated:  # 5
        _evaluate(context, "evaluate", Models(policy, None, "finetuned"), sampled)
    spelt = " --config.policy.delimiters=text" if settings.policy.delimiters == "text" else ""
    context.progress.log(
        f"Rounds go on with it by --config.policy.init={policy} --config.search.prompt=finetuned{spelt}; "
        "with --config.policy.bootstrap in the place of policy.init they train from their base instead."
    )


def _estimate(context: Context, settings: SftSettings) -> None:
    """Say what evaluations and training will need, once the rows are known."""
    config = settings.train.policy
    learnt = learnt_sizes.of_solutions(context, context.work.root / "rows" / SFT, config)
    kept = "Of such rows the first steps are learnt"
    asked = "config.train.policy", config, learnt.long, learnt.looked_at, "rows", kept
    if told := one_training.told_of_long(*asked):
        context.progress.log(told)
    estimates = announce_warm_start(
        context.settings,
        context.base.name,
        rounds.shape_of(context.base),
        context.prompts,
        rounds.machine(context),
        (learnt.rows, round(learnt.tokens)),
        len(context.heldout),
        base=settings.base != "none",
        samples=settings.samples,
        log=context.progress.log,
    )
    keep_estimates(context.work.root, estimates)


def _rows(context: Context, files: list[Path], settings: SftSettings) -> None:
    """Read, convert and run the rows; keep those that hold and count why the others do not."""

    def work(folder: Path) -> dict[str, Any]:
        faults, limit = Faults(fatal=settings.bad == "fatal"), settings.limit
        with context.progress.stage("read the rows", limit or None, "rows"):
            read = given.solutions(
                files, context.task, limit=limit, on_read=context.progress.update, on_bad=faults
            )
        if faults.left_out:
            context.progress.log(f"config.rows: {faults.summary(len(read))}")
        kept: list[SftRow] = []
        lost: Counter[str] = Counter(faults.kinds)
        with context.sandbox() as sandbox, context.progress.stage("rows", len(read), "rows"):
            context.progress.log(f"sandbox: {layers_line(sandbox.layers)}.")
            checker = Checker(context.task, sandbox)
            for first in range(0, len(read), _AT_ONCE):
                for one in executed(read[first : first + _AT_ONCE], checker):
                    if one.row:
                        kept.append(one.row)
                    else:
                        lost[one.lost] += 1
                context.progress.update(
                    min(first + _AT_ONCE, len(read)), note=f"{len(kept):,} kept, {lost.total():,} lost"
                )
        if not kept:
            why = "; ".join(f"{count:,} {reason}" for reason, count in lost.most_common())
            raise UserError(
                f"config.rows: {files[0]}: none of its {lost.total():,} rows can be learnt: {why}. Give "
                "solutions in our grammar, or workings whose calculations are marked as GSM8K's are "
                "(<<48/2=24>>)."
            )
        parquet.write_rows(folder / SFT, SftRow, kept)
        seen = len(asked_before(context.heldout, (row.question for row in kept)))
        note = f"{seen} held-out questions stand in the rows, too: they measure memory" if seen else ""
        if note:
            context.progress.log(f"config.heldout: {note}.")
        return results.to_json(
            results.RowsResult(
                read=len(read) + faults.left_out,
                kept=len(kept),
                converted=sum(row.converted for row in read),
                lost=dict(lost.most_common()),
                heldout_seen=seen,
                note=note,
                layers=sandbox.layers,
            )
        )

    context.work.stage("rows", work)


def _train(context: Context) -> None:
    def work(folder: Path) -> dict[str, Any]:
        rows = RowFile(context.work.root / "rows" / SFT, SftRow)
        problems = {
            hashlib.md5(question.encode(errors="replace")).digest() for question in rows.texts("question")
        }
        result = train_stages.fine_tune(context, 0, folder, rows, len(problems))
        context.held.settle(context.settings.policy.dtype)
        return results.to_json(result)

    context.work.stage("policy", work, "global")


def _evaluate(context: Context, stage: str, models: Models, samples: bool) -> None:
    def work(folder: Path) -> dict[str, Any]:
        return results.to_json(search_stages.evaluate_alone(context, models, folder, samples=samples))

    context.work.stage(stage, work, "host")
