"""Training of a reward model on the Q of steps by regression ("PQM", arXiv 2501.04519, section 5.3).

A row is one way through a tree; a value is read at the last token of each of its steps, as a search reads it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax.curate import StepValues, learnt_values
from rstar_jax.errors import UserError
from rstar_jax.losses import LOSSES, Terms
from rstar_jax.models import RewardModel
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train.config import TrainConfig, TrainSummary
from rstar_jax.train.held_out import HeldOut
from rstar_jax.train.host_rows import Encoded, Rows, digest, lengths, mesh_of
from rstar_jax.train.loop import Batch, OnStep, fit
from rstar_jax.train.metrics import MetricsWriter
from rstar_jax.train.packing import Example, place, rows_of, share, shuffled
from rstar_jax.train.policy import warn_dropped
from rstar_jax.transforms import lora


@dataclasses.dataclass(frozen=True)
class ValuedExample(Example):
    """An example with a value at each token, [T] float32, and its weight there: 0 but where a step ends."""

    values: np.ndarray = dataclasses.field(kw_only=True)
    weights: np.ndarray = dataclasses.field(kw_only=True)


def train_pqm(
    model: RewardModel,
    rows: Sequence[StepValues],
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
    """Train `model` in place on the values, by `config.lora` if it has a rank; the arguments are those of
    `train_ppm`, an example is a way through a tree.

    The summary's metrics hold the mean "distance" from the values, and in "sign" the share of them whose sign
    is told. Raises UserError where there is no row, none fits `config.seq_len`, or all values are one, from
    which nothing can be told apart.
    """
    learnt = learnt_values(rows)
    if len(learnt) < 2:
        found = f"all values are {learnt.pop()}" if learnt else "no values of steps given"
        raise UserError(f"training the PQM: {found}. Steps of at least two values are needed.")
    examples = Encoded(len(rows), lambda i: _example(rows[i], tokenizer, prompt))
    batches = PqmBatches(examples, config, seed, Rows.on(mesh_of(model), config.microbatch))
    with lora.adapted(model, config.lora, seed=seed, new_tokens=new_tokens):
        return fit(
            model,
            batches,
            pqm_loss,
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


def _example(row: StepValues, tokenizer: Tokenizer, prompt: Callable[[str], str]) -> ValuedExample:
    ids, ends = tokenizer.encode_prompt(prompt(row.question)), []
    for step in row.steps:
        for piece in tokenizer.encode_step(step):
            ids += piece
        ends.append(len(ids) - 1)
    tokens, at = np.asarray(ids, np.int32), np.zeros((2, len(ids)), np.float32)
    at[:, ends] = row.values, row.weights
    return ValuedExample(tokens, np.zeros(len(ids), bool), values=at[0], weights=at[1])


class PqmBatches:
    """step -> Batch: the rows in a new order each epoch, cut into steps whose sizes differ by one at most.

    rows: of a microbatch. total_steps: of all epochs. dropped: examples longer than a row, left out with a
    warning. Raises UserError if nothing is left.
    """

    def __init__(
        self, examples: Sequence[ValuedExample] | Encoded, config: TrainConfig, seed: int, rows: Rows
    ) -> None:
        self.config, self.seed, self.examples, self.rows = config, seed, examples, rows
        self.lengths = lengths(examples)
        self.kept = np.flatnonzero(self.lengths <= config.seq_len)
        self.dropped = len(examples) - len(self.kept)
        warn_dropped(self.dropped, len(examples), "rows of values", config)
        self.steps_per_epoch = math.ceil(len(self.kept) / config.batch)
        self.total_steps = config.epochs * self.steps_per_epoch

    def __call__(self, step: int) -> Batch:
        chosen, rows, seq_len = self._chosen(step), self.rows.count, self.config.seq_len
        sizes = self.lengths[chosen].tolist()
        places = [slot for (slot,) in place([[n] for n in sizes], rows, seq_len)]
        calls = 1 + max(slot.microbatch for slot in places)
        values, weights = np.zeros((2, calls, rows, seq_len), np.float32)

        def example(number: int) -> Example:
            found, slot = self._example(chosen[number]), places[number]
            span = slice(slot.start, slot.start + len(found.tokens))
            values[slot.microbatch, slot.row, span] = found.values
            weights[slot.microbatch, slot.row, span] = found.weights
            return found

        packed = rows_of(example, places, rows, seq_len, self.rows.own)
        for number, arrays in enumerate(packed):
            arrays |= {"values": values[number], "weights": weights[number]}
            del arrays["targets"], arrays["marks"]
        return Batch(packed, len(chosen), sum(sizes))

    def digest(self) -> int:
        """A number for the data, whatever the rows that they come in."""
        first = (self._example(i) for i in self._chosen(0))
        return digest(self.lengths, (array for e in first for array in (e.tokens, e.values, e.weights)))

    def _example(self, number: int) -> ValuedExample:
        found = self.examples[number]
        assert isinstance(found, ValuedExample)
        return found

    def _chosen(self, step: int) -> np.ndarray:
        epoch, part = divmod(step, self.steps_per_epoch)
        return self.kept[share(shuffled(len(self.kept), self.seed, epoch), part, self.steps_per_epoch)]


def pqm_loss(model: RewardModel, batch: dict[str, jax.Array], config: TrainConfig) -> Terms:
    """Squared error of a microbatch."""
    raw = model.raw(batch["tokens"], batch["positions"], batch["segment_ids"], remat=config.remat)
    return LOSSES["squared_error"](jnp.tanh(raw), batch["values"], batch["weights"])
