"""The Q of every step of a tree, for a reward model that learns them by regression ("PQM", arXiv 2501.04519,
section 5.3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from rstar_jax.curate.config import CurateConfig
from rstar_jax.types import Tree


@dataclasses.dataclass(frozen=True)
class StepValues:
    """One way through a tree with the value of each of its steps.

    values: in [-1, 1]. weights: of each step in the loss; 0 where another row has it already.
    """

    problem_id: str
    question: str
    steps: tuple[str, ...]
    values: tuple[float, ...]
    weights: tuple[float, ...]
    round: int

    def check(self) -> None:
        """Raises ValueError where these are no values of these steps."""
        if not len(self.steps) == len(self.values) == len(self.weights):
            sizes = f"{len(self.steps)} steps, {len(self.values)} values and {len(self.weights)} weights"
            raise ValueError(f"problem {self.problem_id}: {sizes}")
        if not all(-1 <= value <= 1 for value in self.values):
            raise ValueError(f"problem {self.problem_id}: values {self.values}, from -1 to 1 expected")
        if not all(0 <= weight < float("inf") for weight in self.weights):
            raise ValueError(f"problem {self.problem_id}: weights {self.weights}, 0 or more expected")


def step_values(tree: Tree, config: CurateConfig, round: int) -> Iterator[StepValues]:
    """Yield a row for each way to a leaf of what was visited. A step that several share is learnt in the
    first of them: its weight in the others is 0.

    With `config.dead_as_wrong` a step that failed counts as visited once, at Q = -1.
    """
    failed = {
        i
        for i, node in enumerate(tree.nodes)
        if config.dead_as_wrong and node.status not in ("ok", "answer", "unknown")
    }
    valued = {i for i, node in enumerate(tree.nodes) if i and (node.visits or i in failed)}
    inner, learnt = {tree.nodes[i].parent for i in valued}, set[int]()
    for leaf in sorted(valued - inner):
        way = tree.path(leaf)
        yield StepValues(
            problem_id=tree.problem.id,
            question=tree.problem.question,
            steps=tree.steps(leaf),
            values=tuple(-1.0 if i in failed else tree.nodes[i].q for i in way),
            weights=tuple(0.0 if i in learnt else 1.0 for i in way),
            round=round,
        )
        learnt.update(way)
