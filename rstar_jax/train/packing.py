"""Examples of many lengths into rows of one length, with as little padding as first-fit decreasing leaves.

A row holds several examples, told apart by `segment_ids` (1, 2, … and 0 for padding); `positions` start again
with each, so that the model computes for a packed example what it would compute for it alone.
Groups of sequences that must be seen together (the four continuations of a node) stay in one microbatch.
Where each goes follows from lengths alone, so that of several processes each makes its own rows and no other.
Deterministic; numpy only.
"""

from __future__ import annotations

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
class Place:
    """Place of a sequence: microbatch, row in it, first token in the row."""

    microbatch: int
    row: int
    start: int


def place(groups: Sequence[Sequence[int]], rows: int, seq_len: int) -> list[list[Place]]:
    """Places for the sequences of each group (given by their lengths), one microbatch of `rows` rows per
    group.

    First-fit decreasing, by the total length of a group. Raises ValueError for a group that no empty
    microbatch can hold: whoever calls splits or drops those first (`fits`).
    """
    order = sorted(range(len(groups)), key=lambda i: (-sum(groups[i]), i))
    used: list[list[int]] = []
    places: list[list[Place]] = [[] for _ in groups]
    for i in order:
        for microbatch in range(len(used) + 1):
            if microbatch == len(used):
                used.append([0] * rows)
            found = _place_group(groups[i], used[microbatch], seq_len)
            if found is not None:
                places[i] = [Place(microbatch, row, start) for row, start in found]
                break
            if not any(used[microbatch]):
                raise ValueError(
                    f"group of lengths {list(groups[i])} exceeds {rows} rows of {seq_len} tokens"
                )
    return places


def fits(group: Sequence[int], rows: int, seq_len: int) -> bool:
    """Return whether an empty microbatch holds the group."""
    return _place_group(group, [0] * rows, seq_len) is not None


def _place_group(lengths: Sequence[int], used: list[int], seq_len: int) -> list[tuple[int, int]] | None:
    """(row, start) of each sequence; fills `used` if all fit, leaves it as it was and returns None if not."""
    filled = list(used)
    found: list[tuple[int, int]] = [(0, 0)] * len(lengths)
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        row = next((r for r, n in enumerate(filled) if n + lengths[i] <= seq_len), None)
        if row is None:
            return None
        found[i] = (row, filled[row])
        filled[row] += lengths[i]
    used[:] = filled
    return found


def rows_of(
    example: Callable[[int], Example],
    places: Sequence[Place],
    rows: int,
    seq_len: int,
    own: Container[int] | None = None,
) -> list[Arrays]:
    """The microbatches: tokens, targets, positions, segment_ids int32 [rows, seq_len], weights float32, marks
    int8.

    targets[t] is the token after tokens[t] in its own example, weights[t] is 1 where that one is trained on,
    and marks[t] is its mark; the last token of an example has no target. example: that of each place, by the
    place's number. own: the rows of each microbatch that are made, None: all; the others stay zeros, and
    their examples are not asked for.
    """
    count = 1 + max((p.microbatch for p in places), default=-1)
    kinds = dict.fromkeys(("tokens", "targets", "positions", "segment_ids"), np.int32)
    kinds |= {"weights": np.float32, "marks": np.int8}
    batches = [{name: np.zeros((rows, seq_len), kind) for name, kind in kinds.items()} for _ in range(count)]
    segments = np.zeros((count, rows), np.int32)
    for number, slot in enumerate(places):
        if own is not None and slot.row not in own:
            continue
        found, arrays = example(number), batches[slot.microbatch]
        n = len(found.tokens)
        span = slice(slot.start, slot.start + n)
        before = slice(slot.start, slot.start + n - 1)
        segments[slot.microbatch, slot.row] += 1
        arrays["tokens"][slot.row, span] = found.tokens
        arrays["positions"][slot.row, span] = np.arange(n)
        arrays["segment_ids"][slot.row, span] = segments[slot.microbatch, slot.row]
        arrays["targets"][slot.row, before] = found.tokens[1:]
        arrays["weights"][slot.row, before] = found.trained[1:]
        if found.marks is not None:
            arrays["marks"][slot.row, before] = found.marks[1:]
    return batches


def pack(examples: Sequence[Example], rows: int, seq_len: int) -> list[Arrays]:
    """Microbatches of independent examples; see `rows_of` for the arrays."""
    places = place([[len(e.tokens)] for e in examples], rows, seq_len)
    return rows_of(examples.__getitem__, [p[0] for p in places], rows, seq_len)


@functools.lru_cache(maxsize=4)
def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `count` examples in an epoch, int64 [count]."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def share(order: np.ndarray, part: int, parts: int) -> np.ndarray:
    """Part `part` of `parts` whose sizes differ by one at most, so that no step is left with a few
    examples.
    """
    return order[len(order) * part // parts : len(order) * (part + 1) // parts]
