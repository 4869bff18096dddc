"""A PPM trained once, on given pairs, and what that is worth: pairs held out, and searches that it guides.

No search is needed for it: pairs of others, labels on steps and stored trees do (docs/DATA.md, "Data in").

    WORKDIR/pairs/train.parquet, heldout.parquet   the pairs, read and divided by problem
    WORKDIR/ppm/model                              the PPM, in Hugging Face format
    WORKDIR/compare                                the order of the held-out pairs
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

from rstar_jax import distributed, train, weights
from rstar_jax.curate import CurateConfig
from rstar_jax.data.known import Columns
from rstar_jax.data.pairs import FORMS
from rstar_jax.data.row_file import RowFile
from rstar_jax.distributed import DistributedConfig
from rstar_jax.engine import DecodeConfig
from rstar_jax.evolve import one_training, pair_stage, rounds, search_stages, train_stages
from rstar_jax.evolve.announce import announce_ppm
from rstar_jax.evolve.context import Context, Models
from rstar_jax.evolve.kept import keep_estimates
from rstar_jax.evolve.pair_stage import HELDOUT, TRAIN
from rstar_jax.evolve.settings import (
    EvaluateSettings,
    PolicySettings,
    ProblemSettings,
    RunSettings,
    SearchSettings,
    TrainSettings,
)
from rstar_jax.evolve.summary import collect_ppm
from rstar_jax.plan.texts import SAMPLE
from rstar_jax.report import results
from rstar_jax.settings import require
from rstar_jax.sharding import MeshConfig
from rstar_jax.tasks import VerifySettings
from rstar_jax.train import TrainConfig
from rstar_jax.types import PreferencePair

_MEASURED = 1024  # held-out pairs that are measured after each epoch; all are compared in the end


@dataclasses.dataclass(frozen=True)
class PpmTraining:
    """ppm: the training. mesh: over which devices it is split. As in a run's `train`."""

    ppm: TrainConfig = TrainSettings().ppm
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)


@dataclasses.dataclass(frozen=True)
class PpmSettings:
    """One training of a PPM.

    pairs: the file of pairs, of labelled steps or of trees, or a folder of such files (docs/DATA.md, "Data
        in", says of which forms). limit: so many of their first pairs are taken; 0: all.
    heldout_pairs: share of the problems whose pairs are not learnt but compared after.
    heldout: where held-out problems come from, as a run's (`data/specification.py`); empty: nothing is
        searched. The policy that is searched with is the one that the PPM is trained from. columns,
        corrections: of these problems, as a run's. bad: as a run's, of these and of the rows of pairs.
    seed: names all randomness of dividing, training and searching.
    max_depth: most steps of a held-out solution. batch: trees that grow at a time.
    wandb: a project of Weights & Biases that gets the scalars that TensorBoard gets; empty: none.
    policy: of its fields `init` is the policy to train from; `bootstrap` and `ppm` have no meaning here and
        are refused.
    """

    job: str = "ppm"
    pairs: str = ""
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
            ),
            verify=self.verify,
            decode=self.decode,
            curate=self.curate,
            train=TrainSettings(ppm=self.train.ppm, mesh=self.train.mesh),
            evaluate=self.evaluate,
        )


def run(settings: PpmSettings, workdir: Path) -> dict[str, Any]:
    """Trains a PPM in `workdir` and returns the report that it also writes and shows.

    1. as `one_training.run`: look at what is given, claim the folder
    2. read the pairs, refuse labels that cannot teach; say what the rest will need
    3. train
    4. compare the held-out pairs
    5. search the held-out problems
    6. report, also where a stage had to stop

    What is done is not done again; a killed training goes on from its last checkpoint. Raises UserError for
    bad input, and where no pair is left to train on.
    """
    data = "pairs", settings.pairs, FORMS
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
    if len(_pairs(context, HELDOUT)):
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


def _pairs(context: Context, name: str) -> RowFile[PreferencePair]:
    return RowFile(context.work.root / "pairs" / name, PreferencePair)


def _train(context: Context, folder: Path) -> dict[str, Any]:
    held_out = list(itertools.islice(_pairs(context, HELDOUT), _MEASURED))
    result = train_stages.fit_reward(context, 0, folder, _pairs(context, TRAIN), context.base, held_out)
    return results.to_json(result)


def _compare(context: Context, folder: Path, model: Path) -> dict[str, Any]:
    config, pairs = context.settings.train.ppm, _pairs(context, HELDOUT)
    tokenizer = context.tokenizer(model)
    mesh = train_stages.training_mesh(context, config, weights.check_reward_model(model))
    reward = weights.load_reward_model(model, dtype=jnp.dtype(context.settings.policy.dtype), mesh=mesh)
    with context.progress.stage("compare held-out pairs", None, "batches"):
        order = train.pair_order(
            reward,
            pairs,
            tokenizer,
            context.prompt("ppm"),
            config,
            tokens=train_stages.tokens_folder(folder),
            on_step=lambda step, total: context.progress.update(step, total=total),
        )
    if distributed.here().leader:
        train_stages.remove_tokens(folder)
    return results.to_json(results.CompareResult(**dataclasses.asdict(order)))


def _estimate(context: Context, settings: PpmSettings) -> None:
    """Say what training and evaluation will need, once the pairs are known."""
    pairs, room = _pairs(context, TRAIN), settings.train.ppm.seq_len
    count, prompt, tokenizer = len(pairs), context.prompt("ppm"), context.tokenizer(context.base)

    def length(pair: PreferencePair) -> int:
        sides = ((*pair.prefix, *side) for side in (pair.positive, pair.negative))
        return max(len(tokenizer.encode_solution(prompt(pair.question), steps)[0]) for steps in sides)

    some = pairs.sample(SAMPLE)
    lengths = [length(pair) for pair in some]
    long, kept = sum(length > room for length in lengths), "Such pairs are left out"
    asked = "config.train.ppm", settings.train.ppm, long, len(some), "pairs", kept
    if told := one_training.told_of_long(*asked):
        context.progress.log(told)
    tokens = round(2 * sum(length for length in lengths if length <= room) * count / len(some))
    estimates = announce_ppm(
        context.settings,
        context.base.name,
        rounds.shape_of(context.base),
        context.prompts,
        rounds.machine(context),
        (count, tokens),
        len(context.heldout),
        log=context.progress.log,
    )
    keep_estimates(context.work.root, estimates)
