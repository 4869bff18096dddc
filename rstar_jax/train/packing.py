"""Examples of many lengths into rows of few lengths, with little padding.

A row holds several examples, told apart by `segment_ids` (1, 2, … and 0 for padding); `positions` start again
with each, so that the model computes for a packed example what it would compute for it alone.
Groups of sequences that must be seen together (the four continuations of a node) stay in one microbatch.
Where each goes follows from lengths alone, so that of several processes each makes its own rows and no other.
Deterministic; numpy only.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
from collections.abc import Callable, Container, Sequence

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Example:
    """Tokens [T] int32 of one sequence, and which of them are trained on, [T] bool. marks: [T] int8 of what
    the loss reports apart (`losses.cross_entropy`); None: nothing."""

    tokens: np.ndarray
    trained: np.ndarray
    marks: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Shape:
    """Rows and tokens a row of a microbatch. own: the rows that this process makes; None: all."""

    rows: int
    tokens: int
    own: Container[int] | None = None

    @property
    def size(self) -> int:
        return self.rows * self.tokens


@dataclasses.dataclass(frozen=True)
class Place:
    """Place of a sequence: microbatch, row in it, first token in the row."""

    microbatch: int
    row: int
    start: int


def arrange(
    groups: Sequence[Sequence[int]], shapes: Sequence[Shape], call: int = 0
) -> tuple[list[list[Place]], list[Shape]]:
    """Places for the sequences of each group (given by their lengths), one microbatch a group, and the shape
    of each microbatch.

    shapes: those that there may be, the largest first, each half as large as the one before. Groups go in
    decreasing order of their total length, each into the first microbatch that holds it, each sequence where
    it leaves least. Microbatches have the first shape, as many as all tokens would fill; what is left over
    goes into those shapes, each once, that have room for it in the fewest tokens. call: tokens that each
    microbatch counts for besides its own.

    Raises ValueError for a group that no empty microbatch of the first shape can hold: whoever calls splits
    or drops those first (`fits`).
    """
    first, unit = shapes[0], shapes[-1].size
    left = sorted(range(len(groups)), key=lambda i: (-sum(groups[i]), i))
    places: list[list[Place]] = [[] for _ in groups]
    filled = [_Room(number, first) for number in range(sum(map(sum, groups)) // first.size)]
    new = filled
    while True:
        left = [i for i in left if not _put(groups[i], new, places, i)]
        if not left:
            return places, [room.shape for room in filled]
        least = -(-sum(sum(groups[i]) for i in left) // unit)
        whole = first.size // unit
        for units in sorted(range(least, whole + 1), key=lambda n: n * unit + call * n.bit_count()):
            some = [shape for shape in shapes if units & (shape.size // unit)]
            rooms = [_Room(len(filled) + number, shape) for number, shape in enumerate(some)]
            if all(_put(groups[i], rooms, places, i) for i in left):
                rooms = filled + rooms
                return places, [room.shape for room in rooms]
        if not fits(groups[left[0]], first.rows, first.tokens):
            raise ValueError(
                f"group of lengths {list(groups[left[0]])} exceeds {first.rows} rows of {first.tokens} tokens"
            )
        new = [_Room(len(filled), first)]
        filled += new


def fits(group: Sequence[int], rows: int, seq_len: int) -> bool:
    """Return whether an empty microbatch holds the group."""
    return _Room(0, Shape(rows, seq_len)).put(group) is not None


def _put(group: Sequence[int], rooms: Sequence[_Room], places: list[list[Place]], number: int) -> bool:
    for room in rooms:
        if (found := room.put(group)) is not None:
            places[number] = found
            return True
    return False


class _Room:
    """A microbatch that is filled. free: tokens left in all rows. `_rows`: those left in each, with the row,
    in increasing order."""

    def __init__(self, number: int, shape: Shape) -> None:
        self.number, self.shape, self.free = number, shape, shape.size
        self._rows = [(shape.tokens, row) for row in range(shape.rows)]

    def put(self, group: Sequence[int]) -> list[Place] | None:
        """Place the sequences of a group, each in the fullest row that holds it; None, and nothing changes,
        where not all fit."""
        if sum(group) > self.free or max(group) > self._rows[-1][0]:
            return None
        rows, found = list(self._rows), [Place(0, 0, 0)] * len(group)
        for i in sorted(range(len(group)), key=lambda i: (-group[i], i)):
            k = bisect.bisect_left(rows, (group[i], -1))
            if k == len(rows):
                return None
            left, row = rows.pop(k)
            found[i] = Place(self.number, row, self.shape.tokens - left)
            bisect.insort(rows, (left - group[i], row))
        self._rows, self.free = rows, self.free - sum(group)
        return found


def rows_of(
    example: Callable[[int], Example],
    places: Sequence[Place],
    shapes: Sequence[Shape],
) -> list[Arrays]:
    """The microbatches of these shapes: tokens, targets, positions, segment_ids int32 [rows, tokens], weights
    float32, marks int8.

    targets[t] is the token after tokens[t] in its own example, weights[t] is 1 where that one is trained on,
    and marks[t] is its mark; the last token of an example has no target. example: that of each place, by the
    place's number. Rows that are not this process's own stay zeros, and their examples are not asked for.
    """
    kinds = dict.fromkeys(("tokens", "targets", "positions", "segment_ids"), np.int32)
    kinds |= {"weights": np.float32, "marks": np.int8}
    batches = [
        {name: np.zeros((shape.rows, shape.tokens), kind) for name, kind in kinds.items()} for shape in shapes
    ]
    segments = [np.zeros(shape.rows, np.int32) for shape in shapes]
    for number, slot in enumerate(places):
        own = shapes[slot.microbatch].own
        if own is not None and slot.row not in own:
            continue
        found, arrays = example(number), batches[slot.microbatch]
        n = len(found.tokens)
        span = slice(slot.start, slot.start + n)
        before = slice(slot.start, slot.start + n - 1)
        segments[slot.microbatch][slot.row] += 1
        arrays["tokens"][slot.row, span] = found.tokens
        arrays["positions"][slot.row, span] = np.arange(n)
        arrays["segment_ids"][slot.row, span] = segments[slot.microbatch][slot.row]
        arrays["targets"][slot.row, before] = found.tokens[1:]
        arrays["weights"][slot.row, before] = found.trained[1:]
        if found.marks is not None:
            arrays["marks"][slot.row, before] = found.marks[1:]
    return batches


def pack(examples: Sequence[Example], rows: int, seq_len: int) -> list[Arrays]:
    """Microbatches, of one shape, of independent examples; see `rows_of` for the arrays."""
    places, shapes = arrange([[len(e.tokens)] for e in examples], [Shape(rows, seq_len)])
    return rows_of(examples.__getitem__, [p[0] for p in places], shapes)


@functools.lru_cache(maxsize=4)
def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `count` examples in an epoch, int64 [count]."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def share(order: np.ndarray, part: int, parts: int) -> np.ndarray:
    """Part `part` of `parts` whose sizes differ by one at most, so that no step is left with a few
    examples.
    """
    return order[len(order) * part // parts : len(order) * (part + 1) // parts]
