"""Whole trajectories without a tree search: what greedy decoding and sampling share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rstar_jax.search.contract import GRADE_VALUES, Functions, Leaf, OnWave
from rstar_jax.search.drive import Growing, drive
from rstar_jax.search.expand import alive
from rstar_jax.types import Node, Problem, Tree


def search(
    problems: Sequence[Problem],
    functions: Functions,
    *,
    trajectories: int,
    temperature: float,
    max_depth: int,
    batch: int,
    round: int,
    index: int,
    on_wave: OnWave | None,
) -> list[Tree]:
    """For each problem a tree of independent chains that meet at the root only; repeats count again.

    Every step has one visit. Its value is its answer's grade (+1, -1, 0 if ungraded), -1 for a step that
    failed, 0 above one. A step of which the sandbox could not tell has no visit and no value.
    """
    strategy = _Chains(len(problems), trajectories, temperature, max_depth, batch, round, index)
    return drive(problems, strategy, functions, on_wave)


class _Chains:
    def __init__(
        self,
        problems: int,
        trajectories: int,
        temperature: float,
        max_depth: int,
        batch: int,
        round: int,
        index: int,
    ):
        self.slots, self.last_depth = max(1, min(batch, problems)), max_depth
        self.rollouts = self.trajectories = self.nodes = 0
        self._width, self._temperature = trajectories, temperature
        self._round, self._index = round, index
        self._trees: dict[int, Growing] = {}
        self._ends: dict[int, list[int]] = {}  # slot -> nodes to go on from

    def start(self, begun: dict[int, Problem]) -> None:
        for slot, problem in begun.items():
            self._trees[slot], self._ends[slot] = Growing(problem, self._round, self._index), [0]

    def advance(self) -> dict[int, list[Leaf]]:
        return {
            slot: [tree.leaf(end, 1 if end else self._width, self._temperature) for end in self._ends[slot]]
            for slot, tree in self._trees.items()
        }

    def grow(self, children: dict[int, list[list[Node]]]) -> None:
        for slot, of_tree in children.items():
            tree, ends = self._trees[slot], []
            for nodes in of_tree:
                for node in nodes:
                    if node.status == "ok":
                        ends.append(len(tree.nodes))
                    tree.nodes.append(node)
                    self.nodes += 1
                    self.rollouts += node.status != "ok"
                    self.trajectories += node.status == "answer"
            self._ends[slot] = ends

    def finish(self, slots: list[int]) -> list[Tree]:
        return [self._tree(self._trees.pop(slot)) for slot in slots]

    def _tree(self, tree: Growing) -> Tree:
        visits, value = np.zeros(len(tree.nodes), int), np.zeros(len(tree.nodes))
        for i in reversed(range(1, len(tree.nodes))):
            node = tree.nodes[i]
            if node.status == "unknown":
                continue
            if node.status == "answer":
                value[i] = GRADE_VALUES.get(node.grade or "ungraded", 0.0)
            visits[i] = max(visits[i], 1)
            visits[node.parent] += 1
            if alive(node):
                value[node.parent] += value[i]
            else:
                value[i] = -1.0
        return tree.finished(self._width, visits, value)
