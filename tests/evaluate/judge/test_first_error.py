"""ProcessBench's figures, held to its own code's arithmetic; the threshold to a search over all of them."""

import numpy as np
import pytest

from rstar_jax.evaluate.judge.first_error import best_threshold, first_below, processbench_figures


def f1_of(values, labels, threshold):
    """The lines of code/run_eval.py: shares of matches among erroneous and correct solutions."""
    match = [first_below(v, threshold) == label for v, label in zip(values, labels, strict=True)]
    acc1 = np.mean([m for m, label in zip(match, labels, strict=True) if label != -1]) * 100
    acc2 = np.mean([m for m, label in zip(match, labels, strict=True) if label == -1]) * 100
    return 2 * acc1 * acc2 / (acc1 + acc2) if acc1 + acc2 else 0.0


def solutions(rng, count, steps=5):
    """Random values; a solution's wrong step is lower as a rule."""
    values, labels = [], []
    for _ in range(count):
        label = int(rng.integers(-1, steps))
        of = np.round(rng.uniform(-1, 1, steps), 1)  # with ties
        if label >= 0:
            of[label] -= 0.5
        values.append(tuple(np.clip(of, -1, 1)))
        labels.append(label)
    return values, labels


@pytest.mark.parametrize("seed", range(8))
def test_the_threshold_has_the_best_f1_of_all(seed):
    values, labels = solutions(np.random.default_rng(seed), 40)
    seen = np.unique(np.concatenate(values))
    tried = [-1.0, 1.0, *(seen[:-1] + seen[1:]) / 2, *seen]
    found = best_threshold(values, labels)
    assert f1_of(values, labels, found) == pytest.approx(max(f1_of(values, labels, t) for t in tried))
    assert -1 <= found <= 1


def test_the_first_step_below_is_named_and_one_that_is_equal_is_not():
    assert first_below((0.5, 0.1, -0.3, -0.9), 0.1) == 2
    assert first_below((0.5, 0.1), 0.1) == -1 == first_below((), 0.1)


def test_a_threshold_needs_both_kinds_and_lies_between_values():
    assert best_threshold([(0.5,), (0.2,)], [-1, -1]) == 0 == best_threshold([(0.5,)], [0])
    assert best_threshold([(0.9, 0.7), (0.9, 0.1)], [-1, 1]) == pytest.approx(0.4)


def test_of_thresholds_that_are_as_good_the_one_next_to_0_is_taken():
    wrong = [(0.8, -0.5), (0.0, -0.9), (0.9, 0.2)]  # rightly named from -0.5 to 0.8, -0.9 to 0, 0.2 to 0.9
    assert best_threshold([*wrong, (0.95,)], [1, 1, 1, -1]) == pytest.approx(-0.25)
    assert best_threshold([[-v for v in of] for of in ((0.8,), (0.5,))], [0, -1]) == pytest.approx(-0.65)


def test_figures_are_those_of_the_benchmarks_own_code():
    rng = np.random.default_rng(3)
    parts, problems, predictions, labels, by_part = [], [], [], [], {}
    for part in ("gsm8k", "omnimath"):
        values, of = solutions(rng, 60)
        by_part[part] = f1_of(values, of, 0.1)
        predictions += [first_below(v, 0.1) for v in values]
        labels += of
        parts += [part] * 60
        problems += [f"{part}{i // 3}" for i in range(60)]
    found = processbench_figures(parts, problems, predictions, labels)
    figures = found.figures(seed=0)
    assert {name: 100 * figures[f"{name}/F1"].value for name in by_part} == pytest.approx(by_part)
    assert 100 * figures["average/F1"].value == pytest.approx(np.mean([*by_part.values()]))
    assert "math/F1" not in figures and figures["gsm8k/F1"].problems == 20
    assert all(f.low <= f.value <= f.high and f.high - f.low > 0.02 for f in figures.values())


def test_what_could_not_be_read_is_never_right_and_without_correct_solutions_there_is_no_f1():
    figures = processbench_figures(["math"] * 2, ["a", "b"], [None, 1], [0, 1]).figures(0)
    assert figures["math/error"].value == 0.5 and "math/F1" not in figures and "math/correct" not in figures


def test_copies_of_a_problems_samples_do_not_narrow_an_interval():
    values, labels = solutions(np.random.default_rng(5), 50)
    predictions = [first_below(v, 0) for v in values]
    once = processbench_figures(["math"] * 50, [*map(str, range(50))], predictions, labels).figures(0)
    often = processbench_figures(["math"] * 200, [*map(str, range(50))] * 4, predictions * 4, labels * 4)
    four, one = often.figures(0)["math/F1"], once["math/F1"]
    assert four.value == pytest.approx(one.value)
    assert four.high - four.low == pytest.approx(one.high - one.low, rel=0.1)


def test_intervals_of_an_f1_cover_the_truth():
    rng, covered = np.random.default_rng(0), 0
    truth = 2 * 0.4 * 0.7 / (0.4 + 0.7)
    for trial in range(150):
        labels = [0] * 60 + [-1] * 60
        wrong, right = rng.random(60) < 0.4, rng.random(60) < 0.7
        predictions = [0 if w else 1 for w in wrong] + [-1 if r else 0 for r in right]
        found = processbench_figures(["math"] * 120, [*map(str, range(120))], predictions, labels)
        figure = found.figures(trial, draws=400)["math/F1"]
        covered += figure.low <= truth <= figure.high
    assert 0.90 <= covered / 150 <= 0.99
