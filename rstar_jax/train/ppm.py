"""Training of the process preference model on pairs of steps (arXiv 2501.04519, section 3.3).

The pairs of a question compare continuations of the same tree: prompt and steps that they share are computed
once (`trees.py`), and the pairs of a question are learnt in the same step. The value is read at the last
token of a continuation.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax.data.pair_tokens import PairEncoder
from rstar_jax.data.row_tokens import encoded
from rstar_jax.errors import UserError
from rstar_jax.losses import LOSSES, Terms
from rstar_jax.models import RewardModel, rope
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train.config import TrainConfig, TrainSummary
from rstar_jax.train.held_out import HeldOut
from rstar_jax.train.host_rows import Rows, digest, host_share, mesh_of
from rstar_jax.train.loop import Batch, OnStep, fit
from rstar_jax.train.metrics import MetricsWriter
from rstar_jax.train.policy import warn_dropped
from rstar_jax.train.tree_packing import fill
from rstar_jax.train.tree_rows import Group, Groups, Ragged, Steps, TreeRows, by_question
from rstar_jax.train.trees import TokenTree, divided, forest, token_tree
from rstar_jax.transforms import lora
from rstar_jax.types import PreferencePair

Sides = tuple[np.ndarray, np.ndarray]  # ids of the preferred and of the other continuation, [T] int32 each


def train_ppm(
    model: RewardModel,
    pairs: Collection[PreferencePair],
    tokenizer: Tokenizer,
    prompt: Callable[[str], str],
    config: TrainConfig,
    *,
    seed: int = 0,
    new_tokens: range = range(0),
    tokens: Path | None = None,
    on_row: Callable[[int, int], None] = lambda *_: None,
    on_question: Callable[[int, int], None] = lambda *_: None,
    checkpoints: Path | None = None,
    metrics: MetricsWriter | None = None,
    on_step: OnStep | None = None,
    held_out: HeldOut | None = None,
) -> TrainSummary:
    """Train `model` in place on the pairs, by `config.lora` if it has a rank; the other arguments are those
    of `fit`.

    prompt: question -> what stands before the solution. new_tokens, tokens, on_row: as for train_policy.
    on_question: told now and then how many questions' pairs are trees, of all.
    The summary's metrics hold the "accuracy" of the pairs' order. Raises UserError if there are no pairs or
    none fits `config.seq_len`.
    """
    if not len(pairs):
        raise UserError("training the PPM: no preference pairs given. At least one is needed.")
    told = {"tokens": tokens, "on_row": on_row, "on_question": on_question}
    batches = pair_batches(model, pairs, tokenizer, prompt, config, seed, **told)
    with lora.adapted(model, config.lora, seed=seed, new_tokens=new_tokens):
        return fit(
            model,
            batches,
            ppm_loss,
            config,
            total_steps=batches.total_steps,
            seed=seed,
            data=batches.digest(),
            dropped=batches.dropped,
            checkpoints=checkpoints,
            metrics=metrics,
            on_step=on_step,
            held_out=held_out,
            held_out_every=batches.steps_per_epoch,
        )


def once(config: TrainConfig) -> TrainConfig:
    """The config for pairs that are measured: long ones are counted, as nothing would be learnt of them."""
    return dataclasses.replace(config, epochs=1, long="drop")


def pair_batches(
    model: RewardModel,
    pairs: Collection[PreferencePair],
    tokenizer: Tokenizer,
    prompt: Callable[[str], str],
    config: TrainConfig,
    seed: int = 0,
    *,
    depths: bool = False,
    tokens: Path | None = None,
    on_row: Callable[[int, int], None] = lambda *_: None,
    on_question: Callable[[int, int], None] = lambda *_: None,
) -> PpmBatches:
    """The batches of a training of `model` on pairs; see `train_ppm`. depths: have microbatches hold those of
    the pairs, too, as "pair_depth" (`PairEncoder`)."""
    store = encoded(
        pairs,
        PairEncoder(tokenizer, prompt),
        sides_of,
        folder=tokens,
        share=host_share(),
        on_done=lambda done: on_row(done, len(pairs)),
    )
    return PpmBatches(
        store.__getitem__,
        by_question(store.column("question")),
        store.column("weight"),
        config,
        seed,
        functools.partial(Rows.sizes, mesh_of(model), config.microbatch),
        depths=store.column("depth") if depths else None,
        long_from=rope.long_from(model.decoder.config.rope),
        on_question=on_question,
    )


def sides_of(tokens: np.ndarray, cuts: np.ndarray, **_: np.ndarray) -> Sides:
    """The sides of a pair of the arrays that `PairEncoder` makes."""
    shared, end = cuts.tolist()
    return tokens[:end], np.concatenate([tokens[:shared], tokens[end:]])


class PpmBatches:
    """step -> Batch: trees of whole questions in a new order each epoch, about `config.batch` pairs a step.

    sides: pair -> ids of the preferred and of the other one. questions: the pairs of each, int [.]. weights:
    of the pairs. depths: of the pairs, int; None: no microbatch holds them. rows: as for `TreeRows`; None:
    `config.microbatch` of them, all made here. long_from: tokens of a sequence from which on it shares
    nothing with shorter ones (`models.rope.long_from`). total_steps: of all epochs. dropped: pairs left out
    because a side is longer than a row, or both do not fit a microbatch, with a warning. What trees there are
    is the same on every mesh. Raises UserError if nothing is left.
    """

    def __init__(
        self,
        sides: Callable[[int], Sides],
        questions: Ragged | Sequence[np.ndarray],
        weights: np.ndarray,
        config: TrainConfig,
        seed: int,
        rows: Callable[[int], Sequence[Rows]] | None = None,
        *,
        depths: np.ndarray | None = None,
        long_from: int | None = None,
        on_question: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        self.config, self.sides, self.weights, self.long_from = config, sides, weights, long_from
        self._told: dict[str, np.ndarray] = {"pair_weights": np.asarray(weights, np.float32)}
        if depths is not None:
            self._told["pair_depth"] = np.asarray(depths, np.int32)
        self.groups = Groups.of(len(questions), lambda n: self._divided(questions[n]), 3, on_question)
        self.dropped = len(weights) - len(self.groups.examples.rows)
        warn_dropped(self.dropped, len(weights), "preference pairs", config)
        rows = rows or functools.partial(Rows.sizes, None, config.microbatch)
        self.steps = Steps(self.groups, config, seed)
        self.rows = TreeRows(self.groups, self._tree, rows, config.seq_len, self.steps)
        self.total_steps, self.steps_per_epoch = self.steps.total, self.steps.per_epoch

    @property
    def depths(self) -> list[int]:
        """The depths that there are among the pairs."""
        return np.unique(self._told["pair_depth"]).tolist()

    def __call__(self, step: int) -> Batch:
        microbatches, slots = self.rows(self.steps(step).tolist())
        names = {"positive": np.int32, "negative": np.int32}
        names |= {name: of_pairs.dtype for name, of_pairs in self._told.items()}
        for arrays in microbatches:
            arrays |= {name: np.zeros(2 * self.config.batch, dtype) for name, dtype in names.items()}
        lasts: dict[tuple[int, int], np.ndarray] = {}  # of a group's sequences, in the flattened microbatch
        for slot in slots:
            outline, which = self.groups.outline(slot.group), (slot.microbatch, slot.group)
            begin = slot.row * microbatches[slot.microbatch]["tokens"].shape[1] + slot.start
            here = lasts.setdefault(which, np.zeros(len(outline.own), np.int32))
            here[slot.first : slot.end] = begin + outline.lasts(slot.first, slot.end)
        used = [0] * len(microbatches)
        for (microbatch, group), places in lasts.items():
            pairs, arrays = self.groups.examples[group], microbatches[microbatch]
            here = slice(used[microbatch], used[microbatch] + len(pairs))
            arrays["positive"][here], arrays["negative"][here] = places[pairs[:, 1:]].T
            for name, of_pairs in self._told.items():
                arrays[name][here] = of_pairs[pairs[:, 0]]
            used[microbatch] += len(pairs)
        return Batch(microbatches, sum(used), self.rows.tokens(slots))

    def digest(self) -> int:
        """A number for the data, whatever the rows that they come in."""
        first = (self.rows.tree(group).tokens for group in self.steps(0).tolist())
        return digest(self.groups.outlines.rows, (self.groups.examples.rows, self.weights, *first))

    def _divided(self, pairs: np.ndarray) -> Iterator[Group]:
        """The groups of a question's pairs: as many as a microbatch holds, in parts of a row each."""
        sides = {number: self.sides(number) for number in pairs.tolist()}
        short = {n: both for n, both in sides.items() if max(map(len, both)) <= self.config.seq_len}
        return self._fitting(short, self.config.microbatch * self.config.seq_len)

    def _fitting(self, sides: Mapping[int, Sides], room: int) -> Iterator[Group]:
        numbers = list(sides)
        for group in divided(list(sides.values()), room, self.config.batch):
            some = {numbers[i]: sides[numbers[i]] for i in group}
            tree = self._tree_of(some.values())
            outline = tree.outline()
            if fill([outline], self.config.microbatch, self.config.seq_len) is not None:
                which = np.searchsorted(tree.distinct, tree.lasts).reshape(-1, 2).tolist()
                yield outline, [(number, *two) for number, two in zip(some, which, strict=True)]
            elif len(some) > 1:  # what parts repeat was too much
                yield from self._fitting(some, room * 3 // 4)

    def _tree_of(self, sides: Iterable[Sides]) -> TokenTree:
        """The tree of all sides; long ones are one of their own."""
        sequences = [side for both in sides for side in both]
        long = np.array([self._long(len(side)) for side in sequences])
        order = np.argsort(long, kind="stable")
        kinds = np.split(order, [len(order) - long.sum()])
        made = forest([token_tree([sequences[i] for i in some]) for some in kinds if len(some)])
        return dataclasses.replace(made, lasts=made.lasts[np.argsort(order)])

    def _long(self, length: int) -> bool:
        return self.long_from is not None and length > self.long_from

    def _tree(self, group: int) -> TokenTree:
        return self._tree_of(self.sides(number) for number in self.groups.examples[group][:, 0].tolist())


def pair_values(model: RewardModel, batch: dict[str, jax.Array], config: TrainConfig) -> jax.Array:
    """Return the values before tanh of a microbatch's pairs, the preferred sides' first: [2, pairs]."""
    rows = batch["tokens"], batch["positions"], batch["segment_ids"]
    raw = model.raw(*rows, ends=batch["ends"], remat=config.remat).reshape(-1)
    return raw[jnp.stack([batch["positive"], batch["negative"]])]


def ppm_loss(model: RewardModel, batch: dict[str, jax.Array], config: TrainConfig) -> Terms:
    """Bradley-Terry loss of a microbatch: pairs are places in its flattened rows.

    "saturated" counts pairs both of whose values tanh has brought within 0.01 of -1 or 1: what is there has
    no gradient, and no order when it is served.
    """
    pairs = pair_values(model, batch, config)
    values, weights = jnp.tanh(pairs), batch["pair_weights"]
    terms = LOSSES["bradley_terry"](*(values if config.ppm_value == "tanh" else pairs), weights)
    if config.ppm_center:
        total, count = terms["loss"]
        sums = jnp.square(pairs.sum(axis=0))
        terms["loss"] = total + config.ppm_center * (sums * weights).sum(), count
    if config.ppm_value == "tanh":
        real = (weights > 0).astype(jnp.float32)
        flat = jnp.all(jnp.abs(values) > 0.99, axis=0)
        terms["saturated"] = (flat * real).sum(), real.sum()
    return terms


def saturation(metrics: Mapping[str, float]) -> str:
    """Name what speaks against a PPM that was trained so, as a note; empty where nothing does."""
    share = metrics.get("saturated", 0.0)
    if share <= 0.5:
        return ""
    return (
        f"both values of {share:.0%} of the pairs are -1 or 1 to within 0.01, where tanh tells nothing "
        "apart: lower train.ppm.learning_rate, or keep values about 0 (train.ppm.ppm_center=0.1)"
    )
