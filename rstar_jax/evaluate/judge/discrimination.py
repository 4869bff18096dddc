"""Figures of a PPM where every step's truth is known: does it prefer right steps, and what else moves it.

    pairs of steps        a right step against a wrong one after the same steps: share in the right order
    pairs of solutions    a problem's right solutions against its wrong ones, by the value of the last step
    AUC                   a right step's value above a wrong one's; wrong is each step from the first error on
    calibration           (value + 1) / 2 against the share of right steps, in ten bins; ECE: mean distance,
                          right and wrong steps weighing alike: how many of each there are is ours to choose
    length                rank correlation of a solution's value with its characters and steps, among right
                          and among wrong solutions apart
    probes                the same solution in other words (`problems/known_errors.py`): how far its value
                          moves, and whether a wrong one so dressed beats the right one

A tie counts one half, and problems count alike. The value of a whole solution is that of its last step (arXiv
2501.04519, section 3.2).
"""

from __future__ import annotations

import collections
import dataclasses
from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from rstar_jax.evaluate.judge.known_truth import RIGHT, WRONG
from rstar_jax.evaluate.judge.resampling import Resampled
from rstar_jax.evaluate.judge.samples import StepScores
from rstar_jax.problems.known_errors import PROBES

BINS = 10


@dataclasses.dataclass(frozen=True)
class Bin:
    """Steps of which the PPM's probability lies from `low` to below `high`: how many, its mean there, and the
    share of right ones, classes weighted alike; None: no step."""

    low: float
    high: float
    steps: int
    predicted: float | None
    right: float | None


def step_truths(row: StepScores) -> list[bool]:
    """Tell of each step whether it is right: none is from the first error on, as the answer then is wrong."""
    first = row.errors[0] if row.errors else row.steps
    return [i < first for i in range(row.steps)]


class Discrimination:
    """The figures of rows that come problem by problem. Of each step three numbers stay in memory."""

    def __init__(self) -> None:
        self._problems: list[str] = []
        # By figure: number of the problem, value, number, value, ...
        self._found: dict[str, array[float]] = collections.defaultdict(lambda: array("d"))
        self._steps: array[float] = array("f")  # value, 1 if right, depth, and so on
        # By kind: value, characters, steps, and so on.
        self._whole: dict[str, array[float]] = {RIGHT: array("d"), WRONG: array("d")}

    def add(self, rows: Sequence[StepScores]) -> None:
        """The rows of one problem; those that were not read are passed over."""
        number = len(self._problems)
        self._problems.append(rows[0].problem)
        rows = [row for row in rows if row.values]
        plain = {kind: [row for row in rows if row.kind == kind] for kind in (RIGHT, WRONG)}
        for kind, some in plain.items():
            for row in some:
                self._whole[kind].extend((row.values[-1], row.characters, row.steps))
        for row in (*plain[RIGHT], *plain[WRONG]):
            truths = step_truths(row)
            # What stands before an error is the right solution's, word for word: it counts once.
            first = row.errors[0] if row.errors and not row.q and plain[RIGHT] else 0
            for i in range(first, row.steps):
                self._steps.extend((row.values[i], truths[i], i + 1))
        self._pairs(number, plain)
        for probe in PROBES:
            self._probed(number, rows, plain, probe)

    def _pairs(self, number: int, plain: dict[str, list[StepScores]]) -> None:
        ends = [np.array([row.values[-1] for row in plain[kind]]) for kind in (RIGHT, WRONG)]
        order = auc(*ends)
        if order is not None:
            self._count("pairs of solutions", number, order)
        for right in plain[RIGHT][:1]:
            for wrong in plain[WRONG]:
                at = wrong.errors[0]
                if not right.q and at < right.steps:  # the same solution up to there
                    order = _before(right.values[at], wrong.values[at])
                    self._count("pairs of steps", number, order)
                    self._count(f"pairs of steps/depth {at + 1}", number, order)

    def _probed(
        self, number: int, rows: Sequence[StepScores], plain: dict[str, list[StepScores]], probe: str
    ) -> None:
        for kind in (RIGHT, WRONG):
            for row in rows:
                if row.kind != f"{kind} + {probe}":
                    continue
                # A probe's sample is named as the one that it was made of.
                origin = [one for one in plain[kind] if _same(one, row, probe)]
                for one in origin[:1]:
                    self._count(f"probe {probe}/{kind}", number, row.values[-1] - one.values[-1])
                for right in plain[RIGHT] if kind == WRONG else ():
                    beaten = _before(right.values[-1], row.values[-1])
                    self._count(f"probe {probe}/pairs of solutions", number, beaten)

    def _count(self, name: str, number: int, value: float) -> None:
        self._found[name].extend((number, value))

    def resampled(self) -> Resampled:
        """Means, by name: "pairs of steps", "pairs of steps/depth 2", "pairs of solutions",
        "probe NAME/right" and "/wrong" (change of the value), "probe NAME/pairs of solutions"."""
        found = Resampled(self._problems)
        for name, entries in self._found.items():
            numbers, values = np.array(entries).reshape(-1, 2).T
            which = numbers.astype(int)
            if _is_share(name):
                found.add_shares(name, which, values)
                continue
            counts = np.zeros((len(self._problems), 2))
            np.add.at(counts, which, np.stack([values, np.ones_like(values)], axis=1))
            found.add(name, counts, _mean)
        return found

    def auc(self) -> dict[str, float]:
        """Area under the curve of right against wrong steps, "all" and by depth; where both are there."""
        values, right, depth = _columns(self._steps)
        found = {"all": auc(values[right], values[~right])}
        for d in sorted(set(depth.tolist())):
            mine = depth == d
            found[f"depth {int(d)}"] = auc(values[mine & right], values[mine & ~right])
        return {name: area for name, area in found.items() if area is not None}

    def steps(self) -> dict[str, int]:
        """How many right and wrong steps the figures rest on."""
        _, right, _ = _columns(self._steps)
        return {RIGHT: int(right.sum()), WRONG: int((~right).sum())}

    def calibration(self) -> tuple[list[Bin], float | None]:
        """The reliability table, and the expected calibration error; None without right or wrong steps."""
        values, right, _ = _columns(self._steps)
        return reliability((values + 1) / 2, right)

    def correlations(self) -> dict[str, float]:
        """Rank correlations of a solution's value, "right/characters", "right/steps" and of wrong ones."""
        found = {}
        for kind, rows in self._whole.items():
            table = np.array(rows).reshape(-1, 3)
            for column, name in ((1, "characters"), (2, "steps")):
                rho = spearman(table[:, 0], table[:, column])
                if rho is not None:
                    found[f"{kind}/{name}"] = rho
        return found


def auc(right: np.ndarray, wrong: np.ndarray) -> float | None:
    """The share of pairs in which the right one is above, ties one half; None without a pair."""
    if not len(right) or not len(wrong):
        return None
    ranks = ranked(np.concatenate([right, wrong]))[: len(right)]
    return float((ranks.sum() - len(right) * (len(right) + 1) / 2) / (len(right) * len(wrong)))


def ranked(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values have the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place]


def spearman(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's rank correlation; None where one of the two does not vary."""
    if len(one) < 2:
        return None
    a, b = ranked(one), ranked(other)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else None


def reliability(predicted: np.ndarray, right: np.ndarray) -> tuple[list[Bin], float | None]:
    """As `Discrimination.calibration`, of probabilities and truths."""
    n_right, n_wrong = int(right.sum()), int((~right).sum())
    weights = np.where(right, 0.5 / max(1, n_right), 0.5 / max(1, n_wrong))
    which = np.minimum((predicted * BINS).astype(int), BINS - 1)
    bins, distance = [], 0.0
    for i in range(BINS):
        mine = which == i
        mass, low, high = float(weights[mine].sum()), i / BINS, (i + 1) / BINS
        if not mine.any():
            bins.append(Bin(low, high, 0, None, None))
            continue
        mean = float((weights[mine] * predicted[mine]).sum()) / mass
        share = float(weights[mine & right].sum()) / mass
        distance += mass * abs(mean - share)
        bins.append(Bin(low, high, int(mine.sum()), mean, share))
    return bins, distance if n_right and n_wrong else None


def q_agreement(rows: Iterable[StepScores]) -> dict[str, float]:
    """How values go with the verified Q of a search's steps: rank correlation, and AUC of its sign."""
    pairs = [pair for row in rows if row.values and row.q for pair in zip(row.values, row.q, strict=True)]
    values, q = np.array(pairs, float).reshape(-1, 2).T
    found = {"Q/correlation": spearman(values, q), "Q/AUC of its sign": auc(values[q > 0], values[q < 0])}
    return {name: value for name, value in found.items() if value is not None}


def _same(plain: StepScores, probed: StepScores, probe: str) -> bool:
    if not probed.errors:
        return True
    moved = probe == "repeated step" and plain.errors[0] > 0
    return plain.errors[0] + moved == probed.errors[0]


def _is_share(name: str) -> bool:
    """Return whether a figure is a share of pairs, and not a change of values."""
    return "pairs of" in name


def _before(right: float, wrong: float) -> float:
    return 1.0 if right > wrong else 0.5 if right == wrong else 0.0


def _columns(steps: array[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = np.array(steps, np.float64).reshape(-1, 3)
    return table[:, 0], table[:, 1].astype(bool), table[:, 2]


def _mean(sums: np.ndarray) -> np.ndarray:
    return np.where(sums[..., 1] > 0, sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], 1), np.nan)
