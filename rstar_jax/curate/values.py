"""The Q of the steps of a tree, for a reward model that learns them by regression ("PQM", arXiv 2501.04519,
section 5.3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from rstar_jax.curate.config import CurateConfig
from rstar_jax.curate.pairs import leading
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


def learnt_values(rows: Iterable[StepValues]) -> set[float]:
    """Up to two of the values that count in the loss: those after them are not looked at."""
    found = set[float]()
    for row in rows:
        found |= {value for value, weight in zip(row.values, row.weights, strict=True) if weight}
        if len(found) > 1:
            return {*sorted(found)[:2]}
    return found


def step_values(tree: Tree, config: CurateConfig, round: int) -> Iterator[StepValues]:
    """Yield a row for each way to a last step that is learnt: those that lead to an answer whose grade was
    backed up. Any other visit is the PPM's guess, or nobody's. A step that several rows share is learnt in
    the first of them: its weight in the others is 0.

    With `config.dead_as_wrong` a step that failed is learnt, too, at Q = -1.
    """
    failed = {
        i
        for i, node in enumerate(tree.nodes)
        if config.dead_as_wrong and node.status not in ("ok", "answer", "unknown")
    }
    graded = leading(tree, (node.grade in ("right", "wrong") and node.visits > 0 for node in tree.nodes))
    valued = {i for i in range(1, len(tree.nodes)) if graded[i] or i in failed}
    inner, learnt = {tree.nodes[i].parent for i in valued}, set[int]()
    for last in sorted(valued - inner):
        way = tree.path(last)
        yield StepValues(
            problem_id=tree.problem.id,
            question=tree.problem.question,
            steps=tree.steps(last),
            values=tuple(-1.0 if i in failed else tree.nodes[i].q for i in way),
            weights=tuple(float(i in valued and i not in learnt) for i in way),
            round=round,
        )
        learnt.update(way)
