"""Solutions of held-out problems, which no policy of a run learns: on them its loss says what it has learnt
beyond its rows.

Of problems of the embedded suite those that it was made with. Of others the right ones that evaluations had
found before this training: a policy wrote them, which makes them likelier to policies than people's are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rstar_jax import columns, distributed
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.shards import in_order, stored_trees
from rstar_jax.manifests import MANIFEST
from rstar_jax.problems.references import reference_solutions
from rstar_jax.report.results import HeldOutTokens
from rstar_jax.train import HeldOut, TrainConfig
from rstar_jax.types import SftRow, Tree

AT_MOST = 512  # a mean over so many is known to a few percent, and they take a forward pass
SUITE, FOUND = "the suite's own", "right ones found by earlier evaluations"


def of(context: Context, round: int) -> tuple[list[SftRow], str]:
    """Return a solution each of held-out problems, AT_MOST of them, and where they come from.

    round: whose policy is measured on them; 0: a warm start's. Every host gets the leader's.
    """
    rows, source = distributed.led(lambda: _solutions(context, round))
    return [columns.build(SftRow, row) for row in rows], source


def keeping(context: Context, config: TrainConfig, measured: HeldOut | None, name: str) -> TrainConfig:
    """Return the options of a training, which keeps the last parameters where nothing is held out to choose
    the best by: the search before it is not lost for that. name: of the model."""
    if measured is not None or config.keep == "last":
        return config
    context.progress.log(
        f"the {name}: train.keep=best given, but no held-out rows are known yet: the last parameters are "
        "kept."
    )
    return dataclasses.replace(config, keep="last")


def told(
    before: Mapping[str, float], after: Mapping[str, float], source: str, solutions: int, tokens: int
) -> HeldOutTokens | None:
    """Put the figures of a policy on `solutions` together with those of the base before; None where nothing
    was measured."""
    if not solutions or not after:
        return None
    of_policy = {"loss": after["loss"], "accuracy": after["accuracy"]}
    of_base = {"base_loss": before["loss"], "base_accuracy": before["accuracy"]}
    return HeldOutTokens(source=source, solutions=solutions, tokens=tokens, **of_policy, **of_base)


def _solutions(context: Context, round: int) -> tuple[list[dict[str, Any]], str]:
    settings, problems = context.settings, context.heldout
    some = [problems[i] for i in range(min(len(problems), AT_MOST))]
    written = reference_solutions(some, seed=settings.problems.seed, split="heldout")
    ended = context.task.grammar.finish_of
    if rows := [
        _row(p.id, p.question, steps)
        for p in some
        if (steps := written.get(p.id)) and ended(steps[-1]) == "answer"  # in the task's own grammar
    ]:
        return rows, SUITE
    found = dict[str, dict[str, Any]]()
    for tree in _evaluated(context, round):
        right = next((t for t in tree.trajectories() if t.grade == "right"), None)
        if right is not None and tree.problem.id not in found:
            found[tree.problem.id] = _row(tree.problem.id, tree.problem.question, right.steps)
            if len(found) == AT_MOST:
                break
    return list(found.values()), FOUND


def _row(problem_id: str, question: str, steps: Sequence[str]) -> dict[str, Any]:
    row = {"problem_id": problem_id, "question": question, "steps": list(steps), "token_ids": []}
    return {**row, "mean_q": 0.0, "min_q": 0.0, "round": 0}


def _evaluated(context: Context, round: int) -> Iterator[Tree]:
    """The trees of the evaluations that are done before a round's training, the earliest first."""
    folders = [context.folder(number, "evaluate") for number in range(max(1, round))]
    for folder in folders:
        if not (folder / MANIFEST).is_file():
            continue
        for kind in ("policy", "search"):
            yield from stored_trees(sorted(folder.glob(f"{kind}-*.parquet"), key=in_order))
