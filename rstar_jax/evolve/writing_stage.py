"""The first stage of a synthesis: a policy writes problems, for one host or several.

written-00002.parquet       a block of problems as they were written
written-000017.problem      one of them, of several hosts, until its block is complete (`blocks.py`)
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rstar_jax import records
from rstar_jax.evolve import joint_search
from rstar_jax.evolve.blocks import Blocks
from rstar_jax.evolve.synthesis import Synthesis, Written, asked, of_all, room
from rstar_jax.queues import Coded, Known, Queue
from rstar_jax.search import Leaf
from rstar_jax.tasks.writing import Writing
from rstar_jax.types import Candidate, Problem

NEW = "written"  # what its files begin with
_SINGLE = ".problem"


class WrittenProblems(Blocks[Written]):
    """The files of so many problems that are written. index, count: as of `Blocks`."""

    def __init__(self, folder: Path, problems: int, *, size: int, index: int = 0, count: int = 1) -> None:
        super().__init__(
            folder, NEW, problems, kind=Written, suffix=_SINGLE, size=size, index=index, count=count
        )

    def counted(self, row: Written) -> int:
        return 1

    def require(self, path: Path, rows: Sequence[Written], places: Sequence[int]) -> None:
        if [row.id for row in rows] != [_name(place) for place in places]:
            raise records.Damaged(path, "not of the problems that belong here")


def write(synthesis: Synthesis, folder: Path) -> dict[str, Any]:
    """Have problems written: a file for each block of them, whole or absent. Every host calls this; what the
    first returns is the result."""
    s, progress, team = synthesis.settings, synthesis.progress, joint_search.team_of(folder)
    blocks = WrittenProblems(folder, s.count, size=synthesis.BLOCK, index=team.index, count=team.count)
    joint_search.meet(blocks, team)
    done = functools.partial(of_all, folder, suffix=_SINGLE)
    if blocks.done == s.count:
        used = done({})
    else:
        writing = Writing(synthesis.task.writing)
        at_work = asked(synthesis, synthesis.writer, writing, folder, s.writer_option, s.most_tokens)
        with at_work as reasoner, progress.stage("write problems", s.count, "problems", done=blocks.done):
            queue = _queue(synthesis, writing, reasoner.queues(0, NEW).propose)
            most = 2 * max(blocks.size, s.served.slots)
            if team.count == 1:
                _alone(synthesis, blocks, queue, most, reasoner)
            else:
                _together(synthesis, blocks, queue, most, reasoner, team)
            used = done(reasoner.result())
    if team.index:
        return {}
    faults = Counter(row.fault for row in blocks.rows())
    written = faults.pop("", 0)
    return {"asked": s.count, "written": written, "lost": dict(faults.most_common()), **used}


def _queue(
    synthesis: Synthesis, writing: Writing, propose: Queue[Leaf, list[Candidate]]
) -> Queue[int, Written]:
    """A queue of numbers of problems, which has them written."""
    fits, s, shown = (
        room(synthesis, synthesis.writer, writing),
        synthesis.settings,
        dict[int, list[Problem]](),
    )

    def request(i: int) -> Leaf | Known[Written]:
        """Draw the seeds of problem `i`, as many as there is room for, and make the prompt of them."""
        seeds = synthesis.seeds
        places = random.Random(f"{s.seed}/{i}").sample(range(len(seeds)), min(s.shown, len(seeds)))
        drawn = [seeds[place] for place in places]
        while drawn and not fits(writing.ask(drawn)):
            drawn.pop()
        if not drawn:
            return Known(Written(_name(i), "", (), "no room for its prompt"))
        shown[i] = drawn
        return Leaf(Problem(_name(i), writing.ask(drawn), ""), (), 0, 0, 1, s.writer_temperature)

    def written(i: int, candidates: list[Candidate]) -> Written:
        (candidate,) = candidates
        fault = "" if candidate.finish == "answer" else candidate.fault or "too long"
        seeds = tuple(seed.id for seed in shown.pop(i))
        return Written(_name(i), writing.written(candidate.text), seeds, fault)

    return Coded(propose, request, written)


def _alone(
    synthesis: Synthesis, blocks: WrittenProblems, queue: Queue[int, Written], most: int, reasoner: Any
) -> None:
    """Have one host write what is not there, a block at once. most: problems under way, about."""
    left = [number for number, lacking in enumerate(blocks.lacking_by_block()) if lacking]
    desk = _Desk(queue, blocks)
    reasoner.settled(NEW, map(_name, blocks.there()))
    while left or desk.open:
        # Counted by requests: a slow one holds its block, and no slot but its own.
        while left and desk.under_way < most:
            desk.begin(left.pop(0))
        for number, rows in desk.poll():
            blocks.add_block(number, rows)
            reasoner.settled(NEW, [row.id for row in rows])
            synthesis.progress.update(blocks.done)


def _together(
    synthesis: Synthesis,
    blocks: WrittenProblems,
    queue: Queue[int, Written],
    most: int,
    reasoner: Any,
    team: joint_search.Team,
) -> None:
    """The same by several hosts, each of which puts every problem on disk as it comes."""

    def request(place: int) -> int:
        reasoner.begins(NEW, blocks.shard(place // blocks.size).stem, _name(place))
        return place

    joint_search.make_rows(
        blocks,
        queue,
        request,
        most,
        team,
        on_turn=lambda done, _: synthesis.progress.update(done),
        on_stored=lambda place: reasoner.settled(NEW, [_name(place)]),
        on_wait=lambda what: synthesis.progress.update(doing=what),
    )
    synthesis.progress.update(blocks.done)


class _Desk:
    """Blocks of problems that one host has written. open: of each block the rows that have come, by place."""

    def __init__(self, queue: Queue[int, Written], blocks: WrittenProblems) -> None:
        self._queue, self._blocks = queue, blocks
        self.open: dict[int, dict[int, Written]] = {}
        self._lacking: dict[int, list[int]] = {}  # of each block, before it was begun
        self._asked: dict[int, int] = {}  # by ticket: the problem's place

    @property
    def under_way(self) -> int:
        """How many problems are asked for and have not come."""
        return len(self._asked)

    def begin(self, number: int) -> None:
        """Ask for the problems of a block."""
        lacking = self._blocks.lacking(self._blocks.block(number), look=False)
        self.open[number], self._lacking[number] = {}, lacking
        self._asked |= zip(self._queue.submit(lacking), lacking, strict=True)

    def poll(self) -> list[tuple[int, list[Written]]]:
        """Wait for a problem; return the blocks that are whole."""
        for ticket, row in self._queue.poll(block=True):
            place = self._asked.pop(ticket)
            self.open[place // self._blocks.size][place] = row
        whole = [number for number, rows in self.open.items() if len(rows) == len(self._lacking[number])]
        found = [(number, self.open.pop(number)) for number in whole]
        return [(number, [rows[place] for place in self._lacking.pop(number)]) for number, rows in found]


def _name(i: int) -> str:
    return f"new-{i}"
