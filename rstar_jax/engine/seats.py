"""Assignment of leaves to slots: a leaf has one, or several that each take a share of its candidates."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from rstar_jax.engine.pages import Branch
from rstar_jax.engine.requests import StepRequest


@dataclasses.dataclass
class SeatedLeaf:
    """A request whose candidates are written in slots.

    read: where its prefix lies, without the last token. key: under which that is cached. line: the row of the
    batch's host arrays in which its tokens are noted, of its own however many slots it has. slots: how many
    it sits in. own: by candidate, where what it has written lies; None where the pool had no room.
    """

    ticket: int
    request: StepRequest
    read: Branch | None
    key: Hashable
    line: int
    slots: int = 0
    own: dict[int, Branch | None] = dataclasses.field(default_factory=dict)


class Seat(NamedTuple):
    """A slot's share of a leaf: the candidates from `first` to before `end`."""

    leaf: SeatedLeaf
    first: int
    end: int


def shared_out(leaves: Sequence[SeatedLeaf], N: int, slots: int) -> list[Seat]:
    """Seats of N rows for all the candidates of the leaves, one each, and as many more as there are slots and
    candidates to fill their rows."""
    counts = [leaf.request.n for leaf in leaves]
    shares = [1] * len(leaves)
    while sum(shares) < slots:
        most = max(range(len(leaves)), key=lambda i: counts[i] / shares[i])
        if counts[most] <= N * shares[most]:
            break
        shares[most] += 1
    return [
        Seat(leaf, count * i // share, count * (i + 1) // share)
        for leaf, count, share in zip(leaves, counts, shares, strict=True)
        for i in range(share)
    ]
