"""Several independent searches of one problem as one: none waits for another, but they share the root."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rstar_jax.search.contract import Leaf
from rstar_jax.search.grow import SearchState, merged
from rstar_jax.types import Ended, Node, Tree

# Which answers of a tree may be the final one, by index.
Finals = Callable[[Tree], list[int]]


class Ensemble:
    """Parts that grow side by side. finals: of each part; without it, all that were visited."""

    def __init__(self, parts: Sequence[SearchState], tree_index: int, finals: Finals | None = None):
        self._parts, self._tree_index, self._finals = parts, tree_index, finals
        self._whose: dict[tuple[int, int], SearchState] = {}
        self._busy = dict.fromkeys(parts, 0)

    @property
    def rollouts(self) -> int:
        return sum(part.rollouts for part in self._parts)

    @property
    def trajectories(self) -> int:
        return sum(part.trajectories for part in self._parts)

    @property
    def nodes(self) -> int:
        return sum(part.nodes for part in self._parts)

    @property
    def ended(self) -> Ended:
        return "exhausted" if all(part.ended == "exhausted" for part in self._parts) else "rollouts"

    def start(self) -> list[Leaf]:
        return [leaf for part in self._parts for leaf in self._asked(part, part.start())]

    def update(self, leaf: Leaf, children: list[Node]) -> list[Leaf]:
        part = self._whose.pop((leaf.tree_index, leaf.node))
        self._busy[part] -= 1
        return self._asked(part, part.update(leaf, children))

    def _asked(self, part: SearchState, leaves: list[Leaf]) -> list[Leaf]:
        self._whose |= {(leaf.tree_index, leaf.node): part for leaf in leaves}
        self._busy[part] += len(leaves)
        return leaves

    def votes(self) -> list[Node]:
        if self._finals is None:
            return [node for part in self._parts for node in part.votes()]
        # What a search gives may change until its end, so that only those at their end count.
        trees = [part.tree() for part, open in self._busy.items() if not open]
        return [tree.nodes[i] for tree in trees for i in self._finals(tree)]

    def answers_remaining(self) -> int:
        if self._finals is None:
            return sum(part.answers_remaining() for part, open in self._busy.items() if open)
        return sum(1 for open in self._busy.values() if open)

    def rollouts_remaining(self) -> int:
        return sum(part.rollouts_remaining() for part, open in self._busy.items() if open)

    def tree(self) -> Tree:
        trees = [part.tree() for part in self._parts]
        finals = None if self._finals is None else [self._finals(tree) for tree in trees]
        return merged(trees, self._tree_index, finals)
