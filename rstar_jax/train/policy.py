"""Supervised fine-tuning of the policy on verified solutions (arXiv 2501.04519, section 3.2).

The policy learns every token that it will have to write: thoughts, code, step ends and the answer; neither
the prompt nor what the interpreter prints. Solutions of a question are learnt as a tree
(`solution_trees.py`): what they share is computed once.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax.data.row_tokens import encoded
from rstar_jax.data.solution_tokens import SolutionEncoder
from rstar_jax.errors import UserError
from rstar_jax.losses import LOSSES, Terms
from rstar_jax.models import Decoder, rope
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train.config import TrainConfig, TrainSummary
from rstar_jax.train.held_out import HeldOut
from rstar_jax.train.host_rows import Rows, digest, host_share, lengths, mesh_of
from rstar_jax.train.loop import Batch, OnStep, fit
from rstar_jax.train.metrics import MetricsWriter
from rstar_jax.train.solution_trees import MARKS, Example, links, solution_tree
from rstar_jax.train.step import Loss
from rstar_jax.train.tree_packing import Outline
from rstar_jax.train.tree_rows import Group, Groups, Ragged, Steps, TreeRows, by_question
from rstar_jax.train.trees import TokenTree, divided, token_tree
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
    on_question: Callable[[int, int], None] = lambda *_: None,
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
    in memory. on_row: told now and then how many rows are encoded, of all; on_question: how many questions
    are trees, of all. Raises UserError if there are no rows or none fits `config.seq_len`.
    """
    if not len(rows):
        raise UserError("training the policy: no solutions given. At least one verified solution is needed.")

    room = config.seq_len if config.long == "truncate" else 0
    encoder = SolutionEncoder(tokenizer, prompt, config.sampled_ids, room)
    examples = encoded(
        rows,
        encoder,
        example_of,
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
    batches = PolicyBatches(
        examples,
        config,
        seed,
        functools.partial(Rows.sizes, mesh_of(model), config.microbatch),
        questions=by_question(examples.column("question")),
        long_from=rope.long_from(model.config.rope),
        on_question=on_question,
    )
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


def example_of(question: np.ndarray, **arrays: np.ndarray) -> Example:
    """A solution, of the arrays that `SolutionEncoder` makes."""
    return Example(**arrays)


class PolicyBatches:
    """step -> Batch: trees of whole questions in a new order each epoch, about `config.batch` solutions a
    step.

    questions: the examples of each, int [.]; None: each is of another. rows, long_from: as for `PpmBatches`.
    on_question: told now and then how many questions are trees, of all. total_steps: of all epochs. dropped:
    examples longer than a row, left out with a warning. What trees there are is the same on every mesh.
    Raises UserError if nothing is left.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        config: TrainConfig,
        seed: int,
        rows: Callable[[int], Sequence[Rows]] | None = None,
        *,
        questions: Ragged | Sequence[np.ndarray] | None = None,
        long_from: int | None = None,
        on_question: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        self.config, self.examples, self.long_from = config, examples, long_from
        self.lengths = lengths(examples)
        self.dropped = int((self.lengths > config.seq_len).sum())
        warn_dropped(self.dropped, len(examples), "solutions", config)
        if questions is None:
            questions = by_question(np.arange(len(examples)))
        self.groups = Groups.of(len(questions), lambda n: self._divided(questions[n]), 1, on_question)
        rows = rows or functools.partial(Rows.sizes, None, config.microbatch)
        self.steps = Steps(self.groups, config, seed)
        self.rows = TreeRows(self.groups, self._tree, rows, config.seq_len, self.steps, MARKS)
        self.total_steps, self.steps_per_epoch = self.steps.total, self.steps.per_epoch

    def __call__(self, step: int) -> Batch:
        chosen = self.steps(step).tolist()
        microbatches, slots = self.rows(chosen)
        solutions = sum(len(self.groups.examples[group]) for group in chosen)
        return Batch(microbatches, solutions, self.rows.tokens(slots))

    def digest(self) -> int:
        """A number for the data, whatever the rows that it comes in."""
        first = [example for group in self.steps(0).tolist() for example in self._of(group)]
        arrays = (array for example in first for array in (example.tokens, example.trained))
        return digest(self.groups.outlines.rows, (self.groups.examples.rows, *arrays))

    def _divided(self, numbers: np.ndarray) -> Iterator[Group]:
        """The groups of a question's examples. Long ones share nothing with others."""
        sizes = self.lengths[numbers]
        long = np.zeros(len(sizes), bool) if self.long_from is None else sizes > self.long_from
        for kind in (~long, long):
            some = numbers[kind & (sizes <= self.config.seq_len)].tolist()
            if len(some) == 1:  # nothing to be compared: of most, no token is read
                yield Outline(np.zeros(1, int), self.lengths[some]), [some]
            elif some:
                links_of, _ = links([self.examples[number] for number in some])
                for group in divided([[ids] for ids in links_of], self.config.seq_len, self.config.batch):
                    tree = token_tree([links_of[i] for i in group])
                    yield tree.outline(), [(some[i],) for i in group]

    def _of(self, group: int) -> list[Example]:
        return [self.examples[number] for number in self.groups.examples[group][:, 0].tolist()]

    def _tree(self, group: int) -> TokenTree:
        return solution_tree(self._of(group))


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
    """Next-token cross-entropy of a microbatch of `PolicyBatches`, that of each delimiter reported apart by
    the names in `kinds`.

    With a large vocabulary the logits of all tokens would be the largest arrays of the whole step (4096 x
    151,936 float32 = 2.5 GB a row), so they are computed in pieces, and again in the backward pass.
    """
    loss = LOSSES["cross_entropy"]
    rows = batch["tokens"], batch["positions"], batch["segment_ids"]
    x = model.hidden(*rows, ends=batch["ends"], remat=config.remat)
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
