"""What a user gives to train on, trees included: of those, solutions and pairs are curated as a round's."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rstar_jax import records
from rstar_jax.curate import CurateConfig, Curated, Reward, StepValues, curate
from rstar_jax.data.examples import Tally
from rstar_jax.data.pairs import read_pairs
from rstar_jax.data.readers import files_of
from rstar_jax.data.rows import Given, given_row, read_given
from rstar_jax.data.tables import OnBad, Place, raise_it, unfit
from rstar_jax.data.tree_files import holds_trees, of_problems
from rstar_jax.errors import Unfit, UserError
from rstar_jax.evolve.given_values import read_values
from rstar_jax.settings import home_expanded
from rstar_jax.tasks.task import Task
from rstar_jax.types import PreferencePair


def given_files(spec: str, option: str, forms: str) -> list[Path]:
    """The files that an option names: one, or those of a folder. Raises UserError naming the option."""
    path = home_expanded(Path(spec), option)
    try:
        there = bool(spec) and path.exists()
    except OSError:  # a name that is too long, a folder that may not be entered
        there = False
    if not there:
        raise UserError(
            f"{option}: {spec!r} given, a file that exists, or a folder of such files, expected: JSON lines, "
            f"a JSON array or Parquet. Its rows: {forms}."
        )
    return files_of(path, option)


def digest_of(files: Sequence[Path]) -> str:
    """One digest of all files: that of a single one, or of all of theirs."""
    return " ".join(records.digest(file)[: 64 if len(files) == 1 else 16] for file in files)


def solutions(
    files: Sequence[Path],
    task: Task,
    *,
    limit: int = 0,
    on_read: Callable[[int], None] = lambda _: None,
    on_bad: OnBad = raise_it,
) -> list[Given]:
    """The solutions of files, the first `limit` of them if that is not 0: rows as they are, and of trees the
    best right trajectories of each problem.

    Rows come before trees. on_bad: told of file and line of what is none, and raises, or has it passed over.
    Raises UserError naming a file in which nothing is left.
    """
    trees, found = [file for file in files if holds_trees(file)], list[Given]()
    for one in (*([file] for file in files if file not in trees), trees):
        room = limit - len(found)
        if not one or (limit and not room):
            continue
        told = functools.partial(_more, on_read, len(found))
        if one is trees:
            found += _taught(trees, task, limit=room if limit else 0, on_read=told, on_bad=on_bad)
        else:
            found += read_given(one[0], task, limit=room if limit else 0, on_read=told, on_bad=on_bad)
    return found


def _more(on_read: Callable[[int], None], before: int, count: int) -> None:
    on_read(before + count)


def _taught(
    files: Sequence[Path], task: Task, *, limit: int, on_read: Callable[[int], None], on_bad: OnBad
) -> list[Given]:
    """Solutions that the trees of files teach a policy."""
    file = files[0] if len(files) == 1 else files[0].parent
    rows = (row for of_problem in _curated(files, CurateConfig(), on_bad) for row in of_problem.sft)
    found = []
    for number, row in enumerate(itertools.islice(rows, limit or None), start=1):
        try:
            found.append(given_row(row, task, Place(file, "solution", number)))
        except UserError as error:
            on_bad(unfit(error))
        on_read(number)
    if not found:
        raise UserError(f"{file}: none of its trees has a right answer that could be taught.")
    return found


def examples(
    files: Sequence[Path],
    task: Task,
    config: CurateConfig,
    tally: Tally,
    reward: Reward = "ppm",
    on_read: Callable[[int], None] = lambda _: None,
) -> Iterator[PreferencePair | StepValues]:
    """Yield what a reward model learns of files: pairs, for an "orm" those of whole solutions, or values of
    steps for a "pqm"; of trees what `config` chooses. tally: counts what is read and lost."""
    trees = [file for file in files if holds_trees(file)]
    for of_problem in _curated(trees, config, tally.refuse, reward):
        tally.read += 1
        for reason, count in of_problem.dropped.items():
            tally.lost[f"of trees, {reason}"] += count
        found = of_problem.values if reward == "pqm" else of_problem.pairs
        if not found:
            tally.lose(Unfit(f"problems whose trees {_NOTHING[reward]}", ""))
        yield from found
        on_read(tally.read)
    rows = [file for file in files if file not in trees]
    if rows and reward == "pqm":
        yield from read_values(rows, task, tally, on_read)
    elif rows:
        for pair in read_pairs(rows, task, tally, on_read):
            if pair.final or reward == "ppm":
                yield pair
            else:
                tally.lose(Unfit("pairs of steps, of which an ORM learns nothing", ""))


_NOTHING: dict[Reward, str] = {
    "ppm": "compare nothing",
    "pqm": "lead to no graded answer",
    "orm": "have no right and wrong solution to compare",
}


def _curated(
    files: Sequence[Path], config: CurateConfig, on_bad: OnBad, reward: Reward = "ppm"
) -> Iterator[Curated]:
    """Curate the trees of each problem, those of a round together as the round did."""
    for trees in of_problems(files, on_bad):
        yield curate(trees, config, trees[0].round, reward)
