"""Whole trajectories without a tree search: greedy decoding, sampling, best-of-n."""

from __future__ import annotations

from rstar_jax.search.config import SearchConfig
from rstar_jax.search.contract import Leaf
from rstar_jax.search.expand import ExpandConfig, failed
from rstar_jax.search.grow import TreeId, leaf_below, root
from rstar_jax.types import Ended, Node, Problem, Tree


def greedy_manner(config: SearchConfig) -> ExpandConfig:
    """Expansion of the leaves of "greedy" and "sample": a PPM's values are not asked for."""
    return ExpandConfig(config.max_depth, score="nothing")


def ranked_manner(config: SearchConfig) -> ExpandConfig:
    """Expansion of the leaves of "best_of_n"."""
    return ExpandConfig(config.max_depth, score="answers" if config.scores == "orm" else "steps")


def greedy(problem: Problem, config: SearchConfig, name: TreeId) -> Chains:
    """The policy alone: its likeliest step, one after the other, each of them executed (pass@1)."""
    return Chains(problem, 1, 0.0, config.max_depth, name)


def sampled(problem: Problem, config: SearchConfig, name: TreeId) -> Chains:
    """`config.rollouts` independent trajectories, for pass@k, majority votes and best-of-n."""
    return Chains(problem, config.rollouts, config.temperature, config.max_depth, name)


class Chains:
    """Independent trajectories that meet at the root only; repeats count again. None waits for another.

    Every step has one visit. Its value is its answer's (`Name.value`), -1 for a step that failed, 0 above
    one. A step of which the sandbox could not tell has no visit and no value, nor has one under way.
    """

    ended: Ended = "rollouts"

    def __init__(self, problem: Problem, width: int, temperature: float, max_depth: int, name: TreeId):
        self.problem, self._name = problem, name
        self.rollouts = self.trajectories = self.nodes = 0
        self._width, self._temperature, self._max_depth = width, temperature, max_depth
        self._chains: list[list[Node]] = []

    def start(self) -> list[Leaf]:
        return [Leaf(self.problem, (), self._name.tree_index, 0, self._width, self._temperature)]

    def update(self, leaf: Leaf, children: list[Node]) -> list[Leaf]:
        if not leaf.node:
            self._chains = [[node] for node in children]
            self.nodes += len(children)
            return [leaf for k in range(len(children)) for leaf in self._after(k)]
        # Named by chain and depth: a node's number depends on how far the other chains are.
        k = (leaf.node - 1) // self._max_depth
        self._chains[k] += children
        self.nodes += len(children)
        if not children:
            self.rollouts += 1
            return []
        return self._after(k)

    def _after(self, k: int) -> list[Leaf]:
        chain = self._chains[k]
        if chain[-1].status == "ok":
            name = 1 + k * self._max_depth + len(chain) - 1
            return [leaf_below(self.problem, chain, name, self._name.tree_index, 1, self._temperature)]
        self.rollouts += 1
        self.trajectories += chain[-1].status == "answer"
        return []

    def votes(self) -> list[Node]:
        return [chain[-1] for chain in self._chains if chain[-1].status == "answer"]

    def answers_remaining(self) -> int:
        return (len(self._chains) or self._width) - self.rollouts

    rollouts_remaining = answers_remaining  # each ends in one answer, or none

    def tree(self) -> Tree:
        top, nodes = root(), []
        for chain in self._chains:
            end, parent = chain[-1], 0
            value = (self._name.value(end) or 0.0) if end.status == "answer" else 0.0
            seen = end.status == "answer" or failed(end)
            for node in chain:
                last = node is end
                visits = 1 if seen or (end.status == "unknown" and not last) else 0
                own = -1.0 if last and failed(end) else value
                nodes.append(node.with_stats(visits, own * visits, parent))
                parent = len(nodes)
            counted = nodes[parent - len(chain)]
            top = top.with_stats(top.visits + counted.visits, top.value_sum + value * counted.visits, -1)
        rollouts = self.rollouts
        return Tree(self.problem, self._name.round, self._name.tree_index, rollouts, (top, *nodes))
