"""A round with a reward model other than the PPM."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from rstar_jax import parquet
from rstar_jax.curate import StepValues
from rstar_jax.evolve import rounds
from rstar_jax.evolve.reward_models import REWARD_MODELS
from rstar_jax.evolve.shards import read_trees
from rstar_jax.weights import load_reward_model
from tests.evolve.small_runs import small


def test_a_round_whose_reward_model_learns_the_q_of_steps(tmp_path: Path) -> None:
    """It learns what its search found; its model is not the policy's, and orders held-out answers."""
    found = rounds.run(small("--config.rounds=(1,)", "--config.train.reward=pqm"), tmp_path)["rounds"][0]
    rows = parquet.read_rows(tmp_path / "round1/curate/values.parquet", StepValues)
    q = {
        (tree.problem.id, tree.steps(i)): node.q
        for tree in read_trees(tmp_path / "round1/search")
        for i, node in enumerate(tree.nodes)
    }
    assert rows and all(
        row.values[k] == q[row.problem_id, row.steps[: k + 1]] for row in rows for k in range(len(row.steps))
    )
    assert found["pairs"] > 0 and found["ppm_pair_accuracy"] is None
    assert 0 <= found["ppm_training"]["metrics"]["sign"] <= 1
    assert found["heldout_order"]["answers"] > 0
    assert np.asarray(load_reward_model(tmp_path / "round1/ppm/model").score[...]).any()
    right = [dataclasses.replace(row, values=(1.0,) * len(row.values)) for row in rows]
    assert REWARD_MODELS["pqm"].lacking(right) == "all values of steps are 1"
