"""PRMBench's figures, held to what its own code does with a list of labels."""

import numpy as np
import pytest

from rstar_jax.evaluate.judge.prm_score import confusion, prmbench_figures
from rstar_jax.evaluate.judge.readers import CLASSES, GROUPS


def theirs(samples):
    """PRMScore by class, group and overall, in plain Python after evaluate_function: labels are walked, wrong
    steps are looked up, and what cannot be divided is -1."""

    def f1(tp, fp, fn):
        precision = tp / (tp + fp) if tp + fp else -1
        recall = tp / (tp + fn) if tp + fn else -1
        return 2 * precision * recall / (precision + recall) if precision + recall else -1

    def score(some, single):
        tp = sum(right and i not in errors for errors, labels in some for i, right in enumerate(labels))
        fp = sum(right and i in errors for errors, labels in some for i, right in enumerate(labels))
        tn = sum(not right and i in errors for errors, labels in some for i, right in enumerate(labels))
        fn = sum(not right and i not in errors for errors, labels in some for i, right in enumerate(labels))
        return f1(tp, fp, fn) if single else 0.5 * f1(tp, fp, fn) + 0.5 * f1(tn, fn, fp)

    found = {
        name: score([(e, la) for kind, e, la in samples if kind == name], name == "multi_solutions")
        for name in CLASSES
    }
    for group, names in GROUPS.items():
        found[group] = sum(found[name] for name in names) / len(names)
    found["overall"] = score([(e, la) for _, e, la in samples], single=False)
    return found


def some_samples(rng, count, good):
    samples = []
    for i in range(count):
        kind, steps = CLASSES[i % len(CLASSES)], int(rng.integers(1, 8))
        wrong = set() if kind == "multi_solutions" else {*rng.integers(0, steps, 2).tolist()}
        labels = [(j not in wrong) == (rng.random() < good) for j in range(steps)]
        samples.append((kind, wrong, labels))
    return samples


@pytest.mark.parametrize("good", [0.0, 0.2, 0.7, 1.0])
def test_scores_are_those_of_the_benchmarks_own_code(good):
    samples = some_samples(np.random.default_rng(7), 90, good)
    counts = [confusion(sorted(wrong), labels) for _, wrong, labels in samples]
    found = prmbench_figures([kind for kind, *_ in samples], [str(i // 9) for i in range(90)], counts)
    values = found.values()
    assert {name: values[f"{name}/PRMScore"] for name in theirs(samples)} == pytest.approx(theirs(samples))
    assert values["multi_solutions/PRMScore"] == values["multi_solutions/F1"]
    assert "multi_solutions/negative F1" not in values


def test_steps_are_counted_by_what_they_are_and_are_taken_for():
    assert confusion((1, 2), (True, True, False, False)) == (1, 1, 1, 1)
    assert confusion((0, 5), (True,)) == (0, 1, 0, 0)  # a step that nobody wrote is passed over


def test_a_judge_that_takes_all_for_right_is_undefined_where_theirs_is():
    values = prmbench_figures(["circular"], ["p"], [confusion((0,), (True, True))]).values()
    assert values["circular/negative F1"] == 0  # precision -1, recall 0: as their code has it
    values = prmbench_figures(["circular"], ["p"], [confusion((0,), (True, False))]).values()
    assert values["circular/F1"] == values["circular/negative F1"] == -1
