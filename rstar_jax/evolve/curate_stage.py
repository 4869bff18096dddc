"""The stage that chooses: trees -> solutions, pairs and values of steps that models learn."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import Any

from rstar_jax import curate as curation
from rstar_jax import records
from rstar_jax.curate import StepValues
from rstar_jax.evaluate.benchmark import by_level
from rstar_jax.evolve import suspects
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.reward_models import PAIRS, SFT, VALUES
from rstar_jax.evolve.search_stages import failures, unknown_steps
from rstar_jax.evolve.shards import read_trees
from rstar_jax.grading.answer import shared
from rstar_jax.queues import call
from rstar_jax.report.results import CurateResult
from rstar_jax.tasks.task import Pair
from rstar_jax.types import PreferencePair, SftRow, Tree


def curate(context: Context, round: int, folder: Path) -> CurateResult:
    """Chooses what the round's trees teach (section 3.2, 3.3) and counts what they show.

    A round that solved nothing, or compares nothing, learns from earlier rounds' rows or pairs; its note
    says so.
    """
    trees = read_trees(context.folder(round, "search"), lean=True)
    with context.progress.stage("curate", len(trees), "trees", round):
        found = curation.curate(trees, context.settings.curate, round, context.settings.train.reward)
        context.progress.update(len(trees), note=f"{len(found.sft)} solutions, {len(found.pairs)} pairs")
    sft, pairs, notes = list(found.sft), list(found.pairs), []
    if not sft:
        sft = _earlier(context, round, SFT, SftRow)
        notes.append(f"no problem solved; {_instead(sft, 'solutions')}")
    if not pairs:
        pairs = _earlier(context, round, PAIRS, PreferencePair)
        notes.append(f"no preference pairs found; {_instead(pairs, 'pairs')}")
    if never_graded := ungradable(trees):
        notes.append(suspects.never_graded(never_graded))
    suspected = _suspects(context, trees, round)
    if suspected:
        records.write_lines(folder / suspects.FILE, map(suspects.row, suspected))
        notes.append(suspects.note(suspected))
    records.write_rows(folder / SFT, SftRow, sft)
    records.write_rows(folder / PAIRS, PreferencePair, pairs)
    if context.settings.train.reward == "pqm":
        records.write_rows(folder / VALUES, StepValues, found.values)
    for note in notes:
        context.progress.log(f"round {round}: {note}.")
    return CurateResult(
        coverage=coverage(trees),
        trajectories=sum(len(tree.trajectories()) for tree in trees),
        steps=sum(len(tree.nodes) - 1 for tree in trees),
        tokens=sum(node.tokens for tree in trees for node in tree.nodes),
        sft_rows=len(sft),
        pairs=len(pairs),
        difficulty=dict(Counter(found.difficulty.values())),
        dropped=dict(found.dropped),
        failures=failures(trees),
        ungraded=sum(node.grade == "ungraded" for tree in trees for node in tree.nodes),
        unknown_steps=unknown_steps(trees),
        ungradable=never_graded,
        suspects=[one.line for one in suspected],
        note="; ".join(notes),
    )


def _suspects(context: Context, trees: list[Tree], round: int) -> list[suspects.Suspect]:
    """Problems whose label may be wrong; none where answers are programs, which have no label."""
    task, progress = context.task, context.progress
    if task.judges is not Pair or not (groups := suspects.unsolved(trees)):
        return []
    ask = functools.partial(call, shared(task.grading).queue())
    with progress.stage("look for wrong labels", len(groups), "problems", round):
        return suspects.suspects(
            groups, lambda problem, one, other: task.same(problem, one, other, ask), progress.update
        )


def _earlier(context: Context, round: int, name: str, kind: type) -> list[Any]:
    for before in range(round - 1, 0, -1):
        path = context.folder(before, "curate") / name
        if path.exists() and (rows := records.read_rows(path, kind)):
            return rows
    return []


def _instead(rows: list[Any], what: str) -> str:
    return f"{len(rows)} {what} of earlier rounds are used instead" if rows else "nor have earlier rounds any"


def coverage(trees: list[Tree]) -> dict[str, float | None]:
    """Share of problems with a right trajectory in some tree, 0 to 1, in all and by level (table 2)."""
    solved: dict[str, bool] = {}
    for tree in trees:
        solved[tree.problem.id] = solved.get(tree.problem.id, False) or tree.solved
    levels = {tree.problem.id: tree.problem.level for tree in trees}
    return by_level([levels[problem] for problem in solved], list(solved.values()))


def ungradable(trees: list[Tree]) -> list[str]:
    """The ids of problems that were answered, but never gradably: their references are to be looked at."""
    grades: dict[str, set[str]] = {}
    for tree in trees:
        grades.setdefault(tree.problem.id, set()).update(n.grade for n in tree.nodes if n.grade is not None)
    return [problem for problem, found in grades.items() if found == {"ungraded"}]
