"""Intervals of means over problems: how often they cover the truth, and where values say little."""

import math

import numpy as np
import pytest
from scipy import stats

from rstar_jax.evaluate import intervals

# Shares of right samples of problems: Beta distributions. U: most are easy or out of reach.
SHAPES = {
    "U": (0.3, 0.3),
    "uniform": (1.0, 1.0),
    "hard": (0.5, 4.0),
    "easy": (4.0, 0.5),
    "alike": (20.0, 20.0),
}


@pytest.mark.parametrize("k", [1, 8])
@pytest.mark.parametrize("problems", [30, 500])
def test_intervals_cover_the_truth_in_93_to_97_of_100_benchmarks(problems, k, monkeypatch):
    monkeypatch.setattr(intervals, "DRAWS", 1000)
    covered, benchmarks = 0, 0
    for number, (a, b) in enumerate(SHAPES.values()):
        rng = np.random.default_rng(number)
        for _ in range(300):
            values = rng.binomial(k, rng.beta(a, b, problems)) / k
            found = intervals.figure(values)
            covered += found.low <= a / (a + b) <= found.high
            benchmarks += 1
    assert 0.93 <= covered / benchmarks <= 0.97


def test_rights_and_wrongs_have_jeffreys_interval():
    for right, n in ((0, 30), (7, 30), (30, 30), (250, 500)):
        found = intervals.figure(np.repeat([1.0, 0.0], [right, n - right]))
        exact = stats.beta.ppf([0.025, 0.975], right + 0.5, n - right + 0.5)
        np.testing.assert_allclose([found.low, found.high], exact, atol=0.01)
        assert found.value == right / n


def test_values_that_agree_and_a_single_problem_say_little():
    for values in ([0.5], [1.0], [0.0], [0.5] * 30, [1.0] * 30):
        found = intervals.figure(np.array(values))
        assert found.low < found.value - 1e-3 or found.value == 0
        assert found.high > found.value + 1e-3 or found.value == 1
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_more_samples_of_a_problem_are_no_more_problems():
    values = np.array([0.0, 1.0] * 15)
    found = intervals.figure(values)
    assert math.isclose(found.high - found.low, 2 * 1.96 * 0.5 / math.sqrt(31), rel_tol=0.05)


def test_values_that_differ_little_have_students_interval():
    values = np.random.default_rng(0).normal(0.5, 0.05, 30)
    found = intervals.figure(values)
    half = stats.t.ppf(0.975, 29) * values.std(ddof=1) / math.sqrt(30)
    assert math.isclose(found.high - found.low, 2 * half, rel_tol=0.08)


def test_an_interval_depends_on_the_values_alone():
    values = np.random.default_rng(0).random(40)
    assert intervals.figure(values) == intervals.figure(values[::-1].copy())
    assert intervals.figure(values, seed=1) != intervals.figure(values)


def test_many_different_values_are_resampled_on_a_grid_about_their_own_mean():
    values = np.random.default_rng(0).beta(0.5, 2, 5000)
    found = intervals.figure(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    np.testing.assert_allclose(
        [found.low, found.high], [found.value - half, found.value + half], atol=half / 10
    )


@pytest.mark.parametrize("freedom", [5, 29, 499])
def test_students_t(freedom):
    assert math.isclose(intervals._student(freedom), stats.t.ppf(0.975, freedom), rel_tol=0.004)
