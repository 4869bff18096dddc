"""Figures that are functions of sums over samples, with intervals by resampling whole problems.

An F1 is no mean of problems but a function of counts, and a problem's samples are no independent witnesses.
So the counts of each problem are added up once, and each draw gives every problem a random weight (the
Bayesian bootstrap, as in `evaluate/intervals.py`, which does this for means).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rstar_jax.evaluate import intervals
from rstar_jax.evaluate.outcome import Figure

Statistic = Callable[[np.ndarray], np.ndarray]  # sums [..., K] -> values [...]; NaN: not defined
DRAWS = 1000
_AT_ONCE = 1 << 22  # weights that are held
_BOUNDS = 2.5, 97.5  # percentiles


class Resampled:
    """Figures of the same samples, by name, in the order added. problems: of each sample."""

    def __init__(self, problems: Sequence[str]) -> None:
        numbers: dict[str, int] = {}
        self._of = np.array([numbers.setdefault(problem, len(numbers)) for problem in problems], np.int64)
        self._problems = len(numbers)
        self._asked: dict[str, tuple[np.ndarray, Statistic, np.ndarray] | np.ndarray] = {}

    def add(
        self, name: str, counts: np.ndarray, statistic: Statistic, further: np.ndarray | None = None
    ) -> None:
        """A figure: `statistic` of the sums of counts [samples, K].

        further: counts [F, K] of a sample of problems that nobody asked, which have as many samples as others
        and half their weight in the draws: a right and a wrong one keep the interval of few problems honest.
        """
        sums = np.zeros((self._problems, counts.shape[1]))
        np.add.at(sums, self._of, counts)
        samples, problems = (np.count_nonzero(np.any(rows != 0, axis=1)) for rows in (counts, sums))
        more = np.zeros((0, counts.shape[1])) if further is None else further * samples / max(1, problems)
        self._asked[name] = sums, statistic, more

    def add_shares(self, name: str, samples: np.ndarray, values: np.ndarray) -> None:
        """A figure: the mean over problems of the mean of each, by `intervals.figure`.

        samples: to which each value belongs, by number. values: in [0, 1]. Problems without one are left out.
        """
        sums = np.zeros((self._problems, 2))
        np.add.at(sums, self._of[samples], np.stack([values, np.ones_like(values)], axis=1))
        self._asked[name] = sums[sums[:, 1] > 0][:, 0] / sums[sums[:, 1] > 0][:, 1]

    def values(self) -> dict[str, float]:
        """The figures without intervals, those that are defined."""
        found = {}
        for name, asked in self._asked.items():
            mean = asked.mean() if isinstance(asked, np.ndarray) else asked[1](asked[0].sum(0))
            if not np.isnan(mean):
                found[name] = float(mean)
        return found

    def figures(self, seed: int, draws: int = DRAWS) -> dict[str, Figure]:
        """The figures with 95 percent intervals; of one that is not defined none."""
        values, rng = self.values(), np.random.default_rng(seed)
        functions = {name: asked for name, asked in self._asked.items() if isinstance(asked, tuple)}
        drawn: dict[str, list[np.ndarray]] = {name: [] for name in functions if name in values}
        step = max(1, _AT_ONCE // max(1, self._problems))
        for at in range(0, draws if drawn else 0, step):
            size = min(step, draws - at)
            weights = rng.standard_exponential((size, self._problems))
            for name, some in drawn.items():
                sums, statistic, further = functions[name]
                some.append(
                    statistic(weights @ sums + rng.standard_gamma(0.5, (size, len(further))) @ further)
                )
        found = {}
        for name, value in values.items():
            asked = self._asked[name]
            if isinstance(asked, np.ndarray):
                found[name] = intervals.figure(asked, seed=seed)
                continue
            low, high = map(float, np.nanpercentile(np.concatenate(drawn[name]), _BOUNDS))
            there = int(np.count_nonzero(np.any(asked[0] != 0, axis=1)))
            found[name] = Figure(value=value, low=min(low, value), high=max(high, value), problems=there)
        return found
