"""Step beam search: at every depth the steps that the PPM likes best go on, of all beams together.

The authors' is 8 beams of 8 candidates. An answer among the best is finished and keeps its beam. Diverse
verifier tree search (Beeching et al. 2024, "Scaling test-time compute with open models") is `subtrees`
independent beam searches, usually one beam wide, so that early favourites do not crowd out all others.
"""

from __future__ import annotations

import dataclasses

from rstar_jax.search.config import SearchConfig
from rstar_jax.search.contract import Leaf
from rstar_jax.search.expand import alive, failed
from rstar_jax.search.grow import Barrier, TreeId, leaf_at, root
from rstar_jax.search.together import Ensemble
from rstar_jax.types import Ended, Node, Problem, Tree


def beam(problem: Problem, config: SearchConfig, name: TreeId) -> Beam:
    """One step beam search."""
    return Beam(problem, config, name)


def diverse(problem: Problem, config: SearchConfig, name: TreeId) -> Ensemble:
    """Independent step beam searches, named so that no two draw the same."""
    nodes = 1 + (config.max_depth + 1) * config.beam_width * config.candidates
    parts = [Beam(problem, config, name, first=i * nodes) for i in range(config.subtrees)]
    return Ensemble(parts, name.tree_index)


class Beam:
    """One beam search. An answer that was chosen has a visit and its value (`Name.value`), and so have the
    steps that led there, for each such answer; a failed step has one of -1; others have none.

    first: what its nodes are named from.
    """

    def __init__(self, problem: Problem, config: SearchConfig, name: TreeId, first: int = 0):
        self.problem, self._config, self._name, self._first = problem, config, name, first
        self.rollouts = self.trajectories = self.nodes = 0
        self.ended: Ended = "rollouts"
        self._nodes, self._chosen = [root()], list[int]()
        self._gathered = Barrier()
        self._width = config.beam_width

    def start(self) -> list[Leaf]:
        return self._expand([0])

    def update(self, leaf: Leaf, children: list[Node]) -> list[Leaf]:
        taken = self._gathered.take(leaf, children)
        if not taken:
            return []
        first = len(self._nodes)
        for asked, nodes in taken:
            parent = asked.node - self._first
            self._nodes += [dataclasses.replace(node, parent=parent) for node in nodes]
        self.nodes = len(self._nodes) - 1
        living = [i for i in range(first, len(self._nodes)) if alive(self._nodes[i])]
        best = sorted(living, key=lambda i: -(self._nodes[i].ppm or 0.0))[: self._width]
        answers = [i for i in best if self._nodes[i].status == "answer"]
        self._chosen += answers
        self._width -= len(answers)
        self.rollouts = self.trajectories = len(self._chosen)
        if not best and not self._chosen:
            self.ended = "exhausted"
        return self._expand([i for i in best if self._nodes[i].status == "ok"])

    def _expand(self, nodes: list[int]) -> list[Leaf]:
        config = self._config
        return self._gathered.ask(
            [
                leaf_at(
                    self.problem,
                    self._nodes,
                    node,
                    self._first + node,
                    self._name.tree_index,
                    config.candidates,
                    config.temperature,
                )
                for node in nodes
            ]
        )

    def votes(self) -> list[Node]:
        return [self._nodes[i] for i in self._chosen]

    def answers_remaining(self) -> int:
        return self._width

    rollouts_remaining = answers_remaining

    def tree(self) -> Tree:
        visits, values = [0] * len(self._nodes), [0.0] * len(self._nodes)
        for i, node in enumerate(self._nodes):
            if failed(node):
                visits[i], values[i] = 1, -1.0
        for answer in self._chosen:
            value, at = self._name.value(self._nodes[answer]), answer
            while at >= 0 and value is not None:
                visits[at] += 1
                values[at] += value
                at = self._nodes[at].parent
        nodes = (
            node.with_stats(n, q, node.parent) for node, n, q in zip(self._nodes, visits, values, strict=True)
        )
        return Tree(self.problem, self._name.round, self._name.tree_index, self.rollouts, tuple(nodes))
