"""Test-time scaling: the accuracy of a search's first trajectories against the tokens that they took.

Each stored tree is cut behind its first 1, 2, 4, ... trajectories, in the order in which their answers were
written, and votes again. Nothing is sampled or graded anew: answers graded right count as equal to each
other, the others as equal where their texts are.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rstar_jax.search.votes import SCORES, VOTES, Ballot, classes

ONE_RIGHT = "one is right"
_FIELDS = ("parent", "status", "visits", "ppm", "answer", "grade", "tokens")
_COLUMNS = ["tokens", "finals.list.element", *(f"nodes.list.element.{name}" for name in _FIELDS)]
_TREES = 64  # in memory at a time
_RIGHT = "\N{CHECK MARK}"  # stands for every right answer: no answer is this


@dataclasses.dataclass(frozen=True)
class Cut:
    """Trees cut behind `trajectories` of theirs (those that have fewer are whole).

    tokens: mean over problems of what the policy wrote until then. ppm_tokens: of these, those of steps that
    the PPM read (its own vocabulary may spell them otherwise). shares: of problems answered right, by vote.
    """

    trajectories: int
    tokens: float
    ppm_tokens: float
    shares: dict[str, float]


@dataclasses.dataclass(frozen=True)
class _Answer:
    """A trajectory. end: how many nodes there were when its last step's candidates had been written."""

    label: str
    score: float | None
    end: int


def cuts(files: Iterable[Path], votes: Sequence[str], *, top_k: int = 0, scores: str = "last") -> list[Cut]:
    """Return the cuts at 1, 2, 4, ... trajectories, up to as many as any tree has.

    files: shards of trees. votes: rows of `votes.VOTES`; by ONE_RIGHT, that any of them is right, is always
    told. top_k, scores: as in `votes.election`. Raises what pyarrow raises for a file that is no shard.
    """
    totals = dict[int, np.ndarray]()  # of tokens, PPM tokens, and right ones by vote
    trees = most = 0
    names = [*votes, ONE_RIGHT]
    for tree in _trees(files):
        answers = list(_answers(tree, scores))
        written, read = _running(tree)
        rights = [_rights(answers[:n], votes, top_k) for n in _powers(len(answers))]
        # Of how many trajectories are wanted: the last of a tree stands for all beyond it.
        for k, n in enumerate(_powers(1 << 20)):
            whole = n >= len(answers)
            at = len(written) if whole else max(answer.end for answer in answers[:n])
            right = rights[min(k, len(rights) - 1)] if rights else [False] * len(names)
            row = np.array([written[at - 1], read[at - 1], *right], float)
            totals[n] = totals.get(n, 0.0) + row
        trees, most = trees + 1, max(most, len(answers))
    found = []
    for n in _powers(most):
        tokens, ppm_tokens, *right = (totals[n] / trees).tolist()
        found.append(Cut(n, tokens, ppm_tokens, dict(zip(names, right, strict=True))))
    return found


def _powers(most: int) -> list[int]:
    """1, 2, 4, ... up to the first that reaches `most`; none for 0."""
    found = [1 << k for k in range(max(most - 1, 0).bit_length() + 1)]
    return found if most else []


def _trees(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The columns of each tree's nodes as arrays, with "whole" (all tokens) and "finals"."""
    for file in files:
        with pq.ParquetFile(file) as shard:
            for batch in shard.iter_batches(_TREES, columns=_COLUMNS):
                nodes: Any = batch.column("nodes")
                flat = {name: nodes.flatten().field(name) for name in _FIELDS}
                arrays = {name: _numpy(flat[name]) for name in _FIELDS}
                bounds = nodes.offsets.to_numpy() - nodes.offsets[0].as_py()
                finals, whole = batch.column("finals").to_pylist(), batch.column("tokens").to_pylist()
                for i, (start, end) in enumerate(itertools.pairwise(bounds)):
                    tree = {name: array[start:end] for name, array in arrays.items()}
                    yield {**tree, "finals": finals[i] or (), "whole": whole[i]}


def _numpy(column: pa.Array) -> np.ndarray:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array(column.to_pylist(), object)
    return column.to_numpy(zero_copy_only=False)


def _answers(tree: dict[str, Any], scores: str) -> Iterator[_Answer]:
    """The trajectories that may vote, in the order in which their answers were written."""
    ended = np.flatnonzero((tree["status"] == "answer") & (tree["visits"] > 0)).tolist()
    parent, ppm = tree["parent"], tree["ppm"]
    finals = set(tree["finals"])
    for node in ended:
        if finals and node not in finals:
            continue
        end = node + 1
        while end < len(parent) and parent[end] == parent[node]:
            end += 1
        values, at = [], node
        while at > 0:
            if np.isfinite(ppm[at]):
                values.append(float(ppm[at]))
            at = parent[at]
        score = SCORES[scores](values[::-1]) if values else None
        label = _RIGHT if tree["grade"][node] == "right" else str(tree["answer"][node]).strip()
        yield _Answer(label, score, end)


def _running(tree: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens written, and those that the PPM read, up to each node; dropped repeats in equal shares."""
    tokens = np.nan_to_num(tree["tokens"].astype(float))
    read = np.cumsum(np.where(np.isfinite(tree["ppm"]), tokens, 0.0))
    total = tokens.sum()
    return np.cumsum(tokens) * (tree["whole"] / total if total and tree["whole"] else 1.0), read


def _rights(answers: Sequence[_Answer], votes: Sequence[str], top_k: int) -> list[bool]:
    """Return whether each vote of these, and one of them, is right."""
    scored = [answer for answer in answers if answer.score is not None]
    ranked = sorted(answers, key=lambda a: -1.0 if a.score is None else a.score, reverse=True)
    ranked = ranked[: top_k or None] if scored else list(answers)
    found = []
    for vote in votes:
        if vote == "best":
            found.append(ranked[0].label == _RIGHT)
            continue
        counted = classes([Ballot(answer.label, answer.score) for answer in ranked], lambda *_: False)
        rule = VOTES[vote if scored else "majority"]
        found.append(max(counted, key=rule).answer == _RIGHT)
    return [*found, any(answer.label == _RIGHT for answer in answers)]
