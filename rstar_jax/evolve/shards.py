"""Trees on disk: a tree counts once it is there, and what is there is never searched again.

    NAME-000017.tree      the tree of problem 17, from when it finished until its block is complete
    NAME-00002.parquet    a shard: the trees of a block of consecutive problems, in their order (`blocks.py`)

Trees depend on names and not on each other, so that the shards are those of an unbroken run, but for CPU
seconds. That holds on one machine with one set of cores: compiled programs add up in an order that follows
the processor and the threads it has, so that on others log-probabilities and PPM values differ in their last
digits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from rstar_jax import columns, parquet, records
from rstar_jax.data.problem_set import Selected
from rstar_jax.evolve.blocks import Blocks
from rstar_jax.search import Queues, SearchConfig, SearchStats, watch_trees
from rstar_jax.types import Problem, Tree

TREE = ".tree"  # what the file of a single one ends with
_TREES = 16  # in memory at a time
# Called as a search goes on: trees on disk, trajectories found in all, unfinished trees included, and what
# estimates the seconds that are left (`SearchStats.left`).
OnProgress = Callable[[int, int, Callable[[], float | None]], None]
# Called with the ids of problems whose trees are on disk: of all that were there before, then of each.
OnStored = Callable[[Iterable[str]], None]


@dataclasses.dataclass(frozen=True)
class Source:
    """Origin of the trees of a search; each tree names it. Fields as in `types.Tree`."""

    round: int
    tree_index: int = 0
    seed: int = 0
    policy: str = ""
    ppm: str = ""

    def made(self, tree: Tree) -> bool:
        """Return whether it is the source of this tree."""
        return all(getattr(tree, name) == value for name, value in vars(self).items())


class Shards(Blocks[Tree]):
    """The files of one search: one tree for each of `problems`, as `Blocks` of them. Trees of other problems
    or another source are not taken.

    solved: the ids of solved problems whose trees are on disk. trajectories: in these. own_trajectories:
    without what others told.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        problems: Sequence[Problem],
        source: Source,
        *,
        size: int,
        index: int = 0,
        count: int = 1,
    ):
        self.solved, self.trajectories, self.own_trajectories = set[str](), 0, 0
        self.problems, self.source = problems, source
        places = len(problems)
        super().__init__(folder, name, places, kind=Tree, suffix=TREE, size=size, index=index, count=count)

    def grow(
        self,
        queues: Queues,
        config: SearchConfig,
        *,
        training: bool = False,
        on_progress: OnProgress | None = None,
        on_stored: OnStored | None = None,
    ) -> None:
        """Searches the problems that have no tree yet, all in one search; each tree is on disk as it ends.

        Parameters as of `search.grow_trees`. Raises UserError where a tree cannot be written: those before
        it stay.
        """
        if on_stored is not None and self.done:
            on_stored(self.problems[place].id for place in self.there())
        places = np.flatnonzero(self._counts == 0)
        if not len(places):
            return
        source, before = self.source, self.trajectories

        def tell(stats: SearchStats) -> None:
            if on_progress is not None:
                on_progress(self.done, before + stats.trajectories, stats.left)

        search = watch_trees(
            Selected(self.problems, places),
            queues,
            config,
            round=source.round,
            tree_index=source.tree_index,
            training=training,
            on_progress=tell,
        )
        with contextlib.closing(search) as told:
            for index, made in told:
                if isinstance(made, Tree):
                    self.add(int(places[index]), made)
                    self.join(int(places[index]) // self.size)
                    if on_stored is not None:
                        on_stored([made.problem.id])

    def trees(self) -> Iterator[Tree]:
        """All trees in the order of the problems, once all are done; in memory is one shard at a time."""
        return self.rows()

    def add(self, place: int, row: Tree) -> None:
        super().add(place, dataclasses.replace(row, **vars(self.source)))

    def counted(self, row: Tree) -> int:
        return 1 + 2 * len(row.trajectories()) + row.solved

    def noted(self, place: int, counted: int, is_own: bool) -> None:
        super().noted(place, counted, is_own)
        trajectories, is_solved = divmod(counted - 1, 2)
        self.trajectories += trajectories
        self.own_trajectories += trajectories * is_own
        if is_solved:
            self.solved.add(self.problems[place].id)

    def require(self, path: Path, rows: Sequence[Tree], places: Sequence[int]) -> None:
        if [tree.problem for tree in rows] != [self.problems[place] for place in places]:
            raise records.Damaged(path, "not of the problems that belong here")
        if not all(map(self.source.made, rows)):
            raise records.Damaged(path, "searched with another seed or other models than belong here")


def read_trees(folder: Path) -> list[Tree]:
    """All trees of a finished search stage, in the order searched."""
    return list(stored_trees(_shards_of(folder)))


def count_trees(folder: Path) -> int:
    """Count the trees of a finished search stage without reading them."""
    return sum(map(parquet.count_rows, _shards_of(folder)))


def problem_trees(folder: Path) -> Iterator[list[Tree]]:
    """Yield the trees of each problem of a finished search stage together, in the order searched; few are in
    memory at a time.

    The stage searches all problems, then some of those again, in their order, and so on: of all these
    searches the next trees are those of one problem, where they have one.
    """
    searches = itertools.groupby(_shards_of(folder), lambda path: path.name.rpartition("-")[0])
    streams = [stored_trees([*paths]) for _, paths in searches]
    heads = [next(stream, None) for stream in streams]
    while first := next(filter(None, heads), None):
        found = list[Tree]()
        for number, stream in enumerate(streams):
            while (head := heads[number]) and head.problem.id == first.problem.id:
                found.append(head)
                heads[number] = next(stream, None)
        yield found


def _shards_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("trees-*.parquet"), key=in_order)


def stored_trees(files: Iterable[Path]) -> Iterator[Tree]:
    """Yield the trees of shards, in the order of their problems; a few are in memory at a time. Raises
    Damaged for what is no tree."""
    for path in files:
        for table in parquet.read_tables(path, Tree, _TREES):
            for row in table.to_pylist():
                tree = columns.build(Tree, row)
                try:
                    tree.check()
                except ValueError as error:
                    raise records.Damaged(path, str(error)) from error
                yield tree


def tree_files(folder: Path, size: int) -> list[Path]:
    """The files of a stage that may be under way: each tree in one of them, in the order searched.

    size: of its shards. A single file may be joined into its shard before it is read (`joined`).
    """
    # Single files first: what is joined meanwhile is found in its shard.
    singles, shards = list(folder.glob("*.tree")), set(folder.glob("*.parquet"))
    open_ = [single for single in singles if (place := joined(single, size)) and place[0] not in shards]
    return sorted([*shards, *open_], key=in_order)


def joined(path: Path, size: int, suffix: str = TREE) -> tuple[Path, int] | None:
    """The shard that a single tree's file is joined into, and its row there; None for any other file.

    suffix: of other rows in the place of trees.
    """
    name = re.fullmatch(rf"(.+)-(\d+){re.escape(suffix)}", path.name)
    if name is None:
        return None
    number, row = divmod(int(name[2]), size)
    return path.with_name(f"{name[1]}-{number:05d}.parquet"), row


def in_order(path: Path) -> list[str | int]:
    """A key that sorts files and folders by the numbers in their names: trees-2 comes before trees-10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(path))]
