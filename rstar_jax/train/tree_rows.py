"""Examples of the same questions as trees in rows, and the steps of a training that they are learnt in.

    question -> groups of its examples -> a tree of each (`trees.token_tree`) -> rows of a step's microbatches

A group is what one tree holds, at most a row of tokens: mostly all of a question. Epochs are orders of
groups. Each process builds the groups of its share of the questions, tells the others their sizes, and makes
the trees of its own rows.
"""

from __future__ import annotations

import array
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from rstar_jax.train.config import TrainConfig
from rstar_jax.train.host_rows import Rows, all_rows, host
from rstar_jax.train.packing import Arrays, Place, place, shuffled
from rstar_jax.train.trees import TokenTree

LANES = 128  # rows are multiples of it, as kernels want them
STEPS_A_SHAPE = 500  # of a training, that pay for compiling another shape
TOLD_EVERY = 64  # questions
KEPT_TOKENS = 1 << 25  # of trees that a process keeps, rather than make them again in the next epoch

# A group of a question: tokens of each of its trees, and a row of numbers for each of its examples, the first
# of which is that of the example.
Group = tuple[Sequence[int], Sequence[Sequence[int]]]


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
    """trees: the tokens [., 1] int32 of each group's trees. examples: its examples, [., K] int32, see
    `Group`."""

    trees: Ragged
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
        heads, lengths, found = array.array("i"), array.array("i"), array.array("i")
        index, count = host()
        for question in range(index, questions, count):
            for trees, examples in group(question):
                heads.extend((question, len(trees), len(examples)))
                lengths.extend(trees)
                for example in examples:
                    found.extend(example)
            if question // count % TOLD_EVERY == 0:
                on_question(question + 1, questions)
        head, tokens, told = (
            all_rows(np.asarray(rows, np.int32).reshape(-1, columns))
            for rows, columns in ((heads, 3), (lengths, 1), (found, width))
        )
        order = np.argsort(head[:, 0], kind="stable")
        return cls(Ragged.of(tokens, head[:, 1], order), Ragged.of(told, head[:, 2], order))

    def __len__(self) -> int:
        return len(self.examples)

    def tokens(self, groups: Sequence[int]) -> int:
        """Tokens of all trees of these groups."""
        return sum(int(self.trees[group].sum()) for group in groups)


def by_question(questions: np.ndarray) -> Ragged:
    """Numbers of the examples of each distinct question, int64, in order of its first one.

    questions: of each example, [N] of any kind that has an order.
    """
    _, first, numbers = np.unique(questions, return_index=True, return_inverse=True)
    order, sizes = np.argsort(numbers, kind="stable"), np.bincount(numbers)
    return Ragged.of(order, sizes, np.argsort(first))


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


class TreeRows:
    """Microbatches of groups' trees, each of the smallest shape that holds its trees.

    rows: of a number of shapes -> sizes of a microbatch, largest first (`host_rows.Rows.sizes`). One that
    cannot be halved comes with rows of half and of a quarter of the tokens. trees: of a group, called for
    those of own rows.
    """

    def __init__(
        self,
        groups: Groups,
        trees: Callable[[int], Sequence[TokenTree]],
        rows: Callable[[int], Sequence[Rows]],
        seq_len: int,
        steps: int,
        marks: Sequence[str] = (),
    ) -> None:
        """steps: of the training. marks: names of those that all trees have."""
        self.seq_len, self.marks, most = seq_len, marks, shapes(steps)
        sizes = rows(most)
        self.shapes = [(size, seq_len) for size in sizes]
        if len(sizes) == 1:
            halves = [seq_len // n for n in (2, 4) if seq_len % (LANES * n) == 0]
            self.shapes += [(sizes[0], length) for length in halves][: most - 1]
        self._groups, self._make = groups, trees
        self._kept: dict[int, Sequence[TokenTree]] = {}
        self._room = KEPT_TOKENS

    def trees(self, group: int) -> Sequence[TokenTree]:
        """The trees of a group, made or kept."""
        if group in self._kept:
            return self._kept[group]
        made, tokens = self._make(group), self._groups.tokens([group])
        if tokens <= self._room:
            self._kept[group], self._room = made, self._room - tokens
        return made

    def __call__(self, chosen: Sequence[int]) -> tuple[list[Arrays], list[list[Place]]]:
        """Arrays of each microbatch, and the places of the chosen groups' trees.

        tokens, positions, segment_ids, ends: int32 [rows, T], positions are depths; marks: float32. Rows of
        other processes stay zeros.
        """
        sizes = [self._groups.trees[group][:, 0].tolist() for group in chosen]
        places = place(sizes, self.shapes[0][0].count, self.seq_len)
        used = np.zeros(
            (1 + max(slots[0].microbatch for slots in places), 2), np.int64
        )  # rows, tokens of one
        for slot, tokens in (
            (s, n) for row in zip(places, sizes, strict=True) for s, n in zip(*row, strict=True)
        ):
            used[slot.microbatch] = np.maximum(used[slot.microbatch], (slot.row + 1, slot.start + tokens))
        fitting = [
            min(
                (s for s in self.shapes if s[0].count >= rows and s[1] >= length),
                key=lambda s: s[0].count * s[1],
            )
            for rows, length in used.tolist()
        ]
        kinds = dict.fromkeys(("tokens", "positions", "segment_ids", "ends"), np.int32)
        kinds |= dict.fromkeys(self.marks, np.float32)
        arrays = [{n: np.zeros((r.count, T), kind) for n, kind in kinds.items()} for r, T in fitting]
        for (rows, T), made in zip(fitting, arrays, strict=True):
            made["ends"][rows.makes] = np.arange(1, T + 1)  # padding sees itself
        for group, slots in zip(chosen, places, strict=True):
            for number, slot in enumerate(slots):
                if fitting[slot.microbatch][0].makes[slot.row]:
                    write(arrays[slot.microbatch], slot, self.trees(group)[number])
        return arrays, places


def write(arrays: Arrays, slot: Place, tree: TokenTree) -> None:
    """Put a tree into its place of a microbatch, as a segment of its own."""
    row, span = slot.row, slice(slot.start, slot.start + len(tree.tokens))
    arrays["tokens"][row, span] = tree.tokens
    arrays["positions"][row, span] = tree.depths
    arrays["segment_ids"][row, span] = arrays["segment_ids"][row].max() + 1
    arrays["ends"][row, span] = slot.start + tree.ends
    for name, values in tree.marks.items():
        arrays[name][row, span] = values
