"""The stages that learn: rows -> policy, pairs -> PPM."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

import rstar_jax
from rstar_jax import distributed, models, records, sharding, stores, train, weights
from rstar_jax.curate import Reward
from rstar_jax.data.row_file import RowFile
from rstar_jax.errors import UserError
from rstar_jax.evolve import heldout_solutions
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.reward_models import REWARD_MODELS, SFT
from rstar_jax.models import DecoderConfig
from rstar_jax.report.results import TrainResult
from rstar_jax.text import usage
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import MetricsWriter
from rstar_jax.types import SftRow

# Folders of a training's token ids, which go once it has ended: that of several hosts, and that of one alone,
# hidden, so that no mirror sends it.
_TOKENS = "tokens", ".tokens"


def train_policy(context: Context, round: int, folder: Path) -> TrainResult:
    """Fine-tunes the base on the round's solutions; writes the policy in Hugging Face format."""
    rows = RowFile(context.folder(round, "curate") / SFT, SftRow)
    if not len(rows):
        raise UserError(
            f"round {round}: no training problem was solved and no earlier round has solutions, so there "
            "is nothing to train on. Give the search easier problems (--config.problems.train), more "
            "rollouts (--config.search.rollouts), or a stronger policy (--config.policy.bootstrap). The "
            f"report says why steps died: {context.work.root / 'report.json'}"
        )
    return fine_tune(context, round, folder, rows)


def fine_tune(
    context: Context, round: int, folder: Path, rows: RowFile[SftRow], problems: int | None = None
) -> TrainResult:
    """Fine-tune the base on solutions, write FOLDER/model (Hugging Face format), return the figures.

    round: whose solutions they are; 0 for those of a warm start, which were given. problems: how many they
    are of, for the card; None: the run's.
    """
    context.held.clear()
    tokenizer = context.tokenizer(context.base)
    config = context.settings.train.policy
    delimiters = context.settings.policy.delimiters
    model = train.with_delimiters(_load(context, context.base, config), tokenizer, delimiters)
    prompt = context.prompt("finetuned")
    title = f"round {round}, the policy" if round else "the policy"
    solutions, source = heldout_solutions.of(context, round)
    measured, count, tokens = train.held_out_solutions(model, solutions, tokenizer, prompt, config)
    with _training(context, round, "train the policy", folder, tokenizer) as options:
        before = measured(model) if measured else {}
        config = heldout_solutions.keeping(context, config, measured, "policy")
        summary = train.train_policy(
            model,
            rows,
            tokenizer,
            prompt,
            config,
            tokens=tokens_folder(folder),
            on_row=functools.partial(_encoded, context),
            on_question=functools.partial(_grown, context),
            held_out=measured,
            **options,
        )
        tokenizer.set_chat_template(usage.chat_template(prompt, tokenizer))
        loader = usage.loader(tokenizer, model.config.family)
        section = usage.policy_usage(prompt, tokenizer.grammar, loader)
        data = {"solutions": len(rows), "training problems": problems or len(context.train)}
        card = _card(context, "policy", round, data, section)
        stops = tokenizer.grammar.handovers
        weights.save_pretrained(model, folder / "model", tokenizer_from=tokenizer, card=card, stops=stops)
        context.held.leave(folder / "model", model.params())
    written = train.probabilities(summary.metrics, tokenizer.grammar)
    said = ", ".join(f"{token} {p:.2f}" for token, p in written.items())
    context.progress.log(f"{title}: probability of each delimiter where it stands: {said}.")
    weak = train.weakness(summary.metrics, tokenizer.grammar, summary.steps, len(options["new_tokens"]))
    if note := "; ".join(filter(None, (weak, train.unsteadiness(summary.skipped, summary.steps)))):
        context.progress.log(f"{title}: {note}.")
    if summary.as_sampled:
        context.progress.log(
            f"{title}: {summary.as_sampled:,} steps are learnt by the ids that were sampled; its tokenizer "
            "spells them otherwise."
        )
    told = heldout_solutions.told(before, summary.held_out, source, count, tokens)
    return TrainResult(**_figures(summary), delimiters=written, heldout_tokens=told, note=note)


def _card(
    context: Context, kind: Literal["policy"] | Reward, round: int, data: dict[str, int], section: str
) -> str:
    """Facts of a model that this run has made, for its card. section: how it is used."""
    settings = context.settings
    provenance = {
        "base_model": settings.policy.init
        if settings.policy.init != "tiny"
        else "the tiny base of rstar_jax",
        "round": round or ("none, a warm start" if kind == "policy" else "none, trained on given pairs"),
        "data": data,
        "seed": settings.seed,
        "options, SHA-256": records.digest(context.work.root / "config.json"),
        "made with": f"rstar_jax {rstar_jax.__version__}",
    }
    return weights.model_card(kind, provenance, base=context.base, usage=section)


def _load(context: Context, folder: Path, config: train.TrainConfig) -> models.Decoder:
    """A decoder to train: parameters in float32, or as they are computed with where they are frozen."""
    compute = context.settings.policy.dtype
    dtype = jnp.dtype(compute if config.lora.rank else "float32")
    return weights.load_pretrained(
        folder,
        dtype=dtype,
        compute_dtype=compute,
        mesh=training_mesh(context, config, weights.check_pretrained(folder)),
        cache=context.cache(folder),
        held=context.held,
    )


def training_mesh(context: Context, config: train.TrainConfig, shape: DecoderConfig) -> Mesh | None:
    """The mesh of `train.mesh` for a model of this shape, over the devices of all hosts; None for one device.
    Raises UserError where it does not fit the devices."""
    devices = jax.devices()
    slices, memory = sharding.slice_count(devices), train.device_memory(jax.local_devices())
    given = context.settings.train.mesh
    try:
        sizes = train.mesh_sizes(given, shape, config, devices=len(devices), slices=slices, memory=memory)
        mesh = sharding.make_mesh(**dataclasses.asdict(sizes))
    except UserError as error:
        raise UserError(f"config.train.mesh: {error}") from error
    return mesh if mesh.size > 1 else None


def train_ppm(context: Context, round: int, folder: Path) -> TrainResult:
    """Trains the round's reward model, mostly a PPM, from the round's policy (section 3.3); none where there
    is nothing to learn."""
    learnt = REWARD_MODELS[context.settings.train.reward]
    rows = RowFile(context.folder(round, "curate") / learnt.file, learnt.kind)
    if why := learnt.lacking(rows):
        context.progress.log(f"round {round}: {why} yet, so no {learnt.title}; search votes without one.")
        return TrainResult(note=f"no {learnt.title}: {why}")
    return fit_reward(context, round, folder, rows, context.trained(round))


def fit_reward(
    context: Context,
    round: int,
    folder: Path,
    rows: RowFile[Any],
    source: Path,
    held_out: Sequence[Any] = (),
) -> TrainResult:
    """Train a reward model from the policy in a folder, write FOLDER/model (Hugging Face format), return the
    figures.

    round: whose rows they are; 0 for given ones. rows: of the kind that `train.reward` learns. held_out: such
    rows that are not learnt, measured after each epoch.
    """
    learnt = REWARD_MODELS[context.settings.train.reward]
    tokenizer = context.tokenizer(source)
    config = context.settings.train.ppm
    delimiters, dtype = context.settings.policy.delimiters, context.settings.policy.dtype
    policy = train.with_delimiters(_load(context, source, config), tokenizer, delimiters)
    model = models.from_policy(policy, seed=_seed(context, round))
    if round:
        context.held.leave(source, policy.params())
        context.held.narrow(dtype)
    del policy
    prompt = context.prompt("ppm")
    with _training(context, round, f"train the {learnt.title}", folder, tokenizer) as options:
        measured = learnt.held_out(model, held_out, tokenizer, prompt, config)
        config = heldout_solutions.keeping(context, config, measured, learnt.title)
        summary = learnt.train(
            model,
            rows,
            tokenizer,
            prompt,
            config,
            tokens=tokens_folder(folder),
            on_row=functools.partial(_encoded, context),
            on_question=functools.partial(_grown, context),
            held_out=measured,
            **options,
        )
        loader = usage.loader(tokenizer, model.decoder.config.family)
        section = usage.reward_usage(prompt, tokenizer.grammar, loader, context.ppm_scale)
        data = {learnt.examples: len(rows), "training problems": len(context.train)}
        card = _card(context, context.settings.train.reward, round, data, section)
        weights.save_reward_model(model, folder / "model", tokenizer_from=tokenizer, card=card)
    if round:
        context.held.leave(folder / "model", model.params())
        del model
        context.held.settle(dtype)
    saturated, skipped = train.saturation(summary.metrics), train.unsteadiness(summary.skipped, summary.steps)
    if note := "; ".join(filter(None, (saturated, skipped))):
        title = f"round {round}, the {learnt.title}" if round else f"the {learnt.title}"
        context.progress.log(f"{title}: {note}.")
    return TrainResult(**_figures(summary), pair_accuracy=learnt.ranked(summary), note=note)


@contextlib.contextmanager
def _training(
    context: Context, round: int, title: str, folder: Path, tokenizer: Tokenizer
) -> Iterator[dict[str, Any]]:
    """Shows a training and yields its keyword arguments; its checkpoints go once the block has ended well.

    Of several hosts, which train together, the leader alone writes metrics. New tokens are those that the
    run's base lacks: for the PPM, too, as its policy has them from this run.
    """
    first: list[int] = []  # the steps before it are an interrupted run's: the time left is not theirs

    def on_step(step: int, total: int, values: dict[str, float]) -> None:
        if not first:
            first.append(step)
        context.progress.update(step, earlier=first[0] - 1, total=total, note=f"loss {values['loss']:.3f}")

    checkpoints, leader = folder / "checkpoints", distributed.here().leader
    with contextlib.ExitStack() as stack:
        stack.enter_context(context.progress.stage(title, None, "steps", round or None))
        metrics = None
        if leader:
            sinks = context.scalars.training(folder)
            metrics = stack.enter_context(MetricsWriter(folder, sinks=sinks))
        yield {
            "seed": _seed(context, round),
            "new_tokens": range(context.tokenizer(context.base).vocab_size, tokenizer.vocab_size),
            "checkpoints": checkpoints,
            "metrics": metrics,
            "on_step": on_step,
        }
    if leader:
        stores.remove_folder(checkpoints)
        remove_tokens(folder)


def tokens_folder(folder: Path) -> Path:
    """Name the folder of a stage's token ids."""
    return folder / _TOKENS[distributed.here().count == 1]


def remove_tokens(folder: Path) -> None:
    """Remove a stage's token ids, those of a start with other hosts, too."""
    for name in _TOKENS:
        stores.remove_folder(folder / name)


def _encoded(context: Context, done: int, total: int) -> None:
    context.progress.update(note=f"{done:,} of {total:,} rows are token ids")


def _grown(context: Context, done: int, total: int) -> None:
    context.progress.update(note=f"the rows of {done:,} of {total:,} questions are trees")


def _seed(context: Context, round: int) -> int:
    """Seed of the order of examples and of new weights, another one each round; round 0 is a warm start."""
    return context.settings.seed * 1000 + round


def _figures(summary: train.TrainSummary) -> dict[str, Any]:
    """A training's figures, JSON-ready."""
    return dataclasses.asdict(summary) | {n: dict(getattr(summary, n)) for n in ("metrics", "held_out")}
