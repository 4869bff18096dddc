"""Lessons that curate took from a tree: the solutions that the policy learns, the pairs that the PPM learns.

Both lie in files of a round, the rows of a problem together; nodes are found by the texts of their steps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

pc: Any = pyarrow.compute  # most of its functions are made when it is imported: no type checker sees them

_FILES = {
    "taught": ("sft.parquet", ["problem_id", "steps"]),
    "pairs": ("pairs.parquet", ["problem_id", "prefix", "positive", "negative", "margin", "final"]),
}
_ROWS = 1024  # in memory at a time
Rows = dict[str, list[dict[str, Any]]]
_NONE: Rows = {name: [] for name in _FILES}


class Lessons:
    """The rows of problems in the files of a workdir's rounds. A file that is not there, or not whole, has
    none."""

    def __init__(self, workdir: Path):
        self._workdir = workdir
        self._places: dict[tuple[str, int], dict[str, np.ndarray]] = {}

    def of(self, round: int, problem_id: str) -> Rows:
        """Return the rows of one problem by `taught` and `pairs`."""
        return self.of_many(round, [problem_id]).get(problem_id, _NONE)

    def of_many(self, round: int, problem_ids: Sequence[str]) -> dict[str, Rows]:
        """Return the rows of several problems of a round, each file read once at most."""
        found: dict[str, Rows] = {one: {name: [] for name in _FILES} for one in problem_ids}
        for name, (file, columns) in _FILES.items():
            path = self._workdir / f"round{round}" / "curate" / file
            with contextlib.suppress(OSError, KeyError, pa.ArrowException), pq.ParquetFile(path) as parquet:
                for row in self._rows(path, parquet, columns, problem_ids):
                    found[row["problem_id"]][name].append(row)
        return found

    def _rows(
        self, path: Path, parquet: pq.ParquetFile, columns: list[str], problem_ids: Sequence[str]
    ) -> list[dict[str, Any]]:
        places = self._of_file(path, parquet)
        wanted = np.sort(
            np.concatenate([np.zeros(0, np.int64), *(places.get(i, _NOWHERE) for i in problem_ids)])
        )
        found, before = [], 0
        if not len(wanted):
            return found
        for batch in parquet.iter_batches(_ROWS, columns=columns):
            here = wanted[(wanted >= before) & (wanted < before + len(batch))] - before
            if len(here):
                found += batch.take(pa.array(here)).to_pylist()
            before += len(batch)
            if before > wanted[-1]:
                break
        return found

    def _of_file(self, path: Path, parquet: pq.ParquetFile) -> dict[str, np.ndarray]:
        """The rows of each problem in a file, read once while it stays as it is."""
        version = (str(path), path.stat().st_mtime_ns)
        if version not in self._places:
            ids = parquet.read(columns=["problem_id"])["problem_id"].combine_chunks().dictionary_encode()
            of = ids.indices.to_numpy()
            order = np.argsort(of, kind="stable")
            ends = np.searchsorted(of[order], np.arange(1, len(ids.dictionary)))
            self._places[version] = dict(zip(ids.dictionary.to_pylist(), np.split(order, ends), strict=True))
        return self._places[version]


_NOWHERE = np.zeros(0, np.int64)


def marked(block: dict[str, Any], rows: Rows) -> dict[str, Any]:
    """Return the nodes of a `tree_block` that the rows of its problem are about.

    taught: the last node of each solution. pairs: [preferred, rejected, margin, whole trajectories or not].
    Rows of the problem's other trees are left out.
    """
    below: dict[tuple[int, str], int] = {}
    if any(rows.values()):
        for node, (parent, text) in enumerate(zip(block["parent"], block["text"], strict=True)):
            below.setdefault((parent, text), node)

    def end(steps: Sequence[str]) -> int | None:
        node: int | None = 0
        for step in steps:
            node = below.get((node, step)) if node is not None else None
        return node

    taught = [node for row in rows["taught"] if (node := end(row["steps"])) is not None]
    pairs = []
    for row in rows["pairs"]:
        positive, negative = (end([*row["prefix"], *row[side]]) for side in ("positive", "negative"))
        if positive is not None and negative is not None:
            pairs.append([positive, negative, round(row["margin"], 4), row["final"]])
    return {"taught": taught, "pairs": pairs}
