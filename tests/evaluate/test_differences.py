"""Differences of two runs: coverage, exact tests against scipy's, and their words."""

import numpy as np
import pytest
from scipy import stats

from rstar_jax.evaluate import differences, intervals
from rstar_jax.evaluate.differences import Difference


def rights(right: int, wrong: int) -> np.ndarray:
    return np.repeat([1.0, 0.0], [right, wrong])


@pytest.mark.parametrize("k", [1, 8])
def test_intervals_cover_the_true_difference_and_tests_are_seldom_wrong(k, monkeypatch):
    monkeypatch.setattr(intervals, "DRAWS", 1000)
    monkeypatch.setattr(differences, "OUTCOMES", 500)
    monkeypatch.setattr(differences, "_ENUMERATED", 1 << 12)
    covered, noise, count = np.zeros(2), np.zeros(2), 0
    for a, b in ((0.3, 0.3), (1.0, 1.0), (0.5, 4.0)):
        rng = np.random.default_rng(0)
        for gain in (0.0, 0.2):
            true = gain * b / (a + b)
            for _ in range(50):
                chance, others = rng.beta(a, b, (2, 40))
                first = rng.binomial(k, chance) / k
                found = (
                    differences.paired(first, rng.binomial(k, chance + gain * (1 - chance)) / k),
                    differences.unpaired(first, rng.binomial(k, others + gain * (1 - others)) / k),
                )
                covered += [one.low <= true <= one.high for one in found]
                noise += [not gain and one.p < 0.05 for one in found]
                count += 1
    assert np.all(covered / count > 0.93) and np.all(covered / count < 0.98)
    assert np.all(noise / (count / 2) < 0.07)


@pytest.mark.parametrize(("rose", "fell"), [(0, 0), (5, 0), (9, 2), (3, 8), (700, 650)])
def test_rights_and_wrongs_are_tested_as_mcnemar_does(rose, fell):
    same = rights(20, 5)
    first = np.concatenate([same, np.zeros(rose), np.ones(fell)])
    second = np.concatenate([same, np.ones(rose), np.zeros(fell)])
    found = differences.paired(first, second)
    exact = stats.binomtest(rose, rose + fell).pvalue if rose + fell else 1.0
    assert found.p == pytest.approx(exact, rel=1e-9)
    assert (found.better, found.worse, found.problems) == (rose, fell, len(first))
    assert found.value == pytest.approx((rose - fell) / len(first))


def test_signs_of_different_sizes_are_enumerated_as_scipy_does(monkeypatch):
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 9, (2, 12)) / 8
    exact = stats.permutation_test(
        (second - first,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert differences.paired(first, second).p == pytest.approx(exact, abs=1e-6)
    monkeypatch.setattr(differences, "_ENUMERATED", 1)
    assert differences.paired(first, second).p == pytest.approx(exact, abs=0.02)


def test_different_problems_are_dealt_out_as_fishers_exact_test_does():
    first, second = rights(7, 33), rights(22, 28)
    exact = stats.permutation_test(
        (second, first), lambda x, y: x.mean() - y.mean(), n_resamples=20_000, rng=np.random.default_rng(0)
    ).pvalue
    found = differences.unpaired(first, second)
    assert found.p == pytest.approx(exact, abs=0.005)
    assert (found.paired, found.problems) == (False, 40)
    assert found.low < found.value < found.high


def test_pairs_of_like_problems_tell_more_than_different_ones():
    hard = np.linspace(0, 1, 101)
    first, second = hard * 0.9, hard * 0.9 + 0.05
    assert differences.paired(first, second).verdict == "better"
    assert differences.paired(second, first).verdict == "worse"
    assert differences.unpaired(first, second).verdict == "noise"


@pytest.mark.parametrize("first", [rights(0, 30), rights(30, 0)])
def test_a_difference_lies_in_its_interval(first):
    for found in (differences.paired(first, 1 - first), differences.unpaired(first, 1 - first)):
        assert -1 <= found.low <= found.value <= found.high <= 1


def test_runs_that_do_not_differ_are_noise_and_of_no_width_never():
    found = differences.paired(rights(3, 27), rights(3, 27))
    assert (found.value, found.p, found.verdict) == (0.0, 1.0, "noise")
    assert -0.2 < found.low < -0.01 and 0.01 < found.high < 0.2


@pytest.mark.parametrize(
    ("low", "high", "p", "said"),
    [
        (-0.004, 0.046, 0.12, "a difference of 2.1 points, interval -0.4 to 4.6, p = 0.12: noise"),
        (0.004, 0.046, 0.012, "a difference of 2.1 points, interval 0.4 to 4.6, p = 0.012: better"),
        (0.004, 0.046, 0.0, "a difference of 2.1 points, interval 0.4 to 4.6, p < 0.001: better"),
        (0.001, 0.046, 0.06, "a difference of 2.1 points, interval 0.1 to 4.6, p = 0.060: unsure"),
    ],
)
def test_words(low, high, p, said):
    assert Difference(value=0.021, low=low, high=high, p=p, paired=True, problems=9).words() == said
