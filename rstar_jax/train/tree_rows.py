"""Examples of the same questions as trees in rows, and the steps of a training that they are learnt in.

    question -> groups of its examples -> a tree of each (`trees.token_tree`) -> parts of it (`tree_packing`),
    in rows of one of a step's microbatches

A group is what one tree holds, at most a microbatch of tokens: mostly all of a question. Epochs are orders of
groups, so that a step's examples are those of the next questions, whatever rows they fill. Each process
builds the groups of its share of the questions, tells the others the outlines of their trees, and makes the
parts that are in its own rows.
"""

from __future__ import annotations

import array
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rstar_jax.train.batch import Microbatch
from rstar_jax.train.config import TrainConfig
from rstar_jax.train.host_rows import Rows, all_rows, host
from rstar_jax.train.tree_packing import Outline, Part, chosen, smallest, spread
from rstar_jax.train.trees import TokenTree

LANES = 128  # rows are multiples of it, as kernels want them, where they are not short
LENGTHS = 8  # at least, that rows may have
STEPS_A_SHAPE = 500  # of a training, that pay for compiling another shape
TOLD_EVERY = 64  # questions
ROW_COUNTS = 8  # that a microbatch may have
TRIED_STEPS = 32  # of the first epoch, for which shapes are chosen
TRIED_OF_A_STEP = 4  # microbatches of each
KEPT_TOKENS = 1 << 25  # of trees that a process keeps, rather than make them again in the next epoch

# A group of a question: the outline of its tree, and a row of numbers for each of its examples, the first of
# which is that of the example.
Group = tuple[Outline, Sequence[Sequence[int]]]


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Rows [N, ...] of arrays of several rows. starts: [arrays + 1] int64."""

    rows: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, sizes: np.ndarray, order: np.ndarray) -> Ragged:
        """The arrays that `rows` are, one behind the other, in another order."""
        starts, old = (np.concatenate([[0], np.cumsum(s, dtype=np.int64)]) for s in (sizes[order], sizes))
        return cls(rows[np.repeat(old[order] - starts[:-1], sizes[order]) + np.arange(starts[-1])], starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> np.ndarray:
        return self.rows[self.starts[number] : self.starts[number + 1]]

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each array, int64."""
        return np.diff(self.starts)


@dataclasses.dataclass(frozen=True)
class Groups:
    """outlines: of each group's tree, [., 2] int32. examples: its examples, [., K] int32, see `Group`."""

    outlines: Ragged
    examples: Ragged

    @classmethod
    def of(
        cls,
        questions: int,
        group: Callable[[int], Iterable[Group]],
        width: int,
        on_question: Callable[[int, int], None] = lambda *_: None,
    ) -> Groups:
        """Those of all questions, in their order. group: of a question by number, called for this process's
        share of them. width: K. on_question: told now and then how many questions are done, of all."""
        heads, sizes, found = array.array("i"), array.array("i"), array.array("i")
        index, count = host()
        for question in range(index, questions, count):
            for outline, examples in group(question):
                heads.extend((question, len(outline.own), len(examples)))
                sizes.extend(np.stack([outline.shared, outline.own], axis=1).reshape(-1).tolist())
                for example in examples:
                    found.extend(example)
            if question // count % TOLD_EVERY == 0:
                on_question(question + 1, questions)
        head, outlines, told = (
            all_rows(np.asarray(rows, np.int32).reshape(-1, columns))
            for rows, columns in ((heads, 3), (sizes, 2), (found, width))
        )
        order = np.argsort(head[:, 0], kind="stable")
        return cls(Ragged.of(outlines, head[:, 1], order), Ragged.of(told, head[:, 2], order))

    def __len__(self) -> int:
        return len(self.examples)

    def outline(self, group: int) -> Outline:
        """The outline of a group's tree."""
        shared, own = self.outlines[group].T
        return Outline(shared, own)


def by_question(questions: np.ndarray) -> Ragged:
    """Numbers of the examples of each distinct question, int64, in order of its first one.

    questions: of each example, [N] of any kind that has an order.
    """
    _, first, numbers = np.unique(questions, return_index=True, return_inverse=True)
    order, sizes = np.argsort(numbers, kind="stable"), np.bincount(numbers)
    return Ragged.of(order, sizes, np.argsort(first))


@functools.lru_cache(maxsize=4)
def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `count` groups in an epoch, int64 [count]."""
    return np.random.default_rng((seed, epoch)).permutation(count)


class Steps:
    """step -> groups that it learns: all of them in a new order each epoch, of about `config.batch` examples.

    A group is whole, so that steps differ in size by less than two groups; none has more than 2 batches of
    examples, where no group has more than one.
    """

    def __init__(self, groups: Groups, config: TrainConfig, seed: int) -> None:
        self._sizes, self._seed = groups.examples.sizes, seed
        self.per_epoch = min(math.ceil(int(self._sizes.sum()) / config.batch), len(groups))
        self.total = config.epochs * self.per_epoch
        self._epoch, self._bounds = -1, np.zeros(0, np.int64)

    def __call__(self, step: int) -> np.ndarray:
        epoch, part = divmod(step, self.per_epoch)
        order = shuffled(len(self._sizes), self._seed, epoch)
        if epoch != self._epoch:
            self._epoch, self._bounds = epoch, self._bounds_of(self._sizes[order])
        return order[self._bounds[part] : self._bounds[part + 1]]

    def _bounds_of(self, sizes: np.ndarray) -> np.ndarray:
        """The groups with which steps begin, and the end: a group is in the step that its middle falls into,
        but none is empty."""
        steps, middles = np.arange(self.per_epoch + 1), np.cumsum(sizes) - sizes / 2
        bounds = np.searchsorted(middles, steps * sizes.sum() / self.per_epoch)
        bounds = np.maximum.accumulate(bounds - steps) + steps
        return np.minimum(bounds, len(sizes) - self.per_epoch + steps)


def shapes(steps: int) -> int:
    """Shapes of microbatches that a training of so many steps pays for, as each is compiled; at most 8."""
    return min(8, 2 + steps // STEPS_A_SHAPE)


@dataclasses.dataclass(frozen=True)
class Slot:
    """Where the part of a group's tree is that has its distinct sequences first to end - 1: row of a
    microbatch, first token in the row."""

    microbatch: int
    group: int
    first: int
    end: int
    row: int
    start: int


class TreeRows:
    """Microbatches of groups' trees, each of the smallest shape that holds what is in it.

    rows: of a number of sizes -> sizes of a microbatch, largest first (`host_rows.Rows.sizes`). trees: of a
    group, called for those of own rows. shapes: rows and tokens of a row, smallest first; which ones, the
    first epoch's steps decide (`tree_packing.chosen`), so that they are the same in all processes.
    """

    def __init__(
        self,
        groups: Groups,
        tree: Callable[[int], TokenTree],
        rows: Callable[[int], Sequence[Rows]],
        seq_len: int,
        steps: Steps,
        marks: Mapping[str, Any] | None = None,
    ) -> None:
        """marks: names and dtypes of those that all trees have."""
        self.seq_len, self.marks = seq_len, marks or {}
        self._groups, self._make = groups, tree
        self._sizes = {size.count: size for size in rows(ROW_COUNTS)}
        self._most = (max(self._sizes), seq_len)
        unit = min(LANES, max(1, seq_len // LENGTHS)) * next(iter(self._sizes.values())).context
        lengths = {*range(unit, seq_len, unit), seq_len}
        tried = [(count, length) for count in self._sizes for length in sorted(lengths)]
        self.shapes = chosen(self._first_microbatches(steps), tried, shapes(steps.total))
        self._kept: dict[int, TokenTree] = {}
        self._room = KEPT_TOKENS

    def tree(self, group: int) -> TokenTree:
        """The tree of a group, made or kept, where making it takes longer than for a single sequence."""
        if group in self._kept:
            return self._kept[group]
        made = self._make(group)
        if len(made.lasts) > 1 and len(made.tokens) <= self._room:
            self._kept[group], self._room = made, self._room - len(made.tokens)
        return made

    def __call__(self, chosen: Sequence[int]) -> tuple[list[Microbatch], list[Slot]]:
        """Arrays of each microbatch, and where the trees of the chosen groups are.

        tokens, positions, segment_ids, ends: int32 [rows, T], positions are depths; and the marks. Rows of
        other processes stay zeros.
        """
        kinds = {**dict.fromkeys(("tokens", "positions", "segment_ids", "ends"), np.int32), **self.marks}
        microbatches: list[Microbatch] = []
        slots: list[Slot] = []
        for (count, length), placed in self.places(chosen):
            made = {name: np.zeros((count, length), kind) for name, kind in kinds.items()}
            own = self._sizes[count].makes
            made["ends"][own] = np.arange(1, length + 1)  # padding sees itself
            for group, part in placed:
                slots.append(Slot(len(microbatches), group, part.first, part.end, part.row, part.start))
                if own[part.row]:
                    write(made, part, self.tree(group).part(part.first, part.end))
            microbatches.append(made)
        return microbatches, slots

    def places(self, chosen: Sequence[int]) -> Iterator[tuple[tuple[int, int], list[tuple[int, Part]]]]:
        """Rows and tokens of a row of each microbatch of the chosen groups, and which part of which group is
        where in it."""
        outlines = [self._groups.outline(group) for group in chosen]
        for some in spread(outlines, *self._most):
            number, parts = smallest([outlines[i] for i in some], self.shapes)
            yield self.shapes[number], [(chosen[some[part.number]], part) for part in parts]

    def tokens(self, slots: Iterable[Slot]) -> int:
        """Tokens of all these parts."""
        return sum(self._groups.outline(slot.group).size(slot.first, slot.end) for slot in slots)

    def _first_microbatches(self, steps: Steps) -> Iterator[list[Outline]]:
        """Those of steps here and there in the first epoch."""
        some = np.unique(np.linspace(0, steps.per_epoch - 1, TRIED_STEPS).astype(int))
        for step in some.tolist():
            outlines = [self._groups.outline(group) for group in steps(step).tolist()]
            for numbers in spread(outlines, *self._most)[:TRIED_OF_A_STEP]:
                yield [outlines[number] for number in numbers]


def write(arrays: Microbatch, slot: Part, tree: TokenTree) -> None:
    """Put a tree into its place of a microbatch, as a segment of its own."""
    row, span = slot.row, slice(slot.start, slot.start + len(tree.tokens))
    arrays["tokens"][row, span] = tree.tokens
    arrays["positions"][row, span] = tree.depths
    arrays["segment_ids"][row, span] = arrays["segment_ids"][row].max() + 1
    arrays["ends"][row, span] = slot.start + tree.ends
    for name, values in tree.marks.items():
        arrays[name][row, span] = values
