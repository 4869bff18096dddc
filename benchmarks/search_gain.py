"""Gains of searching with the PPM in finished runs: over the policy alone, and over the most frequent
answer of the same trees; from the runs' files alone.

    python benchmarks/search_gain.py runs/seed21 runs/seed22 ... [--rounds 1 2 3 4]

Prints for each round, in percent of the held-out problems, means of the runs: the policy alone, greedily; the
search's answer by the runs' own vote; the most frequent answer of the same trees, of equals the first found;
the one answer that the PPM likes best; whether any is right; answers a tree, and tokens a problem that were
sampled for both. Then what the search gains over the first and the third: over runs, the mean of their means
and its 95 percent interval (Student's t), and each run's; and over problems, those of all runs, paired.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import math
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from rstar_jax import parquet, records
from rstar_jax.errors import UserError
from rstar_jax.evaluate.differences import paired
from rstar_jax.evolve.context import run_settings
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.search import votes
from rstar_jax.tasks import Checker
from rstar_jax.tasks.task import Pair
from rstar_jax.types import Tree

# Student's t, two-sided 95 percent, by degrees of freedom.
_T = (math.inf, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


@dataclasses.dataclass
class Row:
    """A problem's outcomes; answers: in its tree."""

    greedy: bool
    search: bool
    frequent: bool
    best: bool
    any: bool
    answers: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, nargs="+", default=[1, 2, 3, 4])
    arguments = parser.parse_args()
    try:
        settings = [run_settings(run) for run in arguments.runs]
    except UserError as error:
        raise SystemExit(str(error).removeprefix("--workdir=")) from None
    print("round  greedy  search  frequent  best    any  answers  tokens")
    gains = list[str]()
    for round in arguments.rounds:
        folders = [run / f"round{round}/evaluate" for run in arguments.runs]
        missing = [str(folder) for folder in folders if not (folder / "DONE.json").exists()]
        if missing:
            raise SystemExit(f"{', '.join(missing)}: no finished evaluation. Run it first, or give --rounds.")
        runs = [rows(folder, options) for folder, options in zip(folders, settings, strict=True)]
        kinds = ("greedy", "search", "frequent", "best", "any")
        means = [statistics.mean(share(of_run, kind) for of_run in runs) for kind in kinds]
        shares = "  ".join(f"{100 * mean:5.1f} " for mean in means)
        every = [row for of_run in runs for row in of_run]
        sampled = sum(
            records.read_signed(folder / "DONE.json")["result"]["tokens"] for folder in folders
        ) / len(every)
        answers = statistics.mean(row.answers for row in every)
        print(f"{round:5}  {shares}  {answers:6.1f}  {sampled:6.0f}", flush=True)
        gains += [f"round {round}, over {word}: {gain(runs, kind)}" for kind, word in OVER.items()]
    print("\n".join(gains), flush=True)


OVER = {"greedy": "greedy", "frequent": "the most frequent answer"}


def rows(folder: Path, settings: RunSettings) -> list[Row]:
    """The outcomes of one round's evaluation, problem by problem."""

    def trees(name: str) -> dict[str, Tree]:
        files = sorted(folder.glob(f"{name}-*.parquet"))
        return {tree.problem.id: tree for file in files for tree in parquet.read_rows(file, Tree)}

    task, sandbox = settings.verify.make_task(), settings.verify.make_sandbox(None)
    alone = trees("policy")
    with sandbox if task.judges is not Pair else contextlib.nullcontext():  # answers are programs
        checker = Checker(task, sandbox)
        return [row(alone[problem], tree, settings, checker) for problem, tree in trees("search").items()]


def row(alone: Tree, tree: Tree, settings: RunSettings, checker: Checker) -> Row:
    """Outcome of one problem, where two answers are one if they are to the run's grader."""
    evaluate, same = settings.evaluate, functools.partial(checker.same, tree.problem)

    def right(vote: str) -> bool:
        found = votes.election(tree, vote, top_k=evaluate.top_k, equal=same, scores=evaluate.scores)
        return bool(found) and tree.nodes[found[0].node].grade == "right"

    finals = votes.finals(tree)
    # Without values the order of the ballots is that of the tree, so that of equals the first found wins.
    unvalued = [votes.Ballot(tree.nodes[i].answer or "", None, i) for i in finals]
    most = max(votes.classes(unvalued, same), key=lambda of: of.count, default=None)
    first = most and next(ballot.node for ballot in unvalued if ballot.answer == most.answer)
    return Row(
        greedy=any(node.grade == "right" for node in alone.nodes),
        search=right(evaluate.vote),
        frequent=first is not None and tree.nodes[first].grade == "right",
        best=right("best"),
        any=tree.solved,
        answers=len(finals),
    )


def share(rows: Sequence[Row], kind: str) -> float:
    return statistics.mean(getattr(row, kind) for row in rows)


def gain(runs: Sequence[Sequence[Row]], kind: str) -> str:
    """Points that the search gains over another way, with both intervals, as a line."""
    every = [row for rows in runs for row in rows]
    found = paired([getattr(row, kind) for row in every], [row.search for row in every])
    value, low, high = (f"{100 * number:+.1f}" for number in (found.value, found.low, found.high))
    line = f"over problems {value}, {low} to {high}, {found.better} better and {found.worse} worse"
    if len(runs) < 2:
        return line
    means = [100 * (share(rows, "search") - share(rows, kind)) for rows in runs]
    half = _T[min(len(runs) - 1, len(_T) - 1)] * statistics.stdev(means) / math.sqrt(len(runs))
    middle, each = statistics.mean(means), ", ".join(f"{mean:+.1f}" for mean in means)
    return f"over runs {middle:+.1f}, {middle - half:+.1f} to {middle + half:+.1f} ({each}); {line}"


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # as behind `| head -1`; nor does the interpreter's end try again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
