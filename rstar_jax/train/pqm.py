"""Training of a reward model on the Q of steps by regression ("PQM", arXiv 2501.04519, section 5.3).

A row of values is one way through a tree; a value is read at the last token of each of its steps, as a search
reads it. The ways of a question are learnt as trees (`trees.py`): what they share is computed once.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax.curate import StepValues, learnt_values
from rstar_jax.curate.value_tokens import ValueEncoder
from rstar_jax.data.row_tokens import encoded
from rstar_jax.errors import UserError
from rstar_jax.losses import LOSSES, Terms
from rstar_jax.models import RewardModel, rope
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train.config import TrainConfig, TrainSummary
from rstar_jax.train.held_out import HeldOut
from rstar_jax.train.host_rows import Rows, all_rows, digest, host_share, mesh_of
from rstar_jax.train.loop import Batch, OnStep, fit
from rstar_jax.train.metrics import MetricsWriter
from rstar_jax.train.policy import warn_dropped
from rstar_jax.train.tree_rows import Group, Groups, Ragged, Steps, TreeRows, by_question
from rstar_jax.train.trees import TokenTree, divided, key, token_tree
from rstar_jax.transforms import lora


@dataclasses.dataclass(frozen=True)
class Way:
    """tokens: [T] int32 of prompt and steps. ends: places of the last tokens of steps; values, weights: of
    the steps, [steps] float32."""

    tokens: np.ndarray
    ends: np.ndarray
    values: np.ndarray
    weights: np.ndarray

    def within(self, room: int) -> Way | None:
        """Its part in so many tokens: the first steps up to the last that is learnt; None: none is."""
        learnt = np.flatnonzero((self.weights > 0) & (self.ends < room))
        if not learnt.size:
            return None
        steps = int(learnt[-1]) + 1
        end = int(self.ends[steps - 1]) + 1
        return Way(self.tokens[:end], self.ends[:steps], self.values[:steps], self.weights[:steps])

    def learnt(self) -> Iterator[tuple[int, float, float]]:
        """Place, value and weight of each step that counts."""
        for end, value, weight in zip(self.ends, self.values, self.weights, strict=True):
            if weight > 0:
                yield int(end), float(value), float(weight)


def train_pqm(
    model: RewardModel,
    rows: Collection[StepValues],
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
    batches = value_batches(
        model,
        rows,
        tokenizer,
        prompt,
        config,
        seed,
        tokens=tokens,
        on_done=lambda done: on_row(done, len(rows)),
        on_question=on_question,
    )
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


def value_batches(
    model: RewardModel,
    rows: Collection[StepValues],
    tokenizer: Tokenizer,
    prompt: Callable[[str], str],
    config: TrainConfig,
    seed: int = 0,
    tokens: Path | None = None,
    on_done: Callable[[int], None] = lambda _: None,
    on_question: Callable[[int, int], None] = lambda *_: None,
) -> PqmBatches:
    """The batches of a training of `model` on values; see `train_pqm`. on_done: told of rows encoded."""
    store = encoded(
        rows,
        ValueEncoder(tokenizer, prompt),
        way_of,
        folder=tokens,
        share=host_share(),
        on_done=on_done,
    )
    return PqmBatches(
        store.__getitem__,
        by_question(store.column("question")),
        config,
        seed,
        functools.partial(Rows.sizes, mesh_of(model), config.microbatch),
        long_from=rope.long_from(model.decoder.config.rope),
        on_question=on_question,
    )


def way_of(question: np.ndarray, **arrays: np.ndarray) -> Way:
    """A way through a tree, of the arrays that `ValueEncoder` makes."""
    return Way(**arrays)


class PqmBatches:
    """step -> Batch: trees of whole questions in a new order each epoch, about `config.batch` ways a step.

    ways: by number. questions: the ways of each, int [.]. rows, long_from: as for `PpmBatches`. total_steps:
    of all epochs. dropped: steps that would be learnt, but stand behind more tokens than a row has, left out
    with a warning; the steps before them, `learnt` in all, are learnt. Raises UserError if nothing is left.
    """

    def __init__(
        self,
        ways: Callable[[int], Way],
        questions: Ragged | Sequence[np.ndarray],
        config: TrainConfig,
        seed: int,
        rows: Callable[[int], Sequence[Rows]],
        *,
        long_from: int | None = None,
        on_question: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        self.config, self.ways, self.long_from = config, ways, long_from
        self._steps = np.zeros((1, 2), np.int64)  # that would be learnt, and those that are, of this process
        self.groups = Groups.of(len(questions), lambda n: self._divided(questions[n]), 1, on_question)
        total, self.learnt = all_rows(self._steps).sum(axis=0).tolist()
        self.dropped = total - self.learnt
        warn_dropped(self.dropped, total, "steps that have values", config)
        self.steps = Steps(self.groups, config, seed)
        marks = {"values": np.float32, "weights": np.float32}
        self.rows = TreeRows(self.groups, self._tree, rows, config.seq_len, self.steps, marks)
        self.total_steps, self.steps_per_epoch = self.steps.total, self.steps.per_epoch

    def __call__(self, step: int) -> Batch:
        chosen = self.steps(step).tolist()
        microbatches, slots = self.rows(chosen)
        ways = sum(len(self.groups.examples[group]) for group in chosen)
        return Batch(microbatches, ways, self.rows.tokens(slots))

    def digest(self) -> int:
        """A number for the data, whatever the rows that they come in."""
        first = [way for group in self.steps(0).tolist() for way in self._ways(group)]
        arrays = (array for way in first for array in (way.tokens, way.values, way.weights))
        return digest(self.groups.outlines.rows, (self.groups.examples.rows, *arrays))

    def _divided(self, numbers: np.ndarray) -> Iterator[Group]:
        """The groups of a question's ways. Long ones share nothing with others, nor do those whose values of
        a step that they share differ."""
        alike: dict[bool, list[tuple[int, Way]]] = {}
        for number in numbers.tolist():
            whole = self.ways(number)
            way = whole.within(self.config.seq_len)
            self._steps += [(whole.weights > 0).sum(), 0 if way is None else (way.weights > 0).sum()]
            if way is not None:
                long = self.long_from is not None and len(way.tokens) > self.long_from
                alike.setdefault(long, []).append((number, way))
        for some in alike.values():
            sequences = [[way.tokens] for _, way in some]
            labels = [
                {key(way.tokens[: end + 1]): value for end, value, _ in way.learnt()} for _, way in some
            ]
            for group in divided(sequences, self.config.seq_len, self.config.batch, labels):
                tree = token_tree([some[i][1].tokens for i in group])
                yield tree.outline(), [(some[i][0],) for i in group]

    def _ways(self, group: int) -> list[Way]:
        ways = (
            self.ways(int(number)).within(self.config.seq_len) for number in self.groups.examples[group][:, 0]
        )
        return [way for way in ways if way is not None]

    def _tree(self, group: int) -> TokenTree:
        ways = self._ways(group)
        tree = token_tree([way.tokens for way in ways])
        values, weights = np.zeros((2, len(tree.tokens)), np.float32)
        for way, last in zip(ways, tree.lasts.tolist(), strict=True):
            path = tree.path(last)
            for end, value, weight in way.learnt():
                values[path[end]] = value
                weights[path[end]] += weight
        return dataclasses.replace(tree, marks={"values": values, "weights": weights})


def pqm_loss(model: RewardModel, batch: dict[str, jax.Array], config: TrainConfig) -> Terms:
    """Squared error of a microbatch."""
    return LOSSES["squared_error"](served_values(model, batch, config), batch["values"], batch["weights"])


def served_values(model: RewardModel, batch: dict[str, jax.Array], config: TrainConfig) -> jax.Array:
    """The value behind each token of a microbatch, float32 [rows, T] in [-1, 1]."""
    rows = batch["tokens"], batch["positions"], batch["segment_ids"]
    return jnp.tanh(model.raw(*rows, ends=batch["ends"], remat=config.remat))
