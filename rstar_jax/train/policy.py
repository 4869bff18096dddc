"""Supervised fine-tuning of the policy on verified solutions (arXiv 2501.04519, section 3.2).

The policy learns every token that it will have to write: thoughts, code, step ends and the answer; neither
the prompt nor what the interpreter prints.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax.data.row_tokens import encoded
from rstar_jax.data.solution_tokens import SolutionEncoder
from rstar_jax.errors import UserError
from rstar_jax.losses import LOSSES, Terms
from rstar_jax.models import Decoder
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train.config import TrainConfig, TrainSummary
from rstar_jax.train.held_out import HeldOut
from rstar_jax.train.host_rows import Rows, call_tokens, digest, host_share, lengths, mesh_of, shapes
from rstar_jax.train.loop import Batch, OnStep, fit
from rstar_jax.train.metrics import MetricsWriter
from rstar_jax.train.packing import Example, arrange, rows_of, share, shuffled
from rstar_jax.train.step import Loss
from rstar_jax.train.vocabulary import terms
from rstar_jax.transforms import lora
from rstar_jax.types import SftRow

log = logging.getLogger(__name__)

# Logits held at once by the loss on a device, in elements; above it they are computed piece by piece, twice.
LOGITS_AT_ONCE = 1 << 26


def train_policy(
    model: Decoder,
    rows: Collection[SftRow],
    tokenizer: Tokenizer,
    prompt: Callable[[str], str],
    config: TrainConfig,
    *,
    seed: int = 0,
    new_tokens: range = range(0),
    tokens: Path | None = None,
    on_row: Callable[[int, int], None] = lambda *_: None,
    checkpoints: Path | None = None,
    metrics: MetricsWriter | None = None,
    on_step: OnStep | None = None,
    held_out: HeldOut | None = None,
) -> TrainSummary:
    """Train `model` in place on the solutions, by `config.lora` if it has a rank; the other arguments are
    those of `fit`.

    prompt: question -> what the policy is given before the solution. new_tokens: ids that the base was never
    taught; their embeddings train whole where the rest is low-rank. tokens: a folder for the token ids of
    rows that are a file (`RowFile`): they are mapped, and found there by a resumed training; None: they stay
    in memory. on_row: told now and then how many rows are encoded, of all. Raises UserError if there are no
    rows or none fits `config.seq_len`.
    """
    if not len(rows):
        raise UserError("training the policy: no solutions given. At least one verified solution is needed.")

    room = config.seq_len if config.long == "truncate" else 0
    encoder = SolutionEncoder(tokenizer, prompt, config.sampled_ids, room)
    examples = encoded(
        rows,
        encoder,
        Example,
        folder=tokens,
        share=host_share(),
        on_done=lambda done: on_row(done, len(rows)),
    )
    counts = examples.counts
    if cut := counts["truncated"]:
        log.warning("%d of %d solutions cut: their steps within seq_len %d are learnt.", cut, len(rows), room)
    if refused := counts["ids_refused"]:
        log.warning(
            "%d steps have token_ids that are none of their text in this vocabulary: the texts are learnt.",
            refused,
        )
    mesh = mesh_of(model)
    batches = PolicyBatches(examples, config, seed, Rows.halves(mesh, config.microbatch), call_tokens(mesh))
    with lora.adapted(model, config.lora, seed=seed, new_tokens=new_tokens):
        summary = fit(
            model,
            batches,
            _loss_of(terms(tokenizer.grammar)),
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
    return dataclasses.replace(summary, truncated=counts["truncated"], as_sampled=counts["as_sampled"])


class PolicyBatches:
    """step -> Batch: the examples in a new order each epoch, cut into steps whose sizes differ by one at
    most.

    rows: the sizes of a microbatch (`Rows.halves`); None: `config.microbatch` and less, all made here.
    call: tokens that a microbatch counts for besides its own (`call_tokens`).
    total_steps: of all epochs. dropped: examples longer than a row, left out with a warning. Raises UserError
    if nothing is left.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        config: TrainConfig,
        seed: int,
        rows: Sequence[Rows] | None = None,
        call: int = 0,
    ) -> None:
        self.config, self.seed, self.examples, self.call = config, seed, examples, call
        self.shapes = shapes(rows or Rows.halves(None, config.microbatch), config.seq_len)
        self.lengths = lengths(examples)
        self.kept = np.flatnonzero(self.lengths <= config.seq_len)
        self.dropped = len(examples) - len(self.kept)
        warn_dropped(self.dropped, len(examples), "solutions", config)
        self.steps_per_epoch = math.ceil(len(self.kept) / config.batch)
        self.total_steps = config.epochs * self.steps_per_epoch

    def __call__(self, step: int) -> Batch:
        chosen = self._chosen(step)
        sizes = self.lengths[chosen].tolist()
        places, found = arrange([[n] for n in sizes], self.shapes, self.call)
        packed = rows_of(lambda i: self.examples[chosen[i]], [slot for (slot,) in places], found)
        return Batch(packed, len(chosen), sum(sizes))

    def digest(self) -> int:
        """A number for the data, whatever the rows that it comes in."""
        first = (self.examples[i] for i in self._chosen(0))
        return digest(self.lengths, (array for e in first for array in (e.tokens, e.trained)))

    def _chosen(self, step: int) -> list[int]:
        epoch, part = divmod(step, self.steps_per_epoch)
        order = shuffled(len(self.kept), self.seed, epoch)
        return self.kept[share(order, part, self.steps_per_epoch)].tolist()


def warn_dropped(dropped: int, total: int, what: str, config: TrainConfig) -> None:
    """Log how many examples are left out; raise UserError if that is all of them, or any where
    `config.long` is "error"."""
    if dropped and config.long == "error":
        raise UserError(
            f"train.seq_len: {config.seq_len} given, but {dropped} of {total} {what} are longer, and "
            "train.long is 'error'. Raise train.seq_len, or give train.long=drop or truncate."
        )
    if dropped == total:
        raise UserError(
            f"train.seq_len: {config.seq_len} given, but all {total} {what} are longer. Raise it "
            "(for pairs also train.microbatch: both sides must fit one call)."
        )
    if dropped:
        log.warning("%d of %d %s left out: longer than seq_len %d.", dropped, total, what, config.seq_len)


@functools.cache
def _loss_of(kinds: tuple[str, ...]) -> Loss:
    """`policy_loss` with these kinds; the same object each time, so that `fit` compiles it once."""
    return functools.partial(policy_loss, kinds=kinds)


def policy_loss(
    model: Decoder, batch: dict[str, jax.Array], config: TrainConfig, kinds: Sequence[str] = ()
) -> Terms:
    """Next-token cross-entropy of a microbatch from `pack`, that of each delimiter reported apart by the
    names in `kinds`.

    With a large vocabulary the logits of all tokens would be the largest arrays of the whole step (4096 x
    151,936 float32 = 2.5 GB a row), so they are computed in pieces, and again in the backward pass.
    """
    loss = LOSSES["cross_entropy"]
    x = model.hidden(batch["tokens"], batch["positions"], batch["segment_ids"], remat=config.remat)
    devices = 1 if model.mesh is None else model.mesh.size
    parts = 1 if model.mesh is None else model.mesh.shape.get("context", 1)
    pieces = _pieces(x.shape[0], x.shape[1] // parts, model.config.vocab_size, devices / parts)
    if pieces == 1:
        return loss(model.logits(x), batch["targets"], batch["weights"], batch["marks"], kinds)
    # Outside of the loop: in it a mesh would gather the table for every piece. A TPU's compiler then sums the
    # table's gradient over the devices once, too, XLA:CPU for every piece.
    table = model.vocabulary()

    @jax.checkpoint
    def piece(x: jax.Array, targets: jax.Array, weights: jax.Array, marks: jax.Array) -> Terms:
        return loss(model.logits(x, table), targets, weights, marks, kinds)

    def cut_row(a: jax.Array) -> jax.Array:
        """[B, T, ...] to [pieces, B, T / pieces, ...]; a device's rows, or part of a row, stay with it."""
        rows, rest = a.shape[0], a.shape[2:]
        of_parts = jnp.moveaxis(a.reshape(rows, parts, pieces, -1, *rest), 2, 0)
        return of_parts.reshape(pieces, rows, -1, *rest)

    cut = jax.tree.map(cut_row, (x, batch["targets"], batch["weights"], batch["marks"]))
    return jax.tree.map(lambda sums: sums.sum(axis=0), jax.lax.map(lambda args: piece(*args), cut))


def _pieces(rows: int, seq_len: int, vocab_size: int, devices: float) -> int:
    """Into how many pieces (a power of two that divides the row) to cut the logits."""
    pieces = 1
    while rows * seq_len * vocab_size / devices / pieces > LOGITS_AT_ONCE and seq_len % (2 * pieces) == 0:
        pieces *= 2
    return pieces
