"""Parts of every strategy's tree: nodes without statistics, leaves to ask for, gathered results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from rstar_jax.search.contract import GRADE_VALUES, Leaf
from rstar_jax.types import Ended, Node, Problem, Tree


class SearchState(Protocol):
    """A problem's tree while it grows: a state machine that is told of one expanded leaf after the other.

    rollouts, trajectories, nodes: made so far. ended: by what, once it wants nothing more.
    """

    @property
    def rollouts(self) -> int: ...

    @property
    def trajectories(self) -> int: ...

    @property
    def nodes(self) -> int: ...

    @property
    def ended(self) -> Ended: ...

    def start(self) -> list[Leaf]:
        """The first leaves to expand."""
        ...

    def update(self, leaf: Leaf, children: list[Node]) -> list[Leaf]:
        """Takes the children of a leaf; returns what to expand now. With none open the tree is done."""
        ...

    def votes(self) -> list[Node]:
        """The answers that count, so far."""
        ...

    def answers_remaining(self) -> int:
        """Return the most answers that may still come."""
        ...

    def rollouts_remaining(self) -> int:
        """Return how many rollouts are expected to come."""
        ...

    def tree(self) -> Tree:
        """The tree as it is now, with its statistics."""
        ...


@dataclasses.dataclass(frozen=True)
class TreeId:
    """Identity of a tree: with the problem it names the randomness. training: answers are valued by their
    grade, +1 or -1; else by the PPM, 0 without one."""

    round: int
    tree_index: int
    training: bool

    def value(self, answer: Node) -> float | None:
        """Return the value of an answer; None if nothing is to be backed up."""
        if not self.training:
            return answer.ppm or 0.0
        return GRADE_VALUES.get(answer.grade or "ungraded")


def root() -> Node:
    """The node that every tree begins with."""
    return Node(-1, "", "ok", depth=0, visits=0, value_sum=0.0)


def leaf_at(
    problem: Problem, nodes: Sequence[Node], at: int, name: int, tree: int, n: int, temperature: float
) -> Leaf:
    """The request for `n` candidates at node `at`. name: what `Leaf.node` is to be."""
    path = list[Node]()
    while at > 0:
        path.append(nodes[at])
        at = nodes[at].parent
    return leaf_below(problem, path[::-1], name, tree, n, temperature)


def leaf_below(
    problem: Problem, path: Sequence[Node], name: int, tree: int, n: int, temperature: float
) -> Leaf:
    """The request for `n` candidates after the nodes of a path from the root's child on."""
    steps, token_ids = tuple([node.text for node in path]), tuple([node.token_ids for node in path])
    handle = path[-1].handle if path else None
    return Leaf(problem, steps, tree, name, n, temperature, token_ids, handle)


class Barrier:
    """Leaves that are gone on from together: what order their results come in is nothing to the tree."""

    def __init__(self) -> None:
        self._leaves: list[Leaf] = []
        self._children: dict[int, list[Node]] = {}

    def ask(self, leaves: list[Leaf]) -> list[Leaf]:
        """Notes what is asked for."""
        self._leaves, self._children = leaves, {}
        return leaves

    def take(self, leaf: Leaf, children: list[Node]) -> list[tuple[Leaf, list[Node]]]:
        """All of them in the order asked, once the last has come; until then nothing."""
        self._children[leaf.node] = children
        if len(self._children) < len(self._leaves):
            return []
        return [(asked, self._children[asked.node]) for asked in self._leaves]


def merged(trees: Sequence[Tree], tree_index: int, finals: Sequence[Sequence[int]] | None = None) -> Tree:
    """Trees of one problem as one: they meet at the root, whose visits and values are summed.

    finals: of each tree, the answers that may be the final one.
    """
    visits = sum(tree.nodes[0].visits for tree in trees)
    top = root().with_stats(visits, sum(tree.nodes[0].value_sum for tree in trees), -1)
    nodes, chosen = [top], []
    for i, tree in enumerate(trees):
        shift = len(nodes) - 1
        nodes += [
            node.with_stats(node.visits, node.value_sum, node.parent + shift if node.parent else 0)
            for node in tree.nodes[1:]
        ]
        if finals is not None:
            chosen += [shift + final for final in finals[i]]
    return Tree(
        trees[0].problem,
        trees[0].round,
        tree_index,
        sum(tree.rollouts for tree in trees),
        tuple(nodes),
        finals=tuple(chosen),
    )
