"""Figures of benchmarks from scores, and samples of a search's trajectories."""

import dataclasses

import pytest

from rstar_jax import parquet
from rstar_jax.errors import UserError
from rstar_jax.evaluate.judge.figures import judged
from rstar_jax.evaluate.judge.known_truth import trajectory_samples
from rstar_jax.evaluate.judge.samples import JudgeSample, StepScores
from rstar_jax.types import Tree
from tests.data.sum_trees import sum_tree


def row(name, part, values, errors=()):
    sample = JudgeSample(
        id=name, part=part, problem=name, question="Q?", steps=("s",) * max(1, len(values)), errors=errors
    )
    return StepScores.of(sample, 9, values)


def test_the_threshold_is_gsm8ks_and_holds_for_all():
    rows = [
        row("gsm8k-0", "gsm8k", (0.9, -0.3), (1,)),
        row("gsm8k-1", "gsm8k", (0.9, 0.1)),
        *(row(f"math-{i}", "math", (0.9, 0.6), (1,)) for i in range(5)),  # these alone would ask for more
        *(row(f"math-{i}", "math", (0.9, 0.8)) for i in range(5, 9)),
    ]
    found = judged("processbench", lambda: iter(rows), None, 0)
    assert found.threshold == pytest.approx(-0.1) and "2 solutions of gsm8k" in found.chosen
    assert found.figures["gsm8k/F1"].value == 1 and found.figures["math/F1"].value == 0
    assert found.figures["average/F1"].value == 0.5
    given = judged("processbench", lambda: iter(rows), 0.7, 0)
    assert (given.threshold, given.chosen) == (0.7, "given") and given.figures["math/F1"].value == 1


def test_without_both_kinds_in_gsm8k_the_threshold_is_0_and_says_so():
    found = judged("processbench", lambda: iter([row("math-1", "math", (0.5,))]), None, 0)
    assert found.threshold == 0 and found.chosen.startswith("0, as gsm8k has no")


def test_what_was_not_read_is_counted_and_named_and_in_no_figure():
    rows = [row("circular_a", "circular", (0.5, -0.5), (1,)), row("circular_b", "circular", (), (0,))]
    found = judged("prmbench", lambda: iter(rows), None, 0)
    assert (found.samples, found.too_long) == (1, ("circular_b",)) and found.counts["too long"] == 1
    assert found.figures["circular/PRMScore"].value == 1 and found.counts["steps"] == 2


def test_in_prmbench_a_value_at_the_threshold_is_taken_for_wrong():
    rows = [row("circular_a", "circular", (0.5, 0.0), (1,))]
    assert judged("prmbench", lambda: iter(rows), None, 0).figures["circular/PRMScore"].value == 1
    assert judged("prmbench", lambda: iter(rows), -0.1, 0).figures["circular/PRMScore"].value < 1


def test_a_searchs_trajectories_have_verified_values_and_a_first_wrong_step(tmp_path):
    tree = sum_tree(3, 4)
    nodes = [dataclasses.replace(node) for node in tree.nodes]
    nodes[4].value_sum = 0.5  # the wrong way looked well at its first step
    parquet.write_rows(
        tmp_path / "trees-0-00000.parquet", Tree, [dataclasses.replace(tree, nodes=tuple(nodes))]
    )
    right, wrong, last = trajectory_samples(tmp_path)
    assert (right.kind, right.errors, right.q) == ("right", (), (1.0, 1.0, 1.0))
    assert (wrong.kind, wrong.errors, wrong.q) == ("wrong", (1,), (0.5, -1.0, -1.0))
    assert right.problem == wrong.problem == last.problem and len({right.id, wrong.id, last.id}) == 3
    assert [*trajectory_samples(tmp_path, limit=2)] == [right, wrong]
    found = judged(
        "trees",
        lambda: iter([StepScores.of(s, 9, s.q) for s in (right, wrong, last)]),  # as the search says
        None,
        0,
    )
    assert found.figures["pairs of solutions"].value == 1 and "pairs of steps" not in found.figures
    assert found.correlations["Q/correlation"] == pytest.approx(1) and found.counts["right steps"] == 7


def test_a_folder_without_trajectories_is_told(tmp_path):
    with pytest.raises(UserError, match=r"config\.trees: .*no graded trajectories"):
        list(trajectory_samples(tmp_path))
    (tmp_path / "trees-0-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"config\.trees: .*00000.parquet: damaged .*It stays as it is"):
        list(trajectory_samples(tmp_path))
