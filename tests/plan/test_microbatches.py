"""Microbatches as a training would make them: its shapes, its parts of a batch, its padding."""

import dataclasses
import math

import numpy as np
import pytest

from rstar_jax.plan.compiled import Compiled
from rstar_jax.plan.cost import QWEN_7B, Shape
from rstar_jax.plan.fit import Fitting, Mesh
from rstar_jax.plan.hlo import Collective
from rstar_jax.plan.microbatches import solutions, trees
from rstar_jax.plan.pace import Pace
from rstar_jax.topologies import parse
from rstar_jax.train import Example, PolicyBatches, TrainConfig

ROW, BATCH, EACH = 4096, 128, 840.0


def slots(calls):
    return sum(times * math.prod(shape) for shape, times in calls.items())


@pytest.mark.parametrize(
    ("mesh", "rows", "least", "most"),
    [
        (Mesh(1, 1), 8, 0.0, 0.05),
        (Mesh(16, 4), 32, 0.0, 0.05),
        (Mesh(64, 1), 64, 0.1, 0.25),
        (Mesh(128, 1), 128, 0.5, 0.7),
    ],
    ids=["one", "16 parts", "64 parts", "128 parts"],
)
def test_padding_is_what_the_mesh_leaves(mesh, rows, least, most):
    """Parts of a batch that have no text compute padding, however short their rows."""
    calls = solutions(mesh, rows, ROW, BATCH, EACH)
    assert least < 1 - BATCH * EACH / slots(calls) < most
    assert all(n % mesh.wide == 0 and n <= rows and length <= ROW for n, length in calls)


def test_a_policys_are_those_of_its_training():
    config = TrainConfig(epochs=10**4, batch=16, seq_len=1024, microbatch=8)
    lengths = np.random.default_rng(1).lognormal(math.log(300) - 0.35**2 / 2, 0.35, 400).astype(int)
    examples = [Example(np.zeros(n, np.int32), np.ones(n, bool)) for n in lengths]
    batches = PolicyBatches(examples, config, seed=0)
    made = [batches(step).microbatches for step in range(batches.steps_per_epoch)]
    took = sum(array["tokens"].size for microbatches in made for array in microbatches) / len(made)
    assert slots(solutions(Mesh(1, 1), 8, 1024, 16, 300.0)) == pytest.approx(took, rel=0.05)


def test_trees_take_the_least_shape_that_holds_them():
    for mesh, rows in ((Mesh(1, 1), 8), (Mesh(16, 4), 64), (Mesh(4, 4, context=4), 4)):
        for tokens in (2000.0, 30_000.0, 200_000.0):
            calls = trees(mesh, rows, ROW, tokens, EACH)
            ((n, length),) = calls
            assert n % mesh.wide == 0 and n <= rows and EACH <= length <= ROW
            assert length % (128 * mesh.context) == 0
            assert slots(calls) >= tokens
    # By hand: 32,000 tokens and a nineteenth more are 8.2 rows, so 16 of 4,096 / 2 tokens and another 128.
    assert trees(Mesh(16, 4), 16, ROW, 32_000.0, EACH) == {(16, 2176): 1}


def test_smaller_microbatches_take_less_time_and_send_less():
    chips, mesh = parse("v5p:4x4x4"), Mesh(16, 4)
    whole = Fitting(chips, Pace(Shape.of(QWEN_7B), chips.chip), {}, None)
    told = Compiled(collectives={"all-gather": Collective(1, 10**12)})

    def seconds(calls, compiled):
        packed = dataclasses.replace(whole, calls=lambda *_: calls)
        return packed.step_s("policy", mesh, "none", 32, ROW, 32.0, compiled)

    for compiled in (None, told):
        one = whole.step_s("policy", mesh, "none", 32, ROW, 32.0, compiled)
        assert seconds({(32, ROW): 1.0}, compiled) == one
        half, two = seconds({(16, ROW): 1.0}, compiled), seconds({(16, ROW): 2.0}, compiled)
        assert half < one < two  # weights are gathered anew for each
