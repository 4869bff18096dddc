"""Metrics of a benchmark, from the rows of its predictions alone.

    pass@K       unbiased chance that one of K samples is right (Chen et al., arXiv 2107.03374)
    avg@K        mean share of right samples
    maj@K        the answer that most of K samples give
    best@K       the answer of the sample that the PPM likes best among K
    weighted@K   the answer whose samples have the most weight by the PPM
    search       the answer that the protocol's own vote chose

K is a number of samples, or "all" for as many as each problem has. What only K of a problem's n samples would
give is an expectation over which K they are: pass, avg and best exactly, maj and weighted over all choices of
K where these are few, else over DRAWS of them, the same ones each time. Answers that tie share the problem by
their samples, as whichever came first would decide. A sample without an answer votes for none; an ungraded
one is not right.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from rstar_jax.errors import UserError
from rstar_jax.evaluate import intervals
from rstar_jax.evaluate.outcome import Figure
from rstar_jax.evaluate.prediction import Prediction
from rstar_jax.search import votes
from rstar_jax.settings import nearest

DRAWS = 1024
_ROWS = 1024  # of predictions looked at together
_FEW = 4096  # choices of K samples that are all looked at
COLUMNS = ("problem_id", "level", "chosen", "same", "grade", "score", "tool")  # of predictions.parquet


@dataclasses.dataclass(frozen=True)
class Samples:
    """Parts of a benchmark's samples that metrics need; those of one problem lie together.

    problems: [B] ids. levels: [B] int. starts: [B + 1] int, problem b has the samples starts[b] to
        starts[b + 1]. chosen, right, tool: [N] bool. same: [N] int, -1 without an answer. score: [N] float,
        NaN without a PPM's.
    """

    problems: np.ndarray
    levels: np.ndarray
    starts: np.ndarray
    chosen: np.ndarray
    right: np.ndarray
    same: np.ndarray
    score: np.ndarray
    tool: np.ndarray

    def __len__(self) -> int:
        return len(self.problems)

    @property
    def counts(self) -> np.ndarray:
        """[B] int, the samples of each problem."""
        return np.diff(self.starts)

    def right_of(self) -> np.ndarray:
        """[B] int, the right samples of each problem."""
        return np.add.reduceat(self.right.astype(np.int64), self.starts[:-1])


def of_predictions(rows: Iterable[Prediction]) -> Samples:
    """Take what metrics need of rows, those of a problem one after the other; texts are not kept."""
    rows = iter(rows)
    parts = iter(lambda: list(itertools.islice(rows, _ROWS)), [])
    return of_columns({name: [getattr(row, name) for row in part] for name in COLUMNS} for part in parts)


def of_columns(tables: Iterable[dict[str, Sequence[Any]]]) -> Samples:
    """The same of parts of predictions.parquet, each the values of COLUMNS, by name.

    `pyarrow.RecordBatch.to_pydict` makes such a part. Raises UserError where there is no row.
    """
    parts, ids, levels, starts, count = [], list[str](), list[int](), list[int](), 0
    for table in tables:
        for problem, level in zip(table["problem_id"], table["level"], strict=True):
            if not ids or problem != ids[-1]:
                ids.append(problem)
                levels.append(level)
                starts.append(count)
            count += 1
        score = [math.nan if value is None else value for value in table["score"]]
        right = [grade == "right" for grade in table["grade"]]
        same, chosen, tool = table["same"], table["chosen"], table["tool"]
        kinds = (bool, bool, np.int32, np.float64, bool)
        values = (chosen, right, same, score, tool)
        parts.append([np.array(v, kind) for v, kind in zip(values, kinds, strict=True)])
    if not ids:
        raise UserError("predictions: no sample given, at least one expected. Evaluate the benchmark again.")
    twice, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise UserError(
            f"predictions: the rows of problem '{twice}' do not lie together. Sort them by problem."
        )
    chosen, right, same, score, tool = (np.concatenate(column) for column in zip(*parts, strict=True))
    offsets = np.array([*starts, count])
    return Samples(np.array(ids), np.array(levels), offsets, chosen, right, same, score, tool)


def passed(samples: Samples, k: int) -> np.ndarray:
    """[B] float, pass@k of each problem."""
    return votes.pass_at_k(samples.right_of(), samples.counts, k)


def averaged(samples: Samples, k: int) -> np.ndarray:
    """[B] float, the share of right samples: the expectation for any k of them."""
    return samples.right_of() / samples.counts


def best(samples: Samples, k: int) -> np.ndarray:
    """[B] float, the chance that of k samples the one with the highest score is right."""
    return np.array([_best(*one, k) for one in _problems(samples)])


def voted(vote: str, samples: Samples, k: int) -> np.ndarray:
    """[B] float, the chance that a vote of k samples, a row of `votes.VOTES`, takes a right answer."""
    return np.array([_voted(vote, *one, k) for one in _problems(samples)])


def searched(samples: Samples) -> np.ndarray:
    """[B] float, 1 where the answer that the protocol chose is right."""
    return np.logical_or.reduceat(samples.chosen & samples.right, samples.starts[:-1]).astype(float)


METRICS: dict[str, Callable[[Samples, int], np.ndarray]] = {
    "pass": passed,
    "avg": averaged,
    "maj": lambda samples, k: voted("majority", samples, k),
    "best": best,
    "weighted": lambda samples, k: voted("weighted", samples, k),
}
SCORED = ("best", "weighted")


def parse(name: str) -> tuple[str, int | None]:
    """A metric's name and its K, None for "all" and "search".

    Raises UserError for an unknown metric (naming the nearest) and for a K that is no number from 1 on.
    """
    if name == "search":
        return name, None
    kind, at, k = name.partition("@")
    if kind not in METRICS:
        known = [*(f"{known}@{k or 'K'}" for known in METRICS), "search"]
        raise UserError(f"metric '{name}': no such metric. {nearest(name, known)}")
    if not at or not (k == "all" or re.fullmatch(r"0*[1-9][0-9]*", k)):
        raise UserError(
            f"metric '{name}': '{k}' samples given, a number from 1 on or all expected, as in {kind}@8."
        )
    return kind, None if k == "all" else int(k)


def require_named(names: Iterable[str]) -> None:
    """Refuse what is no metric. Raises UserError as `parse`, naming config.metrics."""
    for name in names:
        try:
            parse(name)
        except UserError as error:
            raise UserError(f"config.metrics: {error}") from error


def values(samples: Samples, name: str) -> np.ndarray:
    """[B] float in [0, 1], what each problem adds to a metric.

    Raises UserError as `parse`, where some problem has fewer than K samples, and for a metric of the PPM
    where none has scored a sample.
    """
    kind, k = parse(name)
    if kind == "search":
        return searched(samples)
    fewest = int(samples.counts.min())
    if k is not None and k > fewest:
        raise UserError(
            f"metric '{name}': {fewest} samples of some problem, at least {k} expected. Sample more, lower "
            f"it, or ask for {kind}@all."
        )
    if kind in SCORED and np.isnan(samples.score).all():
        raise UserError(
            f"metric '{name}': no PPM scored these samples. Give one (--config.ppm=DIR), or leave it out."
        )
    if k is None and kind == "pass":
        return (samples.right_of() > 0).astype(float)
    if k is None:
        return METRICS[kind](samples, 0)
    return METRICS[kind](samples, k)


def figures(samples: Samples, names: Sequence[str], *, seed: int = 0) -> dict[str, Figure]:
    """The figure of each metric. Raises UserError as `values`."""
    return {name: intervals.figure(values(samples, name), seed=seed) for name in names}


def known(samples: Samples) -> list[str]:
    """The metrics that can be had of these samples, with K of 1, 2, 4, ... and all that each problem has."""
    counts = samples.counts
    scored = not np.isnan(samples.score).all()
    kinds = [kind for kind in METRICS if scored or kind not in SCORED]
    if (counts == 1).all():
        return ["pass@1"] + (["search"] if samples.chosen.any() else [])
    fewest = int(counts.min())
    ks: list[int | str] = [k for k in (2**i for i in range(1, 31)) if k < fewest]
    ks += [fewest] if fewest == counts.max() else ["all"]
    named = [f"{kind}@{k}" for kind in kinds for k in ks if kind != "avg" or k == ks[-1]]
    return ["pass@1", *named] + (["search"] if samples.chosen.any() else [])


def by_level(samples: Samples, name: str, *, seed: int = 0) -> dict[str, Figure]:
    """A metric's figure at each level that problems have ("level1", ...); those of unknown level in none."""
    found = values(samples, name)
    levels = sorted(set(samples.levels.tolist()) - {0})
    return {f"level{of}": intervals.figure(found[samples.levels == of], seed=seed) for of in levels}


def by_tool(samples: Samples, *, seed: int = 0) -> tuple[Figure | None, Figure | None]:
    """Accuracy of the chosen answers that a program gave, and of the others; None where there is none.

    A problem without a chosen answer is among the others.
    """
    found = searched(samples)
    tool = np.logical_or.reduceat(samples.chosen & samples.tool, samples.starts[:-1])
    with_tool, without = found[tool], found[~tool]
    return (
        intervals.figure(with_tool, seed=seed) if len(with_tool) else None,
        intervals.figure(without, seed=seed) if len(without) else None,
    )


def _problems(samples: Samples) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Right, same and score of each problem's samples."""
    for start, stop in itertools.pairwise(samples.starts.tolist()):
        yield samples.right[start:stop], samples.same[start:stop], samples.score[start:stop]


def _best(right: np.ndarray, same: np.ndarray, score: np.ndarray, k: int) -> float:
    """k: 0 for all."""
    n = len(right)
    k = k or n
    worth = np.where(same < 0, -np.inf, np.where(np.isnan(score), -1.0, score))
    order = np.argsort(-worth, kind="stable")
    worth, right = worth[order], right[order] & (same[order] >= 0)
    _, tied = np.unique(-worth, return_inverse=True)
    return float(np.bincount(tied, _first(n, k)) @ (np.bincount(tied, right) / np.bincount(tied)))


def _voted(vote: str, right: np.ndarray, same: np.ndarray, score: np.ndarray, k: int) -> float:
    """k: 0 for all."""
    answered = same >= 0
    if not (right & answered).any():
        return 0.0
    if right.all():
        return 1.0
    weight = votes.weight(score) if not np.isnan(score).all() else np.ones(len(right))  # type: ignore[arg-type]
    weight = np.nan_to_num(weight, nan=0.0)
    _, place = np.unique(same[answered], return_inverse=True)
    belongs = np.zeros((len(right), place.max() + 1))
    belongs[np.flatnonzero(answered), place] = 1.0
    share = right @ belongs / belongs.sum(axis=0)  # of right ones in a class: all or none, by a fair grader
    chosen = _choices(len(right), k or len(right))
    # [D, classes]: what each choice of samples gives them.
    count, weights = chosen @ belongs, chosen @ (weight[:, None] * belongs)
    measure = votes.VOTES[vote](votes.Class("", count=count, weight=weights))  # type: ignore[arg-type]
    measure = np.where(count > 0, np.round(measure, 9), -1.0)
    tied = np.where(measure == measure.max(axis=1, keepdims=True), count, 0.0)
    return float(np.mean((tied @ share) / np.maximum(tied.sum(axis=1), 1.0)))


@functools.lru_cache(1 << 10)
def _first(n: int, k: int) -> np.ndarray:
    """[n] float, the chance that of k among n samples in order each is the first."""
    return np.array([math.comb(n - 1 - i, k - 1) / math.comb(n, k) for i in range(n)])


@functools.lru_cache(16)
def _choices(n: int, k: int) -> np.ndarray:
    """[D, n] of 0 and 1: choices of k among n samples, all if they are few."""
    if math.comb(n, k) <= _FEW:
        places = np.array(list(itertools.combinations(range(n), k)))
    else:
        places = np.argsort(np.random.default_rng([n, k]).random((DRAWS, n)), axis=1)[:, :k]
    chosen = np.zeros((len(places), n))
    np.put_along_axis(chosen, places, 1.0, axis=1)
    return chosen
