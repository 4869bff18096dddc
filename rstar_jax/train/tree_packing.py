"""Trees into rows, cut where little repeats.

Sequences of a tree, in order, are known by how many tokens they share with the one before and how many they
add; any that follow each other are a tree, too, with all tokens of the first of them:

    sequences   shared  own      cut before "a f"      cut before "a b e"
    a b c d       0      4       a b c d e | a f       a b c d | a b e f
    a b e         2      1       1 token repeats       2 tokens repeat
    a f           1      1

A tree stays whole where a row has room for it. What room is left gets a part of another tree: that which,
of all, leaves and repeats fewest tokens. Where things go follows from these numbers alone, so that all
processes find the same. numpy only.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np

SPARE = 1.1  # times the most that microbatches need which are seen: what others may need
TRIED = 1.4  # times a microbatch's tokens: no larger shape is tried, where one holds it, when they are chosen


@dataclasses.dataclass(frozen=True)
class Outline:
    """Sizes of a tree's sequences in order: shared, own: [S] int, tokens. The first of a tree that has no
    token in common with those before it shares none."""

    shared: np.ndarray
    own: np.ndarray

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence, int64 [S]."""
        return np.asarray(self.shared, np.int64) + self.own

    @functools.cached_property
    def before(self) -> np.ndarray:
        """Tokens of the tree before each sequence's own, int64 [S + 1]; the last is the tree's size."""
        return np.concatenate([[0], np.cumsum(self.own, dtype=np.int64)])

    @property
    def total(self) -> int:
        return int(self.before[-1])

    def size(self, first: int, end: int) -> int:
        """Tokens of the tree of sequences first to end - 1."""
        return int(self.lengths[first] + self.before[end] - self.before[first + 1])

    def lasts(self, first: int, end: int) -> np.ndarray:
        """Places of the last tokens of sequences first to end - 1 in their tree, int64."""
        return self.lengths[first] + self.before[first + 1 : end + 1] - self.before[first + 1] - 1

    def wholes(self) -> list[tuple[int, int]]:
        """First and end of those that share nothing with others."""
        starts = np.flatnonzero(self.shared == 0).tolist()
        return list(zip(starts, [*starts[1:], len(self.own)], strict=True))

    def cut(self, pieces: Sequence[tuple[int, int]], room: int) -> tuple[int, int, int, int] | None:
        """Tokens that are left of the room or repeat, the number of a piece, and i and j within its first and
        end, if sequences i to j - 1 are put into the room, so that they are fewest; None where no sequence
        fits."""
        firsts, ends = np.array(pieces, np.int64).T
        counts = ends - firsts
        which = np.repeat(np.arange(len(pieces)), counts)
        i = np.arange(counts.sum()) + np.repeat(firsts - np.cumsum(counts) + counts, counts)
        fitting = self.lengths[i] <= room
        i, which = i[fitting], which[fitting]
        if not len(i):
            return None
        most = self.before[i + 1] + room - self.lengths[i]
        j = np.minimum(np.searchsorted(self.before, most, "right") - 1, ends[which])
        cost = room - (self.lengths[i] + self.before[j] - self.before[i + 1])
        cost += np.where(i > firsts[which], self.shared[i], 0)
        cost += np.where(j < ends[which], self.shared[np.minimum(j, len(self.own) - 1)], 0)
        best = int(np.argmin(cost))
        return int(cost[best]), int(which[best]), int(i[best]), int(j[best])


@dataclasses.dataclass(frozen=True)
class Part:
    """Sequences first to end - 1 of the outline `number`, in a row, from the token `start` on."""

    number: int
    first: int
    end: int
    row: int
    start: int


def fill(outlines: Sequence[Outline], rows: int, tokens: int) -> list[Part] | None:
    """Parts of all outlines in rows of so many tokens; None where they do not all go in."""
    # One behind the other they are an outline, too.
    joined = Outline(*(np.concatenate([getattr(o, name) for o in outlines]) for name in ("shared", "own")))
    starts = np.cumsum([0, *(len(one.own) for one in outlines)])
    pieces = joined.wholes()
    sizes = [joined.size(*piece) for piece in pieces]
    parts: list[Part] = []

    def put(first: int, end: int, row: int, start: int) -> None:
        number = int(np.searchsorted(starts, first, "right")) - 1
        at = int(starts[number])
        parts.append(Part(number, first - at, end - at, row, start))

    if joined.lengths.max() > tokens:
        return None
    for row in range(rows):
        room = tokens
        while room and pieces:
            if fitting := [(size, which) for which, size in enumerate(sizes) if size <= room]:
                _, which = max(fitting)
                put(*pieces.pop(which), row, tokens - room)
                room -= sizes.pop(which)
                continue
            best = joined.cut(pieces, room)
            if best is not None and best[0] < room:
                _, which, i, j = best
                (first, end), _ = pieces.pop(which), sizes.pop(which)
                some = [piece for piece in ((first, i), (j, end)) if piece[0] < piece[1]]
                pieces += some
                sizes += [joined.size(*piece) for piece in some]
                put(i, j, row, tokens - room)
            break
        if not pieces:
            return parts
        if sum(sizes) > (rows - row - 1) * tokens:
            return None
    return None


def spread(outlines: Sequence[Outline], rows: int, tokens: int) -> list[list[int]]:
    """Numbers of the outlines of each microbatch of at most so many rows: about as many tokens in each.

    Raises ValueError for an outline that does not fit an empty one.
    """
    order = sorted(range(len(outlines)), key=lambda number: -outlines[number].total)
    for count in range(-(-sum(one.total for one in outlines) // (rows * tokens)), len(outlines) + 1):
        microbatches: list[list[int]] = [[] for _ in range(count)]
        totals = [0] * count
        for number in order:
            least = totals.index(min(totals))
            microbatches[least].append(number)
            totals[least] += outlines[number].total
        if all(fill([outlines[number] for number in some], rows, tokens) for some in microbatches):
            return microbatches
    raise ValueError(f"a tree exceeds {rows} rows of {tokens} tokens")


def smallest(outlines: Sequence[Outline], shapes: Sequence[tuple[int, int]]) -> tuple[int, list[Part]]:
    """The number of the first shape (rows, tokens) that holds the outlines, and their parts in it; shapes:
    smallest first, of which the last holds them."""
    total = sum(one.total for one in outlines)
    for number, (rows, tokens) in enumerate(shapes):
        if total <= rows * tokens and (parts := fill(outlines, rows, tokens)) is not None:
            return number, parts
    raise ValueError(f"trees of {total} tokens exceed all of {shapes}")


def chosen(
    microbatches: Iterable[Sequence[Outline]], shapes: Sequence[tuple[int, int]], most: int
) -> list[tuple[int, int]]:
    """At most `most` of the shapes (rows, tokens), smallest first: the largest, and those with which these
    microbatches would have fewest tokens in all, each taken as if it were the last."""
    size = {shape: shape[0] * shape[1] for shape in shapes}
    largest = max(shapes, key=lambda shape: size[shape])
    holding: list[dict[tuple[int, int], int]] = []
    for some in microbatches:
        total, held = sum(one.total for one in some), dict[tuple[int, int], int]()
        for shape in sorted((s for s in shapes if size[s] >= total), key=size.__getitem__):
            if held and size[shape] > TRIED * total:
                break
            if fill(some, *shape) is not None:
                held[shape] = size[shape]
        holding.append(held)
    if holding:  # other microbatches may need more than all of these
        needed = max(min(found.values(), default=size[largest]) for found in holding)
        holding.append({shape: n for shape, n in size.items() if n >= SPARE * needed})
    now, taken = [size[largest]] * len(holding), [largest]
    for _ in range(most - 1):
        costs = {
            shape: sum(min(n, found.get(shape, n)) for n, found in zip(now, holding, strict=True))
            for shape in sorted(set().union(*holding) - {*taken})
        }
        best = min(costs, key=costs.__getitem__, default=largest)
        if costs.get(best, sum(now)) >= sum(now):
            break
        taken.append(best)
        now = [min(n, found.get(best, n)) for n, found in zip(now, holding, strict=True)]
    return sorted(taken, key=lambda shape: size[shape])
