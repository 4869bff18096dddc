"""Examples of the same questions as trees in rows, and the steps of a training that they are learnt in.

    question -> groups of its examples -> a tree of each (`trees.token_tree`) -> rows of a step's microbatches

A group is what one tree holds, at most a row of tokens: mostly all of a question. Epochs are orders of
groups. Each process builds the groups of its share of the questions, tells the others their sizes, and makes
the trees of its own rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from rstar_jax.train.config import TrainConfig
from rstar_jax.train.host_rows import Rows, all_rows, host
from rstar_jax.train.packing import Arrays, Place, place, shuffled
from rstar_jax.train.trees import TokenTree

KEPT_TOKENS = 1 << 25  # of trees that a process keeps, rather than make them again in the next epoch

# A group of a question: tokens of its tree (of its two trees, where its sequences cannot be in one; else 0),
# and a row of numbers for each of its examples, the first of which is that of the example.
Group = tuple[tuple[int, int], Sequence[Sequence[int]]]


@dataclasses.dataclass(frozen=True)
class Groups:
    """lengths: [G, 2] int32, tokens of each group's trees. starts: [G + 1] int64, of a group in examples.
    examples: [N, K] int32, see `Group`."""

    lengths: np.ndarray
    starts: np.ndarray
    examples: np.ndarray

    @classmethod
    def of(cls, questions: int, group: Callable[[int], Iterable[Group]], width: int) -> Groups:
        """Those of all questions, in their order. group: of a question by number, called for this process's
        share of them. width: K."""
        rows: list[tuple[int, int, int, int]] = []
        found: list[np.ndarray] = [np.zeros((0, width), np.int32)]
        index, count = host()
        for question in range(index, questions, count):
            for lengths, examples in group(question):
                rows.append((question, *lengths, len(examples)))
                found.append(np.asarray(examples, np.int32).reshape(-1, width))
        table = all_rows(np.asarray(rows, np.int32).reshape(-1, 4))
        examples = all_rows(np.concatenate(found))
        order = np.argsort(table[:, 0], kind="stable")
        sizes = table[:, 3].astype(np.int64)
        starts, old = (np.concatenate([[0], np.cumsum(s)]) for s in (sizes[order], sizes))
        moved = np.repeat(old[order] - starts[:-1], sizes[order]) + np.arange(starts[-1])
        return cls(table[order, 1:3], starts, examples[moved])

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def sizes(self) -> np.ndarray:
        """Examples of each group, int64 [G]."""
        return np.diff(self.starts)

    def __getitem__(self, group: int) -> np.ndarray:
        """The rows of examples of a group, [., K]."""
        return self.examples[self.starts[group] : self.starts[group + 1]]


def by_question(questions: Iterable[str]) -> list[np.ndarray]:
    """Numbers of the examples of each distinct question, int64 [.], in order of its first one."""
    known: dict[str, int] = {}
    numbers = np.fromiter((known.setdefault(question, len(known)) for question in questions), np.int32)
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.searchsorted(numbers[order], np.arange(1, len(known))))


class Steps:
    """step -> groups that it learns: all of them in a new order each epoch, of about `config.batch` examples.

    A group is whole, so that steps differ in size by less than two groups; none has more than 2 batches of
    examples, where no group has more than one.
    """

    def __init__(self, groups: Groups, config: TrainConfig, seed: int) -> None:
        self._sizes, self._seed = groups.sizes, seed
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
        """Where each step begins, and the end: a group is in the step that its middle falls into, but none is
        empty."""
        steps, middles = np.arange(self.per_epoch + 1), np.cumsum(sizes) - sizes / 2
        bounds = np.searchsorted(middles, steps * sizes.sum() / self.per_epoch)
        bounds = np.maximum.accumulate(bounds - steps) + steps
        return np.minimum(bounds, len(sizes) - self.per_epoch + steps)


class TreeRows:
    """Microbatches of groups' trees. rows: the sizes of a microbatch, largest first (`host_rows.Rows.sizes`):
    each has the least of them that holds its trees. trees: of a group, called for those of own rows."""

    def __init__(
        self,
        groups: Groups,
        trees: Callable[[int], Sequence[TokenTree]],
        rows: Sequence[Rows],
        seq_len: int,
        marks: Sequence[str] = (),
    ) -> None:
        """marks: names of those that all trees have."""
        self.rows, self.seq_len, self.marks = rows, seq_len, marks
        self._groups, self._make = groups, trees
        self._kept: dict[int, Sequence[TokenTree]] = {}
        self._room = KEPT_TOKENS

    def trees(self, group: int) -> Sequence[TokenTree]:
        """The trees of a group, made or kept."""
        if group in self._kept:
            return self._kept[group]
        made, tokens = self._make(group), int(self._groups.lengths[group].sum())
        if tokens <= self._room:
            self._kept[group], self._room = made, self._room - tokens
        return made

    def __call__(self, chosen: Sequence[int]) -> tuple[list[Arrays], list[list[Place]]]:
        """Arrays of each microbatch, and the places of the chosen groups' trees.

        tokens, positions, segment_ids, ends: int32 [rows, seq_len], positions are depths; marks: float32.
        Rows of other processes stay zeros.
        """
        sizes = [[int(n) for n in self._groups.lengths[group] if n] for group in chosen]
        places = place(sizes, self.rows[0].count, self.seq_len)
        used = [0] * (1 + max(slot.microbatch for slots in places for slot in slots))
        for slot in (slot for slots in places for slot in slots):
            used[slot.microbatch] = max(used[slot.microbatch], slot.row + 1)
        fitting = [min((r for r in self.rows if r.count >= n), key=lambda r: r.count) for n in used]
        kinds = dict.fromkeys(("tokens", "positions", "segment_ids", "ends"), np.int32)
        kinds |= dict.fromkeys(self.marks, np.float32)
        arrays = [{n: np.zeros((r.count, self.seq_len), kind) for n, kind in kinds.items()} for r in fitting]
        for rows, made in zip(fitting, arrays, strict=True):
            made["ends"][rows.makes] = np.arange(1, self.seq_len + 1)  # padding sees itself
        for group, slots in zip(chosen, places, strict=True):
            for number, slot in enumerate(slots):
                if fitting[slot.microbatch].makes[slot.row]:
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
