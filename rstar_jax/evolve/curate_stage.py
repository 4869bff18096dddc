"""The stage that chooses: trees -> solutions, pairs and values of steps that models learn."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rstar_jax import columns, parquet, records
from rstar_jax import curate as curation
from rstar_jax.curate import StepValues
from rstar_jax.evaluate.benchmark import by_level
from rstar_jax.evolve import suspects
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.reward_models import PAIRS, SFT, VALUES
from rstar_jax.evolve.search_stages import failures, unknown_steps
from rstar_jax.evolve.shards import count_trees, problem_trees
from rstar_jax.grading.answer import shared
from rstar_jax.queues import call
from rstar_jax.report.results import CurateResult
from rstar_jax.tasks.task import Pair
from rstar_jax.types import PreferencePair, Problem, SftRow, Tree

_ROWS = 4096  # of an earlier round, in memory at a time


@dataclasses.dataclass
class _Shown:
    """Counts of what the trees of problems show."""

    levels: list[int] = dataclasses.field(default_factory=list)
    solved: list[bool] = dataclasses.field(default_factory=list)
    trajectories: int = 0
    steps: int = 0
    tokens: int = 0
    ungraded: int = 0
    unknown_steps: int = 0
    failures: Counter[str] = dataclasses.field(default_factory=Counter)
    ungradable: list[str] = dataclasses.field(default_factory=list)
    suspects: list[suspects.Suspect] = dataclasses.field(default_factory=list)

    def add(self, trees: list[Tree]) -> None:
        """Add those of a problem."""
        self.levels.append(trees[0].problem.level)
        self.solved.append(any(tree.solved for tree in trees))
        self.trajectories += sum(len(tree.trajectories()) for tree in trees)
        self.steps += sum(len(tree.nodes) - 1 for tree in trees)
        self.tokens += sum(node.tokens for tree in trees for node in tree.nodes)
        self.ungraded += sum(node.grade == "ungraded" for tree in trees for node in tree.nodes)
        self.unknown_steps += unknown_steps(trees)
        self.failures.update(failures(trees))
        self.ungradable += ungradable(trees)


@dataclasses.dataclass
class _Chosen:
    """Counts of what was chosen of the trees so far."""

    sft: int = 0
    pairs: int = 0
    difficulty: Counter[str] = dataclasses.field(default_factory=Counter)
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)

    def add(self, found: curation.Curated) -> None:
        self.sft += len(found.sft)
        self.pairs += len(found.pairs)
        self.difficulty.update(found.difficulty.values())
        self.dropped.update(found.dropped)


def curate(context: Context, round: int, folder: Path) -> CurateResult:
    """Chooses what the round's trees teach (section 3.2, 3.3) and counts what they show; the trees of a few
    problems are in memory at a time.

    A round that solved nothing, or compares nothing, learns from earlier rounds' rows or pairs; its note
    says so.
    """
    settings, source, done = context.settings, context.folder(round, "search"), 0
    shown, chosen, notes, judge = _Shown(), _Chosen(), [], _judge(context)
    with (
        context.progress.stage("curate", count_trees(source), "trees", round),
        contextlib.ExitStack() as files,
    ):
        add_sft = files.enter_context(parquet.writing(folder / SFT, SftRow))
        add_pairs = files.enter_context(parquet.writing(folder / PAIRS, PreferencePair))
        add_values = None
        if settings.train.reward == "pqm":
            add_values = files.enter_context(parquet.writing(folder / VALUES, StepValues))
        for trees in problem_trees(source):
            found = curation.curate(trees, settings.curate, round, settings.train.reward)
            add_sft(found.sft)
            add_pairs(found.pairs)
            if add_values is not None:
                add_values(found.values)
            chosen.add(found)
            shown.add(trees)
            shown.suspects += judge(trees)
            done += len(trees)
            context.progress.update(done, note=f"{chosen.sft} solutions, {chosen.pairs} pairs")
    if not chosen.sft:
        chosen.sft = _earlier(context, round, folder, SFT, SftRow)
        notes.append(f"no problem solved; {_instead(chosen.sft, 'solutions')}")
    if not chosen.pairs:
        chosen.pairs = _earlier(context, round, folder, PAIRS, PreferencePair)
        notes.append(f"no preference pairs found; {_instead(chosen.pairs, 'pairs')}")
    if shown.ungradable:
        notes.append(suspects.never_graded(shown.ungradable))
    suspected = suspects.most_agreed(shown.suspects)
    if suspected:
        records.write_lines(folder / suspects.FILE, map(suspects.row, suspected))
        notes.append(suspects.note(suspected))
    for note in notes:
        context.progress.log(f"round {round}: {note}.")
    return CurateResult(
        coverage=by_level(shown.levels, shown.solved),
        trajectories=shown.trajectories,
        steps=shown.steps,
        tokens=shown.tokens,
        sft_rows=chosen.sft,
        pairs=chosen.pairs,
        difficulty=dict(chosen.difficulty),
        dropped=dict(chosen.dropped),
        failures=dict(shown.failures.most_common()),
        ungraded=shown.ungraded,
        unknown_steps=shown.unknown_steps,
        ungradable=shown.ungradable,
        suspects=[one.line for one in suspected],
        note="; ".join(notes),
    )


def _judge(context: Context) -> Callable[[list[Tree]], list[suspects.Suspect]]:
    """From the trees of a problem to whether its label may be wrong; of none where answers are programs,
    which have no label."""
    task = context.task
    if task.judges is not Pair:
        return lambda _: []

    def same(problem: Problem, one: str, other: str) -> bool:
        return task.same(problem, one, other, functools.partial(call, shared(task.grading).queue()))

    return lambda trees: suspects.suspects(suspects.unsolved(trees), same)


def _earlier(context: Context, round: int, folder: Path, name: str, kind: type) -> int:
    """Write the rows of the last round before that has some in the place of this one's. Returns how many."""
    for before in range(round - 1, 0, -1):
        path = context.folder(before, "curate") / name
        if path.exists() and parquet.count_rows(path):
            tables = parquet.read_tables(path, kind, _ROWS)
            return parquet.write_tables(folder / name, columns.schema(kind), tables)
    return 0


def _instead(rows: int, what: str) -> str:
    return f"{rows} {what} of earlier rounds are used instead" if rows else "nor have earlier rounds any"


def ungradable(trees: list[Tree]) -> list[str]:
    """The ids of problems that were answered, but never gradably: their references are to be looked at."""
    grades: dict[str, set[str]] = {}
    for tree in trees:
        grades.setdefault(tree.problem.id, set()).update(n.grade for n in tree.nodes if n.grade is not None)
    return [problem for problem, found in grades.items() if found == {"ungraded"}]
