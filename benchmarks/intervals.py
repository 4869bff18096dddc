"""How often 95 percent intervals of benchmarks cover the truth, by the way they are made.

    python benchmarks/intervals.py [--benchmarks 1000]

Simulated benchmarks: every problem has a chance of a right sample, drawn from a Beta distribution (a shape
of difficulty); of each, k samples; the figure is the mean share of right ones. Covered is the mean of the
distribution. Then what two runs are told apart by: intervals of their difference, and how often the test
finds one where there is none. Then what figures cost at 5,000 problems of 64 samples.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from rstar_jax.evaluate import differences, intervals, metrics

# By name: the Beta distribution of the problems' chances.
SHAPES = {
    "most easy or out of reach": (0.3, 0.3),
    "all alike": (20.0, 20.0),
    "uniform": (1.0, 1.0),
    "easy": (4.0, 0.5),
    "hard": (0.5, 4.0),
    "very hard": (0.15, 3.0),
}
Interval = tuple[float, float]


def _resampled(values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard errors of resampled problems."""
    unique, count = np.unique(values, return_counts=True)
    drawn = rng.multinomial(len(values), count / len(values), size=intervals.DRAWS) / len(values)
    means = drawn @ unique
    return means, np.sqrt(np.maximum(drawn @ unique**2 - means**2, 0) / len(values))


def percentile(values: np.ndarray, rng: np.random.Generator) -> Interval:
    """Quantiles of resampled means."""
    low, high = np.quantile(_resampled(values, rng)[0], [0.025, 0.975])
    return low, high


def bca(values: np.ndarray, rng: np.random.Generator) -> Interval:
    """The same, corrected for bias and skew (Efron, 1987)."""
    means, _ = _resampled(values, rng)
    mean, apart = values.mean(), values - values.mean()
    if not apart.any():
        return mean, mean
    below = ((means < mean).mean() + (means <= mean).mean()) / 2
    bias = stats.norm.ppf(np.clip(below, 1e-4, 1 - 1e-4))
    skew = (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
    z = bias + stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(means, stats.norm.cdf(bias + z / (1 - skew * z)))
    return low, high


def bootstrap_t(values: np.ndarray, rng: np.random.Generator) -> Interval:
    """Quantiles of resampled means by their own standard errors."""
    means, errors = _resampled(values, rng)
    mean, error = values.mean(), values.std() / math.sqrt(len(values))
    if not error:
        return mean, mean
    low, high = np.quantile((means - mean) / np.maximum(errors, 1e-9), [0.025, 0.975])
    return mean - high * error, mean - low * error


def wilson(values: np.ndarray, rng: np.random.Generator) -> Interval:
    """Wilson's, of as many problems as the design effect makes of them (no resampling)."""
    mean, spread, n = values.mean(), values.var(ddof=1), len(values)
    effect = min(1.0, spread / (mean * (1 - mean))) if spread else 1.0
    n, z = n / effect, stats.t.ppf(0.975, n - 1) if effect < 0.9 else stats.norm.ppf(0.975)
    middle = (mean + z * z / 2 / n) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / 4 / n**2)
    return middle - half, middle + half


def ours(values: np.ndarray, rng: np.random.Generator) -> Interval:
    """What `intervals.figure` gives."""
    found = intervals.figure(values, seed=int(rng.integers(1 << 31)))
    return found.low, found.high


WAYS: dict[str, Callable[[np.ndarray, np.random.Generator], Interval]] = {
    "percentile": percentile,
    "BCa": bca,
    "bootstrap-t": bootstrap_t,
    "Wilson": wilson,
    "ours": ours,
}


def coverage(problems: int, k: int, shape: str, benchmarks: int) -> dict[str, tuple[float, float]]:
    """Percent covered and mean width in points, by the way."""
    a, b = SHAPES[shape]
    rng, found = np.random.default_rng(0), {way: np.zeros(2) for way in WAYS}
    for _ in range(benchmarks):
        values = rng.binomial(k, rng.beta(a, b, problems)) / k
        for way, interval in WAYS.items():
            low, high = interval(values, rng)
            found[way] += low <= a / (a + b) <= high, high - low
    return {way: (100 * hits / benchmarks, 100 * width / benchmarks) for way, (hits, width) in found.items()}


def told_apart(problems: int, k: int, shape: str, benchmarks: int) -> tuple[float, ...]:
    """Percent of intervals that cover the difference, paired and not, and of tests that find one where there
    is none, paired and not."""
    a, b = SHAPES[shape]
    rng, found = np.random.default_rng(0), np.zeros(4)
    for i in range(benchmarks):
        gain = 0.2 * (i % 2)  # every other benchmark: none
        true = gain * b / (a + b)
        chance, others = rng.beta(a, b, (2, problems))
        first = rng.binomial(k, chance) / k
        same = differences.paired(first, rng.binomial(k, chance + gain * (1 - chance)) / k)
        other = differences.unpaired(first, rng.binomial(k, others + gain * (1 - others)) / k)
        found += [d.low <= true <= d.high for d in (same, other)] + [
            2 * (not gain and d.p < 0.05) for d in (same, other)
        ]
    return tuple(100 * found / benchmarks)


def cost(problems: int = 5000, n: int = 64) -> None:
    """CPU seconds of figures and their intervals."""
    rng = np.random.default_rng(0)
    right = rng.random((problems, n)) < rng.beta(0.5, 0.7, problems)[:, None]
    count = problems * n
    same = np.where(right, 0, 1 + rng.geometric(0.2, right.shape)).ravel()
    score = np.where(right, 0.3, -0.1).ravel() + rng.normal(0, 0.5, count)
    nothing, places = np.zeros(count, bool), np.arange(problems + 1) * n
    samples = metrics.Samples(
        np.arange(problems), np.ones(problems, int), places, nothing, right.ravel(), same, score, nothing
    )
    print(f"\n| {problems:,} problems of {n} samples | metric, CPU s | interval, CPU s |\n|---|---|---|")
    for name in ("pass@8", "avg@64", "maj@8", "maj@64", "best@8", "weighted@8", "weighted@64"):
        began = time.process_time()
        values = metrics.values(samples, name)
        middle = time.process_time()
        intervals.figure(values)
        print(f"| {name} | {middle - began:.2f} | {time.process_time() - middle:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--benchmarks", type=int, default=1000, help="simulated ones of each kind")
    benchmarks = parser.parse_args().benchmarks
    print("| percent covered (mean width) | " + " | ".join(WAYS) + " |")
    print("|---" * (len(WAYS) + 1) + "|")
    for problems, k in ((30, 1), (30, 8), (500, 1), (500, 8)):
        for shape in SHAPES:
            cells = (
                f"{hits:.1f} ({width:.1f})"
                for hits, width in coverage(problems, k, shape, benchmarks).values()
            )
            print(f"| {problems} problems, k {k}, {shape} | " + " | ".join(cells) + " |", flush=True)
    print(
        "\n| percent | paired covers | unpaired covers | paired finds what is not | unpaired |"
        "\n|---|---|---|---|---|"
    )
    for problems, k in ((30, 1), (30, 8), (500, 8)):
        for shape in SHAPES:
            cells = (f"{value:.1f}" for value in told_apart(problems, k, shape, benchmarks))
            print(f"| {problems} problems, k {k}, {shape} | " + " | ".join(cells) + " |", flush=True)
    cost()


if __name__ == "__main__":
    main()
