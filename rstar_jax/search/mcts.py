"""Monte Carlo tree search of many problems at once (arXiv 2501.04519, section 3.2).

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
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from rstar_jax import tree as trees
from rstar_jax import uct
from rstar_jax.search.contract import GRADE_VALUES, Functions, Leaf, OnWave, SearchConfig
from rstar_jax.search.drive import Growing, drive
from rstar_jax.search.expand import alive, failed
from rstar_jax.search.rules import PAPER, RELEASED_CODE, Rules
from rstar_jax.types import Node, Problem, Tree

# Nodes; 16 rollouts of 8 candidates make some 400. Room costs little, growing compiles anew.
_FIRST_CAPACITY = 1024


def search(
    problems: Sequence[Problem],
    functions: Functions,
    config: SearchConfig,
    *,
    round: int,
    index: int = 0,
    training: bool,
    on_wave: OnWave | None = None,
) -> list[Tree]:
    """One tree for each problem, in their order, the same whatever else is searched with it.

    index: which tree of each problem this is; it names the randomness, so another index is another tree.
    training: answers are valued by their grade and unsolved trees escalate; else by the PPM.
    on_wave: called after every wave with the counts so far.
    Raises UserError if a value of the PPM is not finite.
    """
    rules = RELEASED_CODE if config.released_code else PAPER
    strategy = _Search(config, rules, len(problems), round, index, training)
    return drive(problems, strategy, functions, on_wave, keep=rules.keep, admit=rules.admit)


@dataclasses.dataclass
class _Walk(Growing):
    """A tree and where its rollout stands.

    at: the node to go on from. goal: rollouts to do. expanded: the nodes that were, with children or without.
    bare: this rollout began at a root without children. solved: a right answer was backed up.
    """

    at: int = 0
    goal: int = 0
    rollouts: int = 0
    expanded: set[int] = dataclasses.field(default_factory=set)
    bare: bool = True
    solved: bool = False


class _Search:
    """All trees of a search: numbers in `TreeArrays`, texts and positions in a `_Walk` for each slot."""

    def __init__(
        self, config: SearchConfig, rules: Rules, problems: int, round: int, index: int, training: bool
    ):
        # Powers of two, so that batches of odd sizes do not compile anew.
        self.slots = 1 << (max(1, min(config.batch, problems)) - 1).bit_length()
        self.last_depth = config.max_depth + rules.extra_depth
        self.rollouts = self.trajectories = self.nodes = 0
        self._config, self._rules, self._training = config, rules, training
        self._round, self._index = round, index
        self._totals = (config.rollouts, *(config.escalation if training else ()))
        self._walks: dict[int, _Walk] = {}
        self._arrays = trees.new(self.slots, max(_FIRST_CAPACITY, 1 + config.candidates))

    def start(self, begun: dict[int, Problem]) -> None:
        for slot, problem in begun.items():
            self._walks[slot] = _Walk(problem, self._round, self._index, goal=self._config.rollouts)
        if begun:
            self._arrays = trees.reset(self._arrays, self._mask(begun))

    def advance(self) -> dict[int, list[Leaf]]:
        config = self._config
        leaves: dict[int, list[Leaf]] = {slot: [] for slot in self._walks}
        walking = self._with_budget(self._walks)
        while walking:
            node_B = self._select(walking)
            answers, exhausted = {}, {}
            for slot in walking:
                walk, node = self._walks[slot], int(node_B[slot])
                if walk.nodes[node].status == "answer":
                    answers[slot] = [node]
                    self._end_rollout(walk)
                elif node in walk.expanded:
                    exhausted[slot] = node
                    self._end_rollout(walk)
                elif self._rules.first_stops and walk.bare and walk.nodes[node].depth >= config.max_depth:
                    self._end_rollout(walk)
                else:
                    walk.at = node
                    leaves[slot] = [walk.leaf(node, config.candidates, config.temperature)]
            self._back_up(answers)
            self._close(exhausted | {slot: nodes[0] for slot, nodes in answers.items()})
            walking = self._with_budget(slot for slot in walking if not leaves[slot])
        return leaves

    def grow(self, children: dict[int, list[list[Node]]]) -> None:
        new = {slot: of_tree[0] for slot, of_tree in children.items() if of_tree}
        shape = (self.slots, self._config.candidates)
        visits, value_sum, prior = np.zeros(shape, np.int32), np.zeros(shape), np.zeros(shape)
        closed = np.zeros(shape, bool)
        answers = {}
        for slot, nodes in new.items():
            walk = self._walks[slot]
            if self._rules.answers_at_once:
                first = len(walk.nodes)
                answers[slot] = [first + k for k, node in enumerate(nodes) if node.status == "answer"]
            for k, node in enumerate(nodes):
                prior[slot, k] = node.ppm or 0.0
                closed[slot, k] = not alive(node) or (node.status == "answer" and self._rules.answers_at_once)
                if failed(node):
                    visits[slot, k], value_sum[slot, k] = 1, -1.0
                elif node.status == "ok" and node.ppm is not None:
                    visits[slot, k], value_sum[slot, k] = 1, node.ppm
            walk.expanded.add(walk.at)
            walk.nodes += nodes
            self.nodes += len(nodes)
        at = self._per_slot({slot: self._walks[slot].at for slot in new})
        count = self._per_slot({slot: len(nodes) for slot, nodes in new.items()})
        self._arrays = trees.grow(self._arrays, max(len(walk.nodes) for walk in self._walks.values()))
        self._arrays = trees.append(self._arrays, at, count, prior, visits, value_sum, closed)
        self._back_up(answers)

    def finish(self, slots: list[int]) -> list[Tree]:
        if not slots:
            return []
        visits, value_sum = np.asarray(self._arrays.visits), np.asarray(self._arrays.value_sum)
        finished = []
        for slot in slots:
            walk = self._walks.pop(slot)
            n = len(walk.nodes)
            finished.append(walk.finished(walk.rollouts, visits[slot, :n], value_sum[slot, :n]))
        return finished

    def _with_budget(self, slots: Iterable[int]) -> list[int]:
        """Those with rollouts to do. An unsolved tree goes on to the next total, a closed root never."""
        closed_B = np.asarray(self._arrays.closed[:, 0])
        going = []
        for slot in slots:
            walk = self._walks[slot]
            if walk.rollouts >= walk.goal and not walk.solved:
                walk.goal = next((total for total in self._totals if total > walk.rollouts), walk.goal)
            if walk.rollouts < walk.goal and not closed_B[slot]:
                going.append(slot)
        return going

    def _end_rollout(self, walk: _Walk) -> None:
        walk.rollouts += 1
        walk.at, walk.bare = 0, False
        self.rollouts += 1

    def _select(self, walking: list[int]) -> np.ndarray:
        start = self._per_slot({slot: self._walks[slot].at for slot in walking})
        width, unvisited = self._config.candidates, uct.UNVISITED[self._config.unvisited]
        mask = self._mask(walking)
        return np.asarray(
            uct.select(self._arrays, start, mask, self._config.c, width=width, unvisited=unvisited)
        )

    def _back_up(self, answers: dict[int, list[int]]) -> None:
        """Backs up the value of every answer, by slot one after the other."""
        for turn in range(max(map(len, answers.values()), default=0)):
            value_B, now = np.zeros(self.slots), {}
            for slot, nodes in answers.items():
                if turn < len(nodes) and (value := self._value(slot, nodes[turn])) is not None:
                    now[slot], value_B[slot] = nodes[turn], value
            if now:
                self._arrays = uct.backup(self._arrays, self._per_slot(now), value_B, self._mask(now))
                self.trajectories += len(now)

    def _value(self, slot: int, node: int) -> float | None:
        walk = self._walks[slot]
        answer = walk.nodes[node]
        if not self._training:
            return answer.ppm or 0.0
        walk.solved |= answer.grade == "right"
        return GRADE_VALUES.get(answer.grade or "ungraded")

    def _close(self, nodes: dict[int, int]) -> None:
        if nodes:
            width, mask = self._config.candidates, self._mask(nodes)
            self._arrays = self._rules.close(self._arrays, self._per_slot(nodes), mask, width=width)

    def _mask(self, slots: Iterable[int]) -> np.ndarray:
        mask_B = np.zeros(self.slots, bool)
        mask_B[list(slots)] = True
        return mask_B

    def _per_slot(self, values: dict[int, int]) -> np.ndarray:
        values_B = np.zeros(self.slots, np.int32)
        values_B[list(values)] = list(values.values())
        return values_B
