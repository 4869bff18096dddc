"""Trees inside report.html: as many problems as fit into a number of bytes, each with all of its trees.

A problem is shown in every round or not at all, so that its rounds can be compared. The problems are taken
in turn from groups: solved in the first round, in the second, ..., never, with a failed step or without;
those whose label may be wrong come first.
"""

from __future__ import annotations

import dataclasses
import shlex
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rstar_jax import records
from rstar_jax.errors import UserError
from rstar_jax.report.page.markup import Markup, element
from rstar_jax.report.viewer import page_files
from rstar_jax.report.viewer.lessons import Lessons, marked
from rstar_jax.report.viewer.problems import SOLVED, Problems, suspect_ids
from rstar_jax.report.viewer.tree_block import as_block, tree_block
from rstar_jax.report.viewer.tree_index import TreeIndex, tree_table
from rstar_jax.report.viewer.vote import reward_of, vote_of

MB = 2**20
BUDGET = 8 * MB  # bytes of trees in a report
_OF_TREE, _OF_NODE = 400, 60  # bytes of a block, about: candidates are read by this, then weighed


@dataclasses.dataclass(frozen=True)
class Walk:
    """The tree viewer as part of a page. body: its element and the trees, as data. shown, total: problems."""

    body: Markup
    script: str
    style: str
    shown: int
    total: int


def embedded(workdir: Path, budget: int = BUDGET) -> Walk | None:
    """Return the viewer with trees of a workdir, at most `budget` bytes of them; None where it has no tree.

    Files that cannot be read are left out; the page names them. Writes nothing.
    """
    index = TreeIndex(workdir, keep=False).read_all()
    table = index.table()
    if not len(table):
        return None
    problems = Problems(table, suspect_ids(workdir))
    blocks = _blocks(workdir, problems, _in_turn(problems, table), budget)
    rows, data, left = [], [], budget
    for place, of_problem in blocks:
        size = sum(len(block) for block in of_problem)
        if size > left:
            continue
        left -= size
        row = problems.rows(np.array([place]))[0]
        for tree, block in zip(row["trees"], of_problem, strict=True):
            tree.append(len(data))
            data.append(_inert(f"walk-tree-{len(data)}", block))
        rows.append((place, row))
    command = f"python -m rstar_jax.launch --config=view --workdir={shlex.quote(str(workdir))}"
    facts = problems.facets(index.causes)
    facts |= {"shown": len(rows), "command": command, "unreadable": index.unreadable}
    found = as_block({"facets": facts, "problems": [row for _, row in sorted(rows, key=lambda row: row[0])]})
    body = [
        element("div", element("p", _WITHOUT), {"class": "walk", "data-source": "walk-problems"}),
        _inert("walk-problems", found),
        *data,
    ]
    return Walk(Markup("".join(body)), page_files.script(), page_files.style(), len(rows), len(problems))


_WITHOUT = "The trees are drawn by a script of this page; this browser runs none."


def _inert(id: str, block: str) -> Markup:
    """An element that holds a block and that no browser runs."""
    return element("script", Markup(block), {"type": "text/plain", "id": id})


def _in_turn(problems: Problems, table: pa.Table) -> np.ndarray:
    """Return the places of all problems: one of each group, then the next of each, and so on."""
    n, of = len(problems), problems.of
    outcome, rounds, sets = (table[name].to_numpy() for name in ("outcome", "round", "set"))
    solved, first, kind = outcome == SOLVED, np.full(n, 1 << 20), np.full(n, 9)
    np.minimum.at(first, of[solved], rounds[solved])
    np.minimum.at(kind, of, sets)
    failed = np.bincount(of[table["causes"].to_numpy() != 0], minlength=n) > 0
    group = np.unique(np.stack([~problems.suspect, kind, first, ~failed]), axis=1, return_inverse=True)[1]
    # Few files hold most of what is taken: problems of one block lie together in every round.
    names = table["file"].take(problems.first).combine_chunks().dictionary_encode()
    crc = np.array([zlib.crc32(name.encode()) for name in names.dictionary.to_pylist()])
    block = crc[names.indices.to_numpy()]
    mixed = np.arange(n) * 2_654_435_761 % 2**32
    order = np.lexsort((mixed, block, group))
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    turn = np.empty(n, np.int64)
    turn[order] = np.arange(n) - starts[group[order]]
    return np.lexsort((group, turn))


def _blocks(
    workdir: Path, problems: Problems, order: np.ndarray, budget: int
) -> Iterator[tuple[int, list[str]]]:
    """Yield problems in this order with the blocks of their trees, about twice as many as fit. Every file is
    read once."""
    made, by_file, estimate = dict[int, list[str]](), dict[str, list[tuple[int, int, int]]](), 0
    for place in order.tolist():
        if estimate > 2 * budget:
            break
        rows = problems.rows_of(place)
        size = _OF_TREE * len(rows) + _OF_NODE * int(rows["nodes"].to_numpy().sum())
        if size > 2 * budget:  # would leave no room for others, and fit neither
            continue
        estimate += size
        made[place] = [""] * len(rows)
        for n, (file, row) in enumerate(zip(rows["file"].to_pylist(), rows["row"].to_pylist(), strict=True)):
            by_file.setdefault(file, []).append((row, place, n))
    lessons, vote = Lessons(workdir), vote_of(workdir)
    named: dict[str, Any] = {"reward": reward_of(workdir)}
    for file, of_file in by_file.items():
        of_file.sort()
        try:
            trees = tree_table(workdir, file, [row for row, _, _ in of_file])
        except (records.Damaged, UserError):  # joined or changed meanwhile: its problems are left out
            continue
        blocks = [tree_block(trees, i) | named for i in range(len(of_file))]
        if file.split("/")[-2] == "search":
            rows = lessons.of_many(blocks[0]["round"], [block["problem"]["id"] for block in blocks])
            blocks = [block | marked(block, rows[block["problem"]["id"]]) for block in blocks]
        elif vote and "/evaluate/search-" in file:
            blocks = [block | vote.taken(block) for block in blocks]
        for (_, place, n), block in zip(of_file, blocks, strict=True):
            made[place][n] = as_block(block)
    yield from ((place, blocks) for place, blocks in made.items() if all(blocks))
