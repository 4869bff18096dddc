"""Figures over seeds: means, intervals of both kinds, and when a difference counts."""

import numpy as np
import pytest
from scipy import stats

from rstar_jax.report.progress import Progress
from rstar_jax.sweep import figures
from tests.sweep.fakes import evaluation


@pytest.mark.parametrize("seeds", [2, 3, 12, 29, 60])
def test_the_interval_over_seeds_is_students(seeds):
    values = np.random.default_rng(seeds).normal(0.5, 0.1, seeds)
    found = figures.over_seeds(list(values))
    low, high = stats.t.interval(0.95, seeds - 1, values.mean(), stats.sem(values))
    assert found is not None
    np.testing.assert_allclose([found.value, found.low, found.high], [values.mean(), low, high], atol=1e-3)


def test_one_seed_has_no_interval():
    assert figures.over_seeds([0.5]) is None


def cells(tmp_path, *settings):
    """settings: for each its seeds, each the problems that are right, or None of one that is not done."""
    made = []
    for number, seeds in enumerate(settings):
        folders = {}
        for seed, right in enumerate(seeds):
            if right is None:
                continue
            folders[str(seed)] = tmp_path / f"{number}-{seed}"
            evaluation(folders[str(seed)], right)
        made.append(figures.Setting(f"c={number}", {"c": str(number)}, folders))
    found, unread = figures.cells(made, (), Progress(False))
    assert not unread
    return found


def test_problems_are_averaged_over_seeds_and_differences_paired_by_both(tmp_path):
    first = [[1] * 10 + [0] * 30, [1] * 14 + [0] * 26]
    second = [[1] * 30 + [0] * 10, [1] * 34 + [0] * 6]
    a, b = cells(tmp_path, first, second)
    assert a.seeds == {"0": 0.25, "1": 0.35} and a.difference is None and a.verdict == ""
    assert (a.figure.value, a.figure.problems) == (pytest.approx(0.3), 40)
    # Two seeds tell little: 0.3 and half of 2 x 12.7 x 0.05, but no share is below 0.
    assert (a.over_seeds.low, a.over_seeds.high) == (0, pytest.approx(0.3 + 12.706 * 0.05, abs=1e-3))
    assert b.difference.paired and b.difference.value == pytest.approx(0.5)
    # Both seeds rose by as much, though they are apart: another seed would have, too.
    assert b.difference_over_seeds.low == pytest.approx(0.5) == pytest.approx(b.difference_over_seeds.high)
    assert b.verdict == "better"


def test_a_difference_that_seeds_do_not_agree_on_does_not_count(tmp_path):
    first = [[1] * 10 + [0] * 30] * 2
    second = [[1] * 40, [1] * 10 + [0] * 30]
    _, b = cells(tmp_path, first, second)
    assert b.difference.verdict == "better" and b.verdict == "unsure"


def test_settings_are_compared_over_the_seeds_that_both_have(tmp_path):
    lucky, unlucky = [1] * 30 + [0] * 10, [1] * 10 + [0] * 30
    a, b = cells(tmp_path, [lucky, unlucky], [None, unlucky])
    assert a.figure.value == 0.5 and b.figure.value == 0.25
    assert b.difference.value == 0 and b.difference_over_seeds is None
    assert b.notes == ("compared over the seeds that both have: 1",)


def test_what_is_damaged_is_told_and_the_rest_is_read(tmp_path):
    good, bad = [1] * 10 + [0] * 30, [1] * 20 + [0] * 20
    for number, right in enumerate((good, bad)):
        evaluation(tmp_path / str(number), right)
    (file,) = (tmp_path / "1").rglob("predictions.parquet")
    file.write_bytes(file.read_bytes()[:-9])
    made = [
        figures.Setting(str(n), {"c": str(n)}, {"0": tmp_path / str(n), "1": tmp_path / "0"}) for n in (0, 1)
    ]
    (a, b), _ = figures.cells(made, (), Progress(False))
    assert a.seeds == {"0": 0.25, "1": 0.25} and b.seeds == {"1": 0.25}
    assert "predictions.parquet: damaged" in b.notes[0] and "Remove 1.json" in b.notes[0]
