"""Trees on disk: a tree counts once it is there, and what is there is never searched again.

    NAME-000017.tree      the tree of problem 17, from when it finished until its block is complete
    NAME-00002.parquet    a shard: the trees of a block of consecutive problems, in their order

Both are Parquet files, whole or absent (`records`). A block's trees are joined into its shard once all are
there, and go after it is. Whatever moment a process is killed at, every finished tree lies in its own file,
in its shard, or in both, where the shard holds; the next one searches the others alone. Trees depend on
names and not on each other, so that the shards are those of an unbroken run, but for CPU seconds. That holds
on one machine with one set of cores: compiled programs add up in an order that follows the processor and the
threads it has, so that on others log-probabilities and PPM values differ in their last digits.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import itertools
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from rstar_jax import columns, records
from rstar_jax.data.problem_set import Selected
from rstar_jax.search import Queues, SearchConfig, SearchStats, watch_trees
from rstar_jax.types import Problem, Tree

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


class Shards:
    """The files of one search: one tree for each of `problems`, `size` of them in a shard.

    name: what their names begin with. What the folder holds of it is read and counted when this is made;
    damaged files, and those of other problems or another source, are moved aside. index, count: of the hosts
    that make one of these at a time and tell each other (`packed`, `learn`); each reads its share.
    done: how many trees are on disk. found: how many were before this began to search. solved: the ids of
    solved problems among them. trajectories: in them. own_done, own_trajectories: without what others told.
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
        self.done, self.solved, self.trajectories = 0, set[str](), 0
        self.own_done = self.own_trajectories = 0
        self.name, self.problems, self.source, self.size = name, problems, source, size
        self._folder, self._alone = folder, count == 1
        # Of each tree on disk 1 + 2 * its trajectories + whether it is solved; 0: none. Others' are `_known`.
        self._trees = np.zeros(len(problems), np.int32)
        self._known = np.zeros(len(problems), bool)
        names = {path.name for path in folder.iterdir()} if folder.exists() else set[str]()
        for number in range(index, self._count, count):
            self._find(number, self.block(number), names)
        self.found = self.done

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
            on_stored(self.problems[int(place)].id for place in np.flatnonzero(self._trees))
        places = np.flatnonzero(self._trees == 0)
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
        for number in range(self._count):
            yield from records.read_rows(self.shard(number), Tree)

    def add(self, place: int, tree: Tree) -> None:
        """Put a problem's tree on disk. Raises UserError where it cannot be written."""
        tree = dataclasses.replace(tree, **vars(self.source))
        records.write_rows(self.single(place), Tree, [tree])
        self._take(place, tree)

    def join(self, number: int) -> None:
        """Make a block's shard of its trees, if all are known to be there. Raises UserError as `add`."""
        block, shard = self.block(number), self.shard(number)
        if self._alone and not self._trees[block.start : block.stop].all():
            return
        singles = [self.single(place) for place in block]
        try:
            records.join_rows(shard, Tree, singles)
        except records.Damaged:
            # Another host that this one is believed dead by, or believed to be dead, was faster.
            if self._alone or not shard.exists() or self._read(shard, block) is None:
                raise
        for single in singles:
            single.unlink(missing_ok=True)

    # What several hosts tell each other.

    def packed(self, mine: bool = False) -> str:
        """Say which trees are on disk, with their counts. mine: without what others told."""
        trees = np.where(self._known, 0, self._trees) if mine else self._trees
        return base64.b64encode(zlib.compress(trees.astype("<i4").tobytes(), 1)).decode()

    def learn(self, packed: str) -> None:
        """Hear which trees are on disk, of whoever `packed` it."""
        trees = np.frombuffer(zlib.decompress(base64.b64decode(packed)), "<i4")
        for place in np.flatnonzero((trees > 0) & (self._trees == 0)):
            self._count_tree(int(place), int(trees[place]))
            self._known[place] = True

    def lacking_by_block(self) -> np.ndarray:
        """Return of each block how many of its trees are not on disk: [blocks] int."""
        lacking = np.zeros((self._count, self.size), int)
        lacking.reshape(-1)[: len(self._trees)] = self._trees == 0
        return lacking.sum(axis=1)

    def lacking(self, places: Sequence[int], look: bool) -> list[int]:
        """Return which problems of a block have no tree. look: whether others may have put some on disk."""
        if look and places:
            number = places[0] // self.size
            paths = (self.shard(number), *map(self.single, places))
            self._find(number, places, {path.name for path in paths if path.exists()})
        return [place for place in places if not self._trees[place]]

    @property
    def _count(self) -> int:
        return -(-len(self.problems) // self.size)

    def block(self, number: int) -> range:
        """Return the places of a block's problems."""
        return range(number * self.size, min((number + 1) * self.size, len(self.problems)))

    def single(self, place: int) -> Path:
        """Name the file of one problem's tree."""
        return self._folder / f"{self.name}-{place:06d}.tree"

    def shard(self, number: int) -> Path:
        """Name the file of a block's trees."""
        return self._folder / f"{self.name}-{number:05d}.parquet"

    def _find(self, number: int, places: Sequence[int], names: set[str]) -> None:
        """Takes what there is of some places of a block; beside its shard the single files are left over."""
        block, shard = self.block(number), self.shard(number)
        whole = self._read(shard, block) if shard.name in names else None
        if whole is not None:
            for place, tree in zip(block, whole, strict=True):
                self._take(place, tree)
        for place in places:
            single = self.single(place)
            if single.name not in names:
                continue
            if whole is not None:
                single.unlink(missing_ok=True)
            elif found := self._read(single, [place]):
                self._take(place, found[0])
        if whole is None and len(places) == len(block) and self._trees[block.start : block.stop].all():
            self.join(number)

    def _take(self, place: int, tree: Tree) -> None:
        if not self._trees[place]:
            trajectories = len(tree.trajectories())
            self.own_done += 1
            self.own_trajectories += trajectories
            self._count_tree(place, 1 + 2 * trajectories + tree.solved)

    def _count_tree(self, place: int, counts: int) -> None:
        self._trees[place] = counts
        self.done += 1
        self.trajectories += (counts - 1) // 2
        if (counts - 1) % 2:
            self.solved.add(self.problems[place].id)

    def _read(self, path: Path, places: Sequence[int]) -> list[Tree] | None:
        """A file's trees; None if it was moved aside as damaged or of something else."""
        try:
            trees = records.read_rows(path, Tree)
            if [tree.problem for tree in trees] != [self.problems[place] for place in places]:
                raise records.Damaged(path, "not of the problems that belong here")
            if not all(map(self.source.made, trees)):
                raise records.Damaged(path, "searched with another seed or other models than belong here")
            return trees
        except records.Damaged as error:
            aside = records.quarantine(path)
            logging.warning("%s It was moved to %s and is made again.", error, aside.name)
            return None


def read_trees(folder: Path) -> list[Tree]:
    """All trees of a finished search stage, in the order searched."""
    return list(stored_trees(_shards_of(folder)))


def count_trees(folder: Path) -> int:
    """Count the trees of a finished search stage without reading them."""
    return sum(map(records.count_rows, _shards_of(folder)))


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
        for table in records.read_tables(path, Tree, _TREES):
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


def joined(path: Path, size: int) -> tuple[Path, int] | None:
    """The shard that a single tree's file is joined into, and its row there; None for any other file."""
    name = re.fullmatch(r"(.+)-(\d+)\.tree", path.name)
    if name is None:
        return None
    number, row = divmod(int(name[2]), size)
    return path.with_name(f"{name[1]}-{number:05d}.parquet"), row


def in_order(path: Path) -> list[str | int]:
    """A key that sorts files and folders by the numbers in their names: trees-2 comes before trees-10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(path))]
