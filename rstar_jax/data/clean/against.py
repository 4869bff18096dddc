"""Overlaps of training questions with benchmarks.

Benchmarks are small, so no sketch is needed: their grams lie in an index that says for any text which of
their questions share how many grams with it (`GramIndex`). Pairs that share enough are compared as a whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from rstar_jax.data.clean.config import CleanConfig
from rstar_jax.data.clean.forms import Forms, forms
from rstar_jax.data.clean.index import GramIndex, ranks
from rstar_jax.data.clean.rows import Rows, grams, similarity
from rstar_jax.types import Problem

Kind = Literal["exact", "near", "ngram", "twin"]  # from the surest to the least sure
KINDS: tuple[Kind, ...] = get_args(Kind)
_SAMPLE = np.uint64(3)  # one window in four is looked for: those whose hash has no bit of this,
_SHORT = 24  # and all of a question that has fewer
_CANDIDATES = 16  # a question is compared with so many at most: those that share most grams with it
_BATCH = 2048


@dataclasses.dataclass(frozen=True)
class Overlap:
    """A training question that a benchmark knows.

    row: of the training question in its batch. other: of the benchmark's question in `Against.problems`.
    similarity: share of the smaller one's windows (or runs of words) that the other has.
    """

    row: int
    other: int
    kind: Kind
    similarity: float


class Against:
    """Benchmarks to hold questions against. problems: (benchmark, id, question) of each question."""

    def __init__(self, benchmarks: Mapping[str, Sequence[Problem]], config: CleanConfig) -> None:
        self._config = config
        self.problems = [
            (name, problem.id, problem.question) for name, set_ in benchmarks.items() for problem in set_
        ]
        parts = [
            forms([question for _, _, question in self.problems[i : i + _BATCH]])
            for i in range(0, len(self.problems), _BATCH)
        ] or [forms([])]
        exact = np.concatenate([part.exact for part in parts])
        self._exact_order = np.argsort(exact, kind="stable")
        self._exact = exact[self._exact_order]
        self._numbers = _join([part.numbers for part in parts])
        self._windows = [_join([w[i] for w in map(_windows, parts)]).distinct() for i in range(2)]
        self._by_window = [GramIndex(_sample(windows)) for windows in self._windows]
        words = _join([part.words for part in parts])
        self._by_words = {n: GramIndex(grams(words, n)) for n in config.ngrams}

    def overlaps(self, texts: Forms) -> list[Overlap]:
        """Find all overlaps of a batch, each pair once; sorted by row, then by kind."""
        if not self.problems:
            return []
        found: dict[tuple[int, int], Overlap] = {}

        def add(rows: np.ndarray, others: np.ndarray, kind: Kind, shares: np.ndarray) -> None:
            for row, other, share in zip(rows.tolist(), others.tolist(), shares.tolist(), strict=True):
                found.setdefault((row, other), Overlap(row, other, kind, round(share, 3)))

        rows, others = self._same(texts)
        add(rows, others, "exact", np.ones(len(rows)))
        rows, others, share = self._alike(texts, masked=False)
        pairs = zip(rows.tolist(), others.tolist(), strict=True)
        same = np.array([_contained(texts.numbers[row], self._numbers[other]) for row, other in pairs], bool)
        add(rows[same], others[same], "near", share[same])
        add(rows[~same], others[~same], "twin", share[~same])
        rows, others, share = self._alike(texts, masked=True)
        add(rows, others, "twin", share)
        for n, index in self._by_words.items():
            rows, others, shared = index.shared(runs := grams(texts.words, n))
            least = np.minimum(np.diff(runs.distinct().offsets)[rows], index.sizes[others])
            enough = shared >= self._config.ngram_share * least
            add(rows[enough], others[enough], "ngram", (shared / least)[enough])
        return sorted(found.values(), key=lambda o: (o.row, KINDS.index(o.kind), -o.similarity, o.other))

    def _same(self, texts: Forms) -> tuple[np.ndarray, np.ndarray]:
        exact = np.where(np.diff(texts.normal.offsets) > 0, texts.exact, np.uint64(1))
        left, right = np.searchsorted(self._exact, exact), np.searchsorted(self._exact, exact, "right")
        rows = np.flatnonzero(left < right)
        pairs = [(row, other) for row in rows for other in self._exact_order[left[row] : right[row]]]
        both = np.array(pairs, np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def _alike(self, texts: Forms, masked: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return pairs that share enough windows, and the share of the smaller one's that they do."""
        config, mine, theirs, index = (
            self._config,
            _windows(texts)[masked],
            self._windows[masked],
            self._by_window[masked],
        )
        least = config.twin_jaccard if masked else config.least_jaccard
        rows, others, shared = index.shared(_sample(mine))
        # A sample of 30 windows tells the share to about a tenth: what is far below is not compared.
        expected = np.minimum(np.diff(mine.offsets)[rows], np.diff(theirs.offsets)[others]) / (
            1 + int(_SAMPLE)
        )
        expected = np.minimum(expected, index.looked_for[others])
        likely = shared >= 0.5 * config.contained * expected
        likely &= ranks(rows, -shared) < _CANDIDATES
        rows, others = rows[likely], others[likely]
        if not len(rows):
            return rows, others, np.zeros(0)
        share, jaccard = similarity(mine.take(rows).distinct(), theirs.take(others))
        enough = (share >= config.contained) & (jaccard >= least)
        return rows[enough], others[enough], share[enough]


def _windows(texts: Forms) -> tuple[Rows, Rows]:
    return texts.windows, texts.masked


def _sample(windows: Rows) -> Rows:
    short = np.repeat(sizes := np.diff(windows.offsets), sizes) < _SHORT
    return windows.where(short | ((windows.values & _SAMPLE) == 0))


def _contained(mine: np.ndarray, theirs: np.ndarray) -> bool:
    """Return whether all numbers of one are among those of the other, as often."""
    less, more = sorted((mine, theirs), key=len)
    values, counts = np.unique(less, return_counts=True)
    return all((more == value).sum() >= count for value, count in zip(values, counts, strict=True))


def _join(parts: Sequence[Rows]) -> Rows:
    offsets = np.cumsum([0, *(len(part.values) for part in parts)])
    ends = [part.offsets[1:] + offset for part, offset in zip(parts, offsets, strict=False)]
    return Rows(
        np.concatenate([part.values for part in parts]), np.concatenate([[0], *ends]).astype(np.int64)
    )
