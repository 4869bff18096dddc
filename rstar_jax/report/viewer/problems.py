"""The problems of an index of trees: filtered, counted, a page of them at a time. All on columns."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from rstar_jax.report.viewer.tree_index import OUTCOMES, SETS

pc: Any = pyarrow.compute  # most of its functions are made when it is imported: no type checker sees them

MOST_QUESTION = 240  # characters of a question in a list
SOLVED, WRONG = OUTCOMES.index("solved"), OUTCOMES.index("wrong")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Problems that are asked for.

    text: words that id or question hold, in any case. outcome: "solved" (by some tree), "unsolved" (by
        none), "wrong" (unsolved, with answers), "none" (no tree has an answer), "gained" and "lost" (between
        its first tree and its last); "suspect" (its label may be wrong), "" any.
    cause: bit of a cause that a step of some tree failed by, or 0. level, round, set: -1 any; outcome and
        cause are then of the trees of that round and set.
    """

    text: str = ""
    outcome: str = ""
    cause: int = 0
    level: int = -1
    round: int = -1
    set: int = -1


class Problems:
    """The problems of an index's table, in the order in which they are first met there.

    of: [trees] the problem of each. first: [problems] the first tree of each. suspect: [problems] whether its
        label may be wrong.
    """

    def __init__(self, table: pa.Table, suspects: frozenset[str] = frozenset()):
        """suspects: ids of problems whose label may be wrong."""
        self._table = table
        ids = pa.chunked_array(table["problem_id"]).combine_chunks().dictionary_encode()
        self.of = ids.indices.to_numpy()
        self._ids = ids.dictionary
        self._trees = np.argsort(self.of, kind="stable")
        self._starts = np.searchsorted(self.of[self._trees], np.arange(len(self._ids) + 1))
        self.first = self._trees[self._starts[:-1]]
        self._level = table["level"].to_numpy()[self.first]
        self._question = table["question"].take(self.first)
        self.suspect = pc.is_in(self._ids, pa.array(sorted(suspects), pa.string())).to_numpy(
            zero_copy_only=False
        )
        self._round, self._set = table["round"].to_numpy(), table["set"].to_numpy()
        self._outcome, self._causes = table["outcome"].to_numpy(), table["causes"].to_numpy()

    def __len__(self) -> int:
        return len(self._ids)

    def found(self, wanted: Wanted) -> np.ndarray:
        """Return the places of the problems that are asked for, in order."""
        trees = np.ones(len(self.of), bool)
        if wanted.round >= 0:
            trees &= self._round == wanted.round
        if wanted.set >= 0:
            trees &= self._set == wanted.set
        there = self._any(trees)
        if wanted.cause:
            there &= self._any(trees & (self._causes & wanted.cause != 0))
        if wanted.level >= 0:
            there &= self._level == wanted.level
        for word in wanted.text.split():
            hit = pc.or_(
                pc.match_substring(self._ids, word, ignore_case=True),
                pc.match_substring(self._question, word, ignore_case=True),
            )
            there &= hit.to_numpy(zero_copy_only=False)
        return np.flatnonzero(there & self._with_outcome(wanted.outcome, trees))

    def _any(self, trees: np.ndarray) -> np.ndarray:
        """For every problem whether one of its trees is among `trees`, a mask."""
        return np.bincount(self.of[trees], minlength=len(self)) > 0

    def _with_outcome(self, outcome: str, trees: np.ndarray) -> np.ndarray:
        solved = self._outcome == SOLVED
        some = self._any(trees & solved)
        if outcome in ("gained", "lost"):
            chosen = self._trees[trees[self._trees]]  # in order, of the trees that count
            of = self.of[chosen]
            first, last = np.zeros(len(self), bool), np.zeros(len(self), bool)
            last[of] = solved[chosen]  # of equal places the last one stays
            first[of[::-1]] = solved[chosen[::-1]]
            return ~first & last if outcome == "gained" else first & ~last
        rows = {
            "solved": some,
            "unsolved": ~some,
            "wrong": ~some & self._any(trees & (self._outcome == WRONG)),
            "none": ~self._any(trees & (self._outcome > 0)),
            "suspect": self.suspect,
        }
        return rows.get(outcome, np.ones(len(self), bool))

    def rows(self, places: np.ndarray) -> list[dict[str, Any]]:
        """Return problems as JSON: id, question, level, whether suspect, and [set, round, tree_index,
        outcome, nodes, causes] of each tree."""
        found = []
        for place in places:
            trees = self._trees[self._starts[place] : self._starts[place + 1]]
            of = self._table.take(trees)
            columns = [of[name].to_pylist() for name in _OF_TREE]
            found.append(
                {
                    "id": self._ids[place].as_py(),
                    "question": self._question[place].as_py()[:MOST_QUESTION],
                    "level": int(self._level[place]),
                    "suspect": bool(self.suspect[place]),
                    "trees": [list(values) for values in zip(*columns, strict=True)],
                }
            )
        return found

    def rows_of(self, place: int) -> pa.Table:
        """Return the index's rows of a problem."""
        return self._table.take(self._trees[self._starts[place] : self._starts[place + 1]])

    def tree(self, set: int, round: int, tree_index: int, problem_id: str) -> tuple[str, int] | None:
        """Return file and row of a tree; None where there is none."""
        place = self._ids.index(problem_id).as_py()
        rows = self.rows_of(place) if place >= 0 else self._table.slice(0, 0)
        for row in rows.select(["set", "round", "tree_index", "file", "row"]).to_pylist():
            if (row["set"], row["round"], row["tree_index"]) == (set, round, tree_index):
                return row["file"], row["row"]
        return None

    def facets(self, causes: list[str]) -> dict[str, Any]:
        """Return what can be asked for: levels, rounds and sets that there are, causes, and how many."""
        bits = [int(np.count_nonzero(self._causes & (1 << i))) for i in range(len(causes))]
        return {
            "problems": len(self),
            "trees": len(self.of),
            "nodes": int(self._table["nodes"].to_numpy().sum()),
            "levels": sorted({int(level) for level in np.unique(self._level)}),
            "rounds": [int(round) for round in np.unique(self._round)],
            "sets": [SETS[i] for i in np.unique(self._set)],
            "causes": [[name, count] for name, count in zip(causes, bits, strict=True)],
            "suspects": int(self.suspect.sum()),
        }


_OF_TREE = ("set", "round", "tree_index", "outcome", "nodes", "causes")


def suspect_ids(workdir: Path) -> frozenset[str]:
    """Return the problems whose label a round of a run found suspect (`evolve/suspects.py`)."""
    found = set[str]()
    for path in workdir.glob("round*/curate/suspects.jsonl"):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                one = str(json.loads(line)["id"])
                one.encode()  # of half a surrogate pair no tree can be
                found.add(one)
            except (ValueError, TypeError, KeyError):
                continue
    return frozenset(found)
