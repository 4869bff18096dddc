"""Training of the process preference model on pairs of steps (arXiv 2501.04519, section 3.3).

The pairs of one node compare the same few continuations (two preferred, two not: four pairs, four
sequences), so a step's batch is made of whole nodes, and each sequence is encoded once however many pairs
it is in. The value is read at the last token of a continuation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax.errors import UserError
from rstar_jax.losses import LOSSES, Terms
from rstar_jax.models import RewardModel
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train.config import TrainConfig, TrainSummary
from rstar_jax.train.held_out import HeldOut, measure
from rstar_jax.train.host_rows import Encoded, Rows, digest, lengths, mesh_of
from rstar_jax.train.loop import Batch, OnStep, fit
from rstar_jax.train.metrics import MetricsWriter
from rstar_jax.train.packing import Example, fits, place, rows_of, share, shuffled
from rstar_jax.train.policy import warn_dropped
from rstar_jax.transforms import lora
from rstar_jax.types import PreferencePair

# A pair: indices of its two sequences, preferred first, and its weight.
IndexPair = tuple[int, int, float]


def train_ppm(
    model: RewardModel,
    pairs: Sequence[PreferencePair],
    tokenizer: Tokenizer,
    prompt: Callable[[str], str],
    config: TrainConfig,
    *,
    seed: int = 0,
    new_tokens: range = range(0),
    checkpoints: Path | None = None,
    metrics: MetricsWriter | None = None,
    on_step: OnStep | None = None,
    held_out: HeldOut | None = None,
) -> TrainSummary:
    """Train `model` in place on the pairs, by `config.lora` if it has a rank; the other arguments are those
    of `fit`.

    prompt: question -> what stands before the solution. new_tokens: as for train_policy.
    The summary's metrics hold the "accuracy" of the pairs' order. Raises UserError if there are no pairs or
    none fits `config.seq_len`.
    """
    if not pairs:
        raise UserError("training the PPM: no preference pairs given. At least one is needed.")
    rows = Rows.on(mesh_of(model), config.microbatch)
    batches = PpmBatches(*_sequences(pairs, tokenizer, prompt), config, seed, rows)
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


def compare(
    model: RewardModel,
    pairs: Sequence[PreferencePair],
    tokenizer: Tokenizer,
    prompt: Callable[[str], str],
    config: TrainConfig,
    *,
    on_step: Callable[[int, int], None] = lambda *_: None,
) -> tuple[dict[str, float], int]:
    """The terms of the loss on pairs that are not learnt, "accuracy" of their order among them, and how many
    pairs were left out as longer than `config.seq_len`. on_step: told of batches done, of all.

    Raises UserError as `train_ppm`.
    """
    rows = Rows.on(mesh_of(model), config.microbatch)
    once = dataclasses.replace(config, epochs=1)
    batches = PpmBatches(*_sequences(pairs, tokenizer, prompt), once, 0, rows)
    steps = batches.total_steps
    found = measure(
        model, batches, ppm_loss, config, total_steps=steps, on_step=lambda step: on_step(step, steps)
    )
    return found, batches.dropped


def _sequences(
    pairs: Sequence[PreferencePair], tokenizer: Tokenizer, prompt: Callable[[str], str]
) -> tuple[Sequence[Example], list[list[IndexPair]]]:
    """The distinct sequences of all pairs, and the pairs by node, as indices into them."""
    known: dict[tuple[str, tuple[str, ...]], int] = {}
    nodes: dict[tuple[str, tuple[str, ...]], list[IndexPair]] = {}

    def index(question: str, steps: tuple[str, ...]) -> int:
        return known.setdefault((question, steps), len(known))

    for pair in pairs:
        positive = index(pair.question, (*pair.prefix, *pair.positive))
        negative = index(pair.question, (*pair.prefix, *pair.negative))
        nodes.setdefault((pair.question, pair.prefix), []).append((positive, negative, pair.weight))
    texts = list(known)

    def encode(number: int) -> Example:
        question, steps = texts[number]
        return _unlearnt(np.asarray(tokenizer.encode_solution(prompt(question), steps)[0], np.int32))

    return Encoded(len(texts), encode), list(nodes.values())


def _unlearnt(tokens: np.ndarray) -> Example:
    return Example(tokens, np.zeros(len(tokens), bool))


class PpmBatches:
    """step -> Batch: whole nodes in a new order each epoch, as many as make about `config.batch` pairs.

    sequences: Examples, of which the tokens are read. nodes: the pairs of each node. rows: of a microbatch;
    None: `config.microbatch` of them, all made here. total_steps: of all epochs. dropped: pairs left out
    because a side is longer than a row, with a warning. A node too large for `config.microbatch` rows is cut
    into single pairs, also where there are more rows: the data are the same on every mesh. Raises UserError
    if nothing is left.
    """

    def __init__(
        self,
        sequences: Sequence[Example],
        nodes: Sequence[Sequence[IndexPair]],
        config: TrainConfig,
        seed: int,
        rows: Rows | None = None,
    ) -> None:
        self.config, self.seed, self.sequences = config, seed, sequences
        self.rows = rows or Rows(config.microbatch)
        self.lengths = lengths(sequences)
        # A pair needs two sequences, so there are never more pairs than half the tokens.
        self.slots = self.rows.count * config.seq_len // 2
        self.nodes: list[list[IndexPair]] = []
        total = sum(len(node) for node in nodes)
        for node in nodes:
            if self._fits(node):
                self.nodes.append(list(node))
            else:
                self.nodes += [[pair] for pair in node if self._fits([pair])]
        kept = sum(len(node) for node in self.nodes)
        self.dropped = total - kept
        warn_dropped(self.dropped, total, "preference pairs", config)
        self.steps_per_epoch = min(math.ceil(kept / config.batch), len(self.nodes))
        self.total_steps = config.epochs * self.steps_per_epoch

    def _lengths(self, node: Sequence[IndexPair]) -> list[int]:
        return self.lengths[_members(node)].tolist()

    def _fits(self, node: Sequence[IndexPair]) -> bool:
        lengths = self._lengths(node)
        return 2 * len(node) <= sum(lengths) and fits(lengths, self.config.microbatch, self.config.seq_len)

    def __call__(self, step: int) -> Batch:
        return self._pack(self._chosen(step))

    def digest(self) -> int:
        """A number for the data, whatever the rows that they come in."""
        chosen = self._chosen(0)
        first = (self.sequences[i].tokens for node in chosen for i in _members(node))
        weights = np.array([pair for node in chosen for pair in node], np.float64)
        return digest(self.lengths, (*first, weights))

    def _chosen(self, step: int) -> list[list[IndexPair]]:
        epoch, part = divmod(step, self.steps_per_epoch)
        order = shuffled(len(self.nodes), self.seed, epoch)
        return [self.nodes[i] for i in share(order, part, self.steps_per_epoch)]

    def _pack(self, nodes: list[list[IndexPair]]) -> Batch:
        rows, seq_len = self.rows.count, self.config.seq_len
        places = place([self._lengths(node) for node in nodes], rows, seq_len)
        members, slots, pairs = [], [], []
        for node, node_slots in zip(nodes, places, strict=True):
            last = {}  # place of each sequence's last token in the flattened rows
            for i, slot in zip(_members(node), node_slots, strict=True):
                members.append(i)
                slots.append(slot)
                last[i] = slot.row * seq_len + slot.start + int(self.lengths[i]) - 1
            pairs += [(node_slots[0].microbatch, last[p], last[n], weight) for p, n, weight in node]
        packed = rows_of(lambda i: self.sequences[members[i]], slots, rows, seq_len, self.rows.own)
        for number, arrays in enumerate(packed):
            own_pairs = [pair[1:] for pair in pairs if pair[0] == number]
            arrays |= {
                "positive": np.zeros(self.slots, np.int32),
                "negative": np.zeros(self.slots, np.int32),
                "pair_weights": np.zeros(self.slots, np.float32),
            }
            for name, column in zip(
                ("positive", "negative", "pair_weights"), zip(*own_pairs, strict=True), strict=True
            ):
                arrays[name][: len(own_pairs)] = column
            del arrays["targets"], arrays["weights"], arrays["marks"]
        return Batch(packed, len(pairs), int(self.lengths[members].sum()))


def _members(node: Sequence[IndexPair]) -> list[int]:
    """The distinct sequences of a node, in order of first use."""
    return list(dict.fromkeys(i for positive, negative, _ in node for i in (positive, negative)))


def ppm_loss(model: RewardModel, batch: dict[str, jax.Array], config: TrainConfig) -> Terms:
    """Bradley-Terry loss of a microbatch: pairs are places in its flattened rows.

    "saturated" counts pairs both of whose values tanh has brought within 0.01 of -1 or 1: what is there has
    no gradient, and no order when it is served.
    """
    raw = model.raw(batch["tokens"], batch["positions"], batch["segment_ids"], remat=config.remat).reshape(-1)
    pairs = raw[jnp.stack([batch["positive"], batch["negative"]])]
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
