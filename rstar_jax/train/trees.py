"""Sequences that begin alike as one tree, in which each token that they share stands once.

    sequences            tree, depth first    tokens   a  b  c  d  e  f
    a b c d              a - b - c - d        places   0  1  2  3  4  5
    a b e                      \\ e           ends     6  5  4  4  5  6
    a f                    \\ f               depths   0  1  2  3  2  1

A token's `ends` is the place behind the last token below it: the token at place i has that at place j above
it, or is it, where j <= i < ends[j] (`kernels.attention_xla.Intervals`). Sequences are compared by their ids,
so that each is in the tree as it would be alone. numpy only.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from rstar_jax.train.tree_packing import Outline

OPEN = 8  # groups of a question that a further item may go into


@dataclasses.dataclass(frozen=True)
class TokenTree:
    """tokens, ends, depths: [N] int32, in depth-first order. lasts: [S] int32, places of the last tokens of
    the sequences that it is made of. marks: further arrays of a training by name, [N], 0 where nothing is
    learnt."""

    tokens: np.ndarray
    ends: np.ndarray
    depths: np.ndarray
    lasts: np.ndarray
    marks: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def path(self, place: int) -> np.ndarray:
        """Places of the tokens above one, and its own, by depth."""
        return np.flatnonzero(self.ends[: place + 1] > place)

    @functools.cached_property
    def distinct(self) -> np.ndarray:
        """Places of the last tokens of the distinct sequences, in order, [D] int."""
        return np.unique(self.lasts)

    def outline(self) -> Outline:
        """Sizes of its distinct sequences."""
        own = np.diff(self.distinct, prepend=-1)
        return Outline(self.depths[self.distinct] + 1 - own, own)

    def part(self, first: int, end: int) -> TokenTree:
        """The tree of its distinct sequences first to end - 1. Marks stay where a token is, of all parts, in
        the first."""
        begin = int(self.distinct[first - 1]) + 1 if first else 0
        path = self.path(int(self.distinct[first]))
        again = path[path < begin]
        kept = np.concatenate([again, np.arange(begin, self.distinct[end - 1] + 1)])
        marks = {name: np.where(kept < begin, 0, values[kept]) for name, values in self.marks.items()}
        return TokenTree(
            self.tokens[kept],
            np.searchsorted(kept, self.ends[kept]).astype(np.int32),
            self.depths[kept],
            np.searchsorted(kept, self.distinct[first:end]).astype(np.int32),
            marks,
        )


def token_tree(sequences: Sequence[np.ndarray]) -> TokenTree:
    """The tree of sequences [T] int32, which may repeat each other."""
    keys = [key(ids) for ids in sequences]
    most = sum(map(len, sequences))
    tokens, ends, depths, path = np.zeros((4, most), np.int32)
    lasts, before, total = np.zeros(len(sequences), np.int32), np.zeros(0, np.int32), 0
    for i in sorted(range(len(sequences)), key=keys.__getitem__):
        ids = sequences[i]
        shared = _shared(before, ids)
        ends[path[shared : len(before)]] = total
        new = slice(total, total + len(ids) - shared)
        tokens[new], depths[new] = ids[shared:], np.arange(shared, len(ids))
        path[shared : len(ids)] = np.arange(new.start, new.stop)
        lasts[i], before, total = path[len(ids) - 1], ids, new.stop
    ends[path[: len(before)]] = total
    return TokenTree(tokens[:total], ends[:total], depths[:total], lasts)


def forest(trees: Sequence[TokenTree]) -> TokenTree:
    """Trees that share nothing, one behind the other as one; `lasts` of all of them."""
    starts = np.cumsum([0, *(len(tree.tokens) for tree in trees)], dtype=np.int32)[:-1]
    at = list(zip(trees, starts, strict=True))
    return TokenTree(
        np.concatenate([tree.tokens for tree in trees]),
        np.concatenate([tree.ends + start for tree, start in at]),
        np.concatenate([tree.depths for tree in trees]),
        np.concatenate([tree.lasts + start for tree, start in at]),
    )


def divided(
    items: Sequence[Sequence[np.ndarray]],
    room: int,
    most: int,
    labels: Sequence[Mapping[bytes, float]] | None = None,
) -> list[list[int]]:
    """Groups of items (by number) whose sequences make a tree of at most `room` tokens; few are in two trees.

    An item goes to the group that it adds fewest tokens to, of the last few that have room for it. One that
    no group has room for is a group of its own. most: items of a group. labels: of each item, by `key` of
    what they stand behind; those of a group agree.
    """
    keys = [[key(ids) for ids in item] for item in items]
    groups: list[_Group] = []
    for i in sorted(range(len(items)), key=keys.__getitem__):
        own = labels[i] if labels else {}
        found = [(group.added(keys[i]), group) for group in groups[-OPEN:] if group.takes(own, most)]
        found = [(added, group) for added, group in found if group.total + added <= room]
        if found:
            added, group = min(found, key=lambda pair: pair[0])
        else:
            group = _Group()
            added = group.added(keys[i])
            groups.append(group)
        group.add(i, keys[i], added, own)
    return [group.items for group in groups]


def key(ids: np.ndarray) -> bytes:
    """Bytes of ids [T] int32, that are in order where the ids are."""
    return ids.astype(">i4").tobytes()


class _Group:
    """Items, and the tokens of the tree that they make."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self.labels: dict[bytes, float] = {}
        self.total = 0
        self._keys: list[bytes] = []  # of its sequences, in order

    def takes(self, labels: Mapping[bytes, float], most: int) -> bool:
        return len(self.items) < most and all(self.labels.get(k, v) == v for k, v in labels.items())

    def added(self, keys: Sequence[bytes]) -> int:
        """Tokens that further sequences would add."""
        total = 0
        for number, one in enumerate(keys):
            at = bisect.bisect_left(self._keys, one)
            # What shares most with it stands beside it.
            near = [*self._keys[max(0, at - 1) : at + 1], *keys[:number]]
            shared = max((_shared(_ids(one), _ids(other)) for other in near), default=0)
            total += len(one) // 4 - shared
        return total

    def add(self, item: int, keys: Sequence[bytes], added: int, labels: Mapping[bytes, float]) -> None:
        self.items.append(item)
        self.labels |= labels
        self.total += added
        for one in keys:
            at = bisect.bisect_left(self._keys, one)
            if self._keys[at : at + 1] != [one]:
                self._keys.insert(at, one)


def _ids(key: bytes) -> np.ndarray:
    """Numbers that are equal where the ids are."""
    return np.frombuffer(key, np.int32)


def _shared(one: np.ndarray, other: np.ndarray) -> int:
    """Tokens that two sequences begin alike with."""
    n = min(len(one), len(other))
    differ = one[:n] != other[:n]
    first = int(differ.argmax()) if n else 0
    return first if n and differ[first] else n
