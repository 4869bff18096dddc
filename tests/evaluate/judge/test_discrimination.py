"""Figures where every step's truth is known, of scorers whose faults are known, too."""

import dataclasses
import itertools

import numpy as np
import pytest

from rstar_jax.evaluate.judge.discrimination import (
    Discrimination,
    auc,
    q_agreement,
    ranked,
    reliability,
    spearman,
)
from rstar_jax.evaluate.judge.known_truth import suite_samples
from rstar_jax.evaluate.judge.samples import StepScores
from rstar_jax.problems.known_errors import PROBES

SAMPLES = [*suite_samples(27, seed=2)]


def judged_by(value):
    """The figures of a scorer: value(sample, step) -> its value."""
    found = Discrimination()
    for _, group in itertools.groupby(SAMPLES, key=lambda sample: sample.problem):
        rows = []
        for sample in group:
            values = tuple(value(sample, i) for i in range(len(sample.steps)))
            rows.append(StepScores.of(sample, 10, values))
        found.add(rows)
    return found


def truth(sample, i):
    return 1.0 if not sample.errors or i < sample.errors[0] else -1.0


def test_a_perfect_judge_is_perfect():
    found = judged_by(truth)
    figures = found.resampled().figures(0)
    assert figures["pairs of steps"].value == figures["pairs of solutions"].value == 1
    assert set(found.auc().values()) == {1.0} and found.calibration()[1] == 0
    for probe in PROBES:
        assert figures[f"probe {probe}/right"].value == figures[f"probe {probe}/wrong"].value == 0
        assert figures[f"probe {probe}/pairs of solutions"].value == 1
        assert figures[f"probe {probe}/wrong"].problems == 27
    assert figures["pairs of steps"].problems == 27


def test_one_that_says_always_the_same_knows_nothing():
    found = judged_by(lambda sample, i: 0.3)
    figures = found.resampled().figures(0)
    assert figures["pairs of steps"].value == figures["pairs of solutions"].value == 0.5
    assert set(found.auc().values()) == {0.5} and found.correlations() == {}
    assert found.calibration()[1] == pytest.approx(0.15)  # says 0.65 of half


def test_one_that_is_blind_before_the_third_step_shows_it_by_depth():
    areas = judged_by(lambda sample, i: truth(sample, i) if i >= 2 else 0.0).auc()
    assert areas["depth 1"] == areas["depth 2"] == 0.5 and areas["depth 3"] == areas["depth 4"] == 1
    figures = judged_by(lambda sample, i: truth(sample, i) if i >= 2 else 0.0).resampled().values()
    assert figures["pairs of steps/depth 1"] == 0.5 and figures["pairs of steps/depth 3"] == 1


def test_one_that_likes_length_is_found_out():
    found = judged_by(lambda sample, i: np.tanh(sum(map(len, sample.steps)) / 1000))
    correlations = found.correlations()
    assert correlations["right/characters"] == pytest.approx(1) == correlations["wrong/characters"]
    values = found.resampled().values()
    for probe in ("longer thoughts", "padded step", "confident phrases", "empty comments"):
        assert values[f"probe {probe}/right"] > 0 and values[f"probe {probe}/wrong"] > 0
        assert values[f"probe {probe}/pairs of solutions"] < 0.5  # a wrong one so dressed beats the right one
    assert values["probe no thoughts/right"] < 0 and values["probe no thoughts/pairs of solutions"] == 1


def test_one_that_falls_for_confidence_is_moved_by_that_alone():
    def value(sample, i):
        return 0.5 if "certainly" in "".join(sample.steps[: i + 1]) else 0.1 * truth(sample, i)

    values = judged_by(value).resampled().values()
    moved = {probe for probe in PROBES if abs(values[f"probe {probe}/wrong"]) > 1e-9}
    assert moved == {"confident phrases"}
    assert values["probe confident phrases/wrong"] == pytest.approx(0.6)
    assert values["probe confident phrases/right"] == pytest.approx(0.4)


def test_steps_before_an_error_count_once():
    found = judged_by(truth).steps()
    rows = [sample for sample in SAMPLES if sample.kind in ("right", "wrong")]
    assert found["right"] == sum(len(s.steps) for s in rows if s.kind == "right")
    assert found["wrong"] == sum(len(s.steps) - s.errors[0] for s in rows if s.kind == "wrong")


def test_the_wrong_solutions_in_other_words_err_in_any_step():
    probed = {sample.errors[0] for sample in SAMPLES if sample.kind == "wrong + no thoughts"}
    assert {0, 1, 2} <= probed


def test_samples_that_were_not_read_are_passed_over():
    found = Discrimination()
    found.add(
        [StepScores.of(sample, 10**6, ()) for sample in SAMPLES if sample.problem == SAMPLES[0].problem]
    )
    assert found.resampled().figures(0) == {} == found.auc() and found.calibration()[1] is None


def test_auc_is_the_share_of_pairs():
    rng = np.random.default_rng(0)
    right, wrong = rng.integers(0, 6, 30) / 5, rng.integers(0, 6, 20) / 6
    pairs = [1.0 if r > w else 0.5 if r == w else 0.0 for r in right for w in wrong]
    assert auc(right, wrong) == pytest.approx(np.mean(pairs))
    assert auc(right, wrong[:0]) is None


def test_ranks_and_their_correlation():
    assert ranked(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1, 3.5, 2]
    x = np.array([1.0, 2, 3, 4])
    assert spearman(x, np.exp(x)) == pytest.approx(1) and spearman(x, -x) == pytest.approx(-1)
    assert spearman(x, np.ones(4)) is None and spearman(x[:1], x[:1]) is None


def test_a_calibrated_judge_has_no_error_and_bins_hold_every_step():
    rng = np.random.default_rng(1)
    p = rng.random(40_000)
    right = rng.random(40_000) < p
    bins, error = reliability(p, right)
    assert error is not None and error < 0.02 and sum(each.steps for each in bins) == 40_000
    assert reliability(np.array([1.0, 0.0]), np.array([True, False]))[1] == 0
    _, over = reliability(np.clip(p * 0 + 0.9, 0, 1), right)
    assert over == pytest.approx(0.4, abs=0.01)


def test_values_go_with_verified_q():
    row = StepScores.of(dataclasses.replace(SAMPLES[0], q=(0.9, -0.5)), 5, (0.8, -0.1))
    assert q_agreement([row]) == {"Q/correlation": 1.0, "Q/AUC of its sign": 1.0}
