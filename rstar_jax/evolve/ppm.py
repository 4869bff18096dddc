"""A reward model trained once, on given rows, and what that is worth: rows held out, and searches by it.

A PPM or an ORM learns pairs, a PQM values of steps (`reward_models.py`). No search is needed for it: pairs of
others, labels on steps and stored trees do (docs/DATA.md, "Data in").

    WORKDIR/pairs/train.parquet, heldout.parquet   the rows, read and divided by problem
    WORKDIR/ppm/model                              the model, in Hugging Face format
    WORKDIR/compare                                the order of held-out pairs; a PQM's errors on values
    WORKDIR/evaluate                               held-out problems, if any: the policy alone, and its search
    WORKDIR/report.json                            figures of all of them
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp

from rstar_jax import distributed, parquet, stores, train, weights
from rstar_jax.curate import CurateConfig, Reward
from rstar_jax.data.known import Columns
from rstar_jax.data.row_file import RowFile
from rstar_jax.distributed import DistributedConfig
from rstar_jax.engine import DecodeConfig
from rstar_jax.evolve import learnt_sizes, one_training, pair_stage, rounds, search_stages, train_stages
from rstar_jax.evolve.announce_training import announce_ppm
from rstar_jax.evolve.context import Context, Models
from rstar_jax.evolve.kept import keep_estimates
from rstar_jax.evolve.pair_stage import HELDOUT, TRAIN
from rstar_jax.evolve.reward_models import REWARD_MODELS
from rstar_jax.evolve.settings import (
    EvaluateSettings,
    PolicySettings,
    ProblemSettings,
    RunSettings,
    SearchSettings,
    TrainSettings,
)
from rstar_jax.evolve.summary import collect_ppm
from rstar_jax.report import results
from rstar_jax.settings import require
from rstar_jax.sharding import MeshConfig
from rstar_jax.tasks import VerifySettings
from rstar_jax.train import TrainConfig
from rstar_jax.types import PreferencePair

_MEASURED = 1024  # held-out pairs that are measured after each epoch; all are compared in the end


@dataclasses.dataclass(frozen=True)
class PpmTraining:
    """ppm: the training. reward: which reward model it makes, a "ppm", "pqm" or "orm". mesh: over which
    devices it is split. As in a run's `train`."""

    ppm: TrainConfig = TrainSettings().ppm
    reward: Reward = "ppm"
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)


@dataclasses.dataclass(frozen=True)
class PpmSettings:
    """One training of a reward model (`train.reward`).

    rows: the file of pairs, of values or labels of steps or of trees, or a folder of such files
        (docs/DATA.md, "Data in", says of which forms). limit: so many of their first pairs, or rows of
        values, are taken; 0: all.
    heldout_pairs: share of the problems whose rows are not learnt but compared after.
    heldout: where held-out problems come from, as a run's (`data/specification.py`); empty: nothing is
        searched. The policy that is searched with is the one that the model is trained from. columns,
        corrections: of these problems, as a run's. bad: as a run's, of these and of the rows.
    seed: names all randomness of dividing, training and searching.
    max_depth: most steps of a held-out solution. batch: trees that grow at a time.
    wandb: a project of Weights & Biases that gets the scalars that TensorBoard gets; empty: none.
    policy: of its fields `init` is the policy to train from; `bootstrap` and `ppm` have no meaning here and
        are refused.
    """

    job: str = "ppm"
    rows: str = ""
    limit: int = 0
    heldout_pairs: float = 0.05
    heldout: str = ""
    columns: Columns = Columns()
    bad: Literal["fatal", "drop"] = "fatal"
    corrections: str = ""
    seed: int = 0
    max_depth: int = 16
    batch: int = 256
    wandb: str = ""
    policy: PolicySettings = dataclasses.field(default_factory=PolicySettings)
    verify: VerifySettings = dataclasses.field(default_factory=VerifySettings)
    decode: DecodeConfig = DecodeConfig()
    distributed: DistributedConfig = DistributedConfig()
    curate: CurateConfig = CurateConfig()
    train: PpmTraining = PpmTraining()
    evaluate: EvaluateSettings = dataclasses.field(default_factory=EvaluateSettings)

    def __post_init__(self) -> None:
        for name, least in (("limit", 0), ("max_depth", 1), ("batch", 1)):
            require(getattr(self, name) >= least, name, getattr(self, name), f"{least} or more")
        shown = "a share from 0 to below 1"
        require(0 <= self.heldout_pairs < 1, "heldout_pairs", self.heldout_pairs, shown)
        one_training.refuse_unused(
            self.policy,
            "a PPM is trained from one policy. Name it in config.policy.init.",
            "that one is trained here. Leave it out.",
        )
        self.as_run()  # what is wrong with the rest is told now

    def as_run(self) -> RunSettings:
        """The same options as those of a run, by which the stages know them."""
        evaluate = self.evaluate
        if not self.heldout and self.train.reward == "orm":  # no search is to be refused where there is none
            evaluate = dataclasses.replace(evaluate, strategy="best_of_n", scores="orm")
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
                prompt=("finetuned",),
                ppm=(False,),  # what is trained here guides the evaluation alone
            ),
            verify=self.verify,
            decode=self.decode,
            curate=self.curate,
            train=TrainSettings(ppm=self.train.ppm, reward=self.train.reward, mesh=self.train.mesh),
            evaluate=evaluate,
        )


def run(settings: PpmSettings, workdir: Path) -> dict[str, Any]:
    """Trains a reward model in `workdir` and returns the report that it also writes and shows.

    1. as `one_training.run`: look at what is given, claim the folder
    2. read the rows, refuse labels that cannot teach; say what the rest will need
    3. train
    4. compare the held-out pairs, and of a PQM its values with the held-out ones
    5. search the held-out problems
    6. report, also where a stage had to stop

    What is done is not done again; a killed training goes on from its last checkpoint. Raises UserError for
    bad input, and where no row is left to train on.
    """
    data = "rows", settings.rows, pair_stage.forms_for(settings.train.reward)
    return one_training.run(settings, workdir, data, functools.partial(_stages, settings), collect_ppm)


def _stages(settings: PpmSettings, context: Context, files: list[Path]) -> None:
    """Points 2 to 5 of `run`."""
    work, model = context.work, context.work.root / "ppm" / "model"
    limit, share, bad = settings.limit, settings.heldout_pairs, settings.bad
    work.stage(  # 2
        "pairs",
        lambda folder: pair_stage.read(context, files, folder, limit=limit, share=share, bad=bad),
    )
    distributed.led(lambda: _estimate(context, settings))
    work.stage("ppm", lambda folder: _train(context, folder), "global")  # 3
    held_out = work.root / "pairs"
    if parquet.count_rows(held_out / HELDOUT) or parquet.count_rows(pair_stage.compared(held_out)):
        work.stage("compare", lambda folder: _compare(context, folder, model), "global")  # 4
    if settings.heldout:  # 5
        models = Models(context.base, model, "finetuned")
        work.stage(
            "evaluate",
            lambda folder: results.to_json(search_stages.evaluate_models(context, 0, models, folder)),
            "host",
        )
    context.progress.log(
        f"Rounds and `solve` are guided by it with --config.policy.ppm={model}, --config.ppm."
    )


def _rows(context: Context, name: str) -> RowFile[Any]:
    """Rows of a file of the stage "pairs", of the kind that is learnt."""
    learnt = REWARD_MODELS[context.settings.train.reward]
    return RowFile(context.work.root / "pairs" / name, learnt.kind)


def _train(context: Context, folder: Path) -> dict[str, Any]:
    held_out = list(itertools.islice(_rows(context, HELDOUT), _MEASURED))
    result = train_stages.fit_reward(context, 0, folder, _rows(context, TRAIN), context.base, held_out)
    return results.to_json(result)


def _compare(context: Context, folder: Path, model: Path) -> dict[str, Any]:
    """The order of held-out pairs; of a PQM its errors on held-out values, too."""
    config, work = context.settings.train.ppm, context.work.root
    pairs = RowFile(pair_stage.compared(work / "pairs"), PreferencePair)
    mesh = train_stages.training_mesh(context, config, weights.check_reward_model(model))
    reward = weights.load_reward_model(model, dtype=jnp.dtype(context.settings.policy.dtype), mesh=mesh)
    asked = context.tokenizer(model), context.prompt("ppm"), config
    order, errors, beside = results.CompareResult(), None, folder / "values"

    def told(step: int, total: int) -> None:
        context.progress.update(step, total=total)

    if len(pairs):
        with context.progress.stage("compare held-out pairs", None, "batches"):
            tokens = train_stages.tokens_folder(folder)
            found = train.pair_order(reward, pairs, *asked, tokens=tokens, on_step=told)
        order = results.CompareResult(**dataclasses.asdict(found))
    if _of_values(context):
        with context.progress.stage("compare held-out values", None, "batches"):
            rows, tokens = _rows(context, HELDOUT), train_stages.tokens_folder(beside)
            found = train.value_errors(reward, rows, *asked, tokens=tokens, on_step=told)
        errors = results.ValueErrors(**dataclasses.asdict(found))
    if distributed.here().leader:
        train_stages.remove_tokens(folder)
        stores.remove_folder(beside)
    return results.to_json(dataclasses.replace(order, values=errors))


def _of_values(context: Context) -> bool:
    return context.settings.train.reward == "pqm"


def _estimate(context: Context, settings: PpmSettings) -> None:
    """Say what training and evaluation will need, once the rows are known."""
    path, config = context.work.root / "pairs" / TRAIN, settings.train.ppm
    learnt = learnt_sizes.of_reward_rows(context, path, config)
    what = "rows" if _of_values(context) else "pairs"
    kept = "What stands before that is learnt" if _of_values(context) else f"Such {what} are left out"
    asked = "config.train.ppm", config, learnt.long, learnt.looked_at, what, kept
    if told := one_training.told_of_long(*asked):
        context.progress.log(told)
    estimates = announce_ppm(
        context.settings,
        context.base.name,
        rounds.shape_of(context.base),
        context.prompts,
        rounds.machine(context),
        (learnt.rows, round(learnt.tokens)),
        len(context.heldout),
        log=context.progress.log,
    )
    keep_estimates(context.work.root, estimates)
