"""Monte Carlo tree search (arXiv 2501.04519, section 3.2).

A rollout walks from the root by UCT to a node without children, expands it, goes on into the best child,
and so on until an answer, which is backed up: while training +1 or -1 by its grade, at test time the PPM's
value of it (0 without a PPM, so that visits alone guide). Choices where the paper says nothing:

- A candidate that fails becomes a dead node: one visit of value -1 at itself only, never selected.
- One of which the sandbox could not tell ("unknown") is never selected either, but has no visit and no value.
- With a PPM the value of a new step is its q(s)^0 and counts as one visit, as in the released code. An answer
  has none: its value is the one that is backed up. Before that its PPM value stands in for its Q.
- An answer is closed after its visit, a node with only closed children too; a rollout whose expansion leaves
  nothing open ends there without a backup. A search whose root is closed ends before its rollouts are done.
- An answer that cannot be graded while training is closed without a visit: it is neither right nor wrong.

With `parallel_leaves` above 1 as many rollouts go on at a time. Each takes `virtual_loss` from the steps on
its way until its leaf is expanded. They go on together, so that the tree does not depend on who was first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from rstar_jax.search.config import SearchConfig
from rstar_jax.search.contract import Leaf
from rstar_jax.search.expand import (
    ExpandConfig,
    alive,
    answer_alone,
    distinct,
    everything,
    failed,
    one_answer,
)
from rstar_jax.search.grow import Barrier, TreeId, leaf_at, root
from rstar_jax.search.rules import rules
from rstar_jax.search.uct import UNVISITED, Statistics
from rstar_jax.types import Ended, Node, Problem, Tree


def manner(config: SearchConfig) -> ExpandConfig:
    """Expansion of its leaves."""
    follows = rules(config.reference_code, config.reference_rules)
    unique = distinct if config.drop_repeats else everything
    alone = "answer_alone" in follows
    return ExpandConfig(
        config.max_depth + ("extra_depth" in follows),
        keep=(lambda candidates: unique(answer_alone(candidates))) if alone else unique,
        admit=list if alone else one_answer,
    )


@dataclasses.dataclass
class _Rollout:
    """A rollout. at: the node to go on from. going: under way. bare: it began at a root without children."""

    at: int = 0
    going: bool = False
    bare: bool = False


class Mcts:
    """One tree. `solved`: a right answer was backed up."""

    def __init__(self, problem: Problem, config: SearchConfig, name: TreeId):
        self.problem, self._config, self._name = problem, config, name
        self.rollouts = self.trajectories = self.nodes = 0
        self.ended: Ended = "rollouts"
        self.solved = False
        self._follows = rules(config.reference_code, config.reference_rules)
        self._numbers = Statistics(UNVISITED[config.unvisited])
        self._nodes, self._expanded = [root()], set[int]()
        self._walkers: list[_Rollout] = []
        self._going = 0  # walkers under way
        self._gathered = Barrier()
        self._goal, self._width = config.rollouts, config.candidates
        self._values: list[float] = []  # of the answers backed up
        self._lent: list[int] = []  # leaves whose way bears a virtual loss

    def start(self) -> list[Leaf]:
        return self._advance()

    def update(self, leaf: Leaf, children: list[Node]) -> list[Leaf]:
        taken = self._gathered.take(leaf, children)
        if taken:
            self._revert_virtual_loss()
        for asked, nodes in taken:
            self._append(asked.node, nodes)
        return self._advance() if taken else []

    def votes(self) -> list[Node]:
        visits = self._numbers.visits
        return [node for i, node in enumerate(self._nodes) if node.status == "answer" and visits[i]]

    def answers_remaining(self) -> int:
        return max(self._goal, self._config.rollouts) - self.rollouts

    def rollouts_remaining(self) -> int:
        """Count those of an unsolved tree that went beyond its first total as if it went to the last."""
        totals = self._config.escalation
        if self._goal > self._config.rollouts and totals and not self.solved:
            return totals[-1] - self.rollouts
        return self._goal - self.rollouts

    def tree(self) -> Tree:
        lent = self._revert_virtual_loss()
        numbers = zip(self._nodes, self._numbers.visits, self._numbers.value_sums, strict=True)
        nodes = tuple(node.with_stats(n, q, node.parent) for node, n, q in numbers)
        for node in lent:
            self._apply_virtual_loss(node)
        return Tree(self.problem, self._name.round, self._name.tree_index, self.rollouts, nodes)

    def _advance(self) -> list[Leaf]:
        """Goes on with every rollout as far as it can without candidates; the leaves they stand at."""
        asked: dict[int, Leaf] = {}
        for walker in self._all_walkers():
            node = self._walk(walker)
            if node is not None and node not in asked:
                asked[node] = leaf_at(
                    self.problem,
                    self._nodes,
                    node,
                    node,
                    self._name.tree_index,
                    self._width,
                    self._config.temperature,
                )
                self._apply_virtual_loss(node)
        if not asked and self._numbers.closed(0) and self.rollouts < self._goal:
            self.ended = "exhausted"
        return self._gathered.ask(list(asked.values()))

    def _all_walkers(self) -> Iterator[_Rollout]:
        """Those there are, then more of them while there are rollouts left for these."""
        yield from self._walkers
        while len(self._walkers) < self._config.parallel_leaves and self._may_begin():
            self._walkers.append(_Rollout())
            yield self._walkers[-1]

    def _walk(self, walker: _Rollout) -> int | None:
        """To the leaf where candidates are needed; None if no rollout is left to do."""
        while True:
            if not walker.going:
                if not self._may_begin():
                    return None
                walker.at, walker.going, walker.bare = 0, True, not self._expanded
                self._going += 1
            node = self._numbers.select(walker.at, self._config.c)
            if self._nodes[node].status == "answer":
                self._back_up(node)
                self._close(node)
            elif node in self._expanded:
                self._close(node)
            elif not (
                walker.bare
                and "short_first" in self._follows
                and self._nodes[node].depth >= self._config.max_depth
            ):
                walker.at = node
                return node
            self.rollouts += 1
            walker.going = False
            self._going -= 1

    def _apply_virtual_loss(self, node: int) -> None:
        """Makes the way to a leaf that is asked for worth less, for the other rollouts."""
        if self._config.parallel_leaves > 1:
            self._numbers.back_up(node, -self._config.virtual_loss)
            self._lent.append(node)

    def _revert_virtual_loss(self) -> list[int]:
        """Takes all of that back; returns where it was."""
        lent, self._lent = self._lent, []
        for node in reversed(lent):
            self._numbers.back_up(node, self._config.virtual_loss, -1)
        return lent

    def _may_begin(self) -> bool:
        if self.rollouts >= self._goal:
            self._raise_goal()
        return self.rollouts + self._going < self._goal and not self._numbers.closed(0)

    def _raise_goal(self) -> None:
        """An unsolved tree goes on to the next total; or each to that of its difficulty."""
        config = self._config
        if not self._name.training:
            return
        if config.by_difficulty:
            right = sum(value > 0 for value in self._values)
            easy = 0 < right == len(self._values)
            self._goal = config.by_difficulty[0 if easy else 1 if right else 2]
        elif not self.solved:
            for i, total in enumerate(config.escalation):
                if total > self.rollouts:
                    self._goal = total
                    self._width = (*config.escalation_candidates, *[self._width] * len(config.escalation))[i]
                    break

    def _append(self, at: int, nodes: list[Node]) -> None:
        at_once, first = "answers_at_once" in self._follows, len(self._nodes)
        visits, values, closed = [], [], []
        for node in nodes:
            counts = self._config.first_visit and node.status == "ok" and node.ppm is not None
            visits.append(1 if counts or failed(node) else 0)
            values.append((node.ppm or 0.0) if counts else -1.0 if failed(node) else 0.0)
            closed.append(not alive(node) or (at_once and node.status == "answer"))
        self._numbers.append(at, [node.ppm or 0.0 for node in nodes], visits, values, closed)
        self._expanded.add(at)
        self._nodes += nodes
        self.nodes += len(nodes)
        if at_once:
            for k, node in enumerate(nodes):
                if node.status == "answer":
                    self._back_up(first + k)

    def _back_up(self, answer: int) -> None:
        value = self._name.value(self._nodes[answer])
        self.solved |= self._name.training and self._nodes[answer].grade == "right"
        if value is not None:
            self._numbers.back_up(answer, value)
            self._values.append(value)
            self.trajectories += 1

    def _close(self, node: int) -> None:
        if "lazy_closing" in self._follows:
            self._numbers.close_one(node)
        else:
            self._numbers.close_up(node)
