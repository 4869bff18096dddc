"""Microbatches as a training would make them: its shapes, its parts of a batch, its padding."""

import dataclasses
import math

import numpy as np
import pytest

from rstar_jax.plan.compiled import Compiled
from rstar_jax.plan.cost import QWEN_7B, Shape
from rstar_jax.plan.estimate import Assumed
from rstar_jax.plan.fit import Fitting, Mesh
from rstar_jax.plan.hlo import Collective
from rstar_jax.plan.microbatches import pairs, solutions
from rstar_jax.plan.pace import Pace
from rstar_jax.topologies import parse
from rstar_jax.train import Example, PolicyBatches, PpmBatches, TrainConfig

ROW, BATCH, ASSUMED = 4096, 128, Assumed()


def slots(calls):
    return sum(times * math.prod(shape) for shape, times in calls.items())


def padding(calls, each):
    return 1 - BATCH * each / slots(calls)


@pytest.mark.parametrize(
    ("mesh", "rows", "of_policy", "of_ppm"),
    [
        (Mesh(1, 1), 8, (0.0, 0.06), (0.0, 0.08)),
        (Mesh(16, 4), 32, (0.0, 0.06), (0.1, 0.2)),
        (Mesh(64, 1), 64, (0.2, 0.35), (0.5, 0.6)),
        (Mesh(128, 1), 128, (0.55, 0.7), (0.7, 0.8)),
    ],
    ids=["one", "16 parts", "64 parts", "128 parts"],
)
def test_padding_is_what_the_mesh_leaves(mesh, rows, of_policy, of_ppm):
    """Parts of a batch that have no text compute padding, however short their rows."""
    of_solutions = solutions(mesh, rows, ROW, BATCH, ASSUMED)
    of_pairs = pairs(mesh, rows, ROW, BATCH, ASSUMED)
    assert of_policy[0] < padding(of_solutions, ASSUMED.solution_tokens(ROW)) < of_policy[1]
    assert of_ppm[0] < padding(of_pairs, ASSUMED.pair_tokens(ASSUMED.pairs, ROW)) < of_ppm[1]
    for calls in (of_solutions, of_pairs):
        assert all(n % mesh.wide == 0 and n <= rows and length <= ROW for n, length in calls)


def test_a_policys_are_those_of_its_training():
    """Solutions of a question stand in a row with their prompt once."""
    config = TrainConfig(epochs=10**4, batch=16, seq_len=1024, microbatch=8)
    rng = np.random.default_rng(1)
    prompts = rng.integers(1, 2**20, (200, 140))
    lengths = rng.lognormal(math.log(160) - 0.35**2 / 2, 0.35, 400).astype(int)
    texts = [np.concatenate([prompts[i // 2], rng.integers(1, 2**20, n)]) for i, n in enumerate(lengths)]
    examples = [Example(ids.astype(np.int32), np.ones(len(ids), bool)) for ids in texts]
    batches = PolicyBatches(examples, config, seed=0, questions=np.arange(400).reshape(200, 2))
    made = [batches(step).microbatches for step in range(batches.steps_per_epoch)]
    took = sum(array["tokens"].size for microbatches in made for array in microbatches) / len(made)
    sizes = Assumed(prompt=140, step=40, steps=4)
    assert slots(solutions(Mesh(1, 1), 8, 1024, 16, sizes)) == pytest.approx(took, rel=0.05)
    alone = dataclasses.replace(sizes, rows=1)
    assert slots(solutions(Mesh(1, 1), 8, 1024, 16, alone)) > 1.15 * took


def test_a_ppms_are_those_of_its_training():
    """The pairs of a question fork from one way."""
    config = TrainConfig(epochs=10**4, batch=16, seq_len=1024, microbatch=8)
    rng, sides, step = np.random.default_rng(2), [], 40
    for factor in rng.lognormal(-(0.35**2) / 2, 0.35, 100):
        way = rng.integers(1, 2**20, 60 + round(factor * 160)).astype(np.int32)
        for fork in (len(way), *rng.integers(60, len(way) + 1, 3)):
            ends = rng.integers(1, 2**20, (2, round(factor * step))).astype(np.int32)
            sides.append(tuple(np.concatenate([way[:fork], end]) for end in ends))
    questions = np.arange(len(sides)).reshape(-1, 4)
    batches = PpmBatches(sides.__getitem__, questions, np.ones(len(sides)), config, 0)
    places = [batches.rows.places(batches.steps(n).tolist()) for n in range(batches.steps_per_epoch)]
    took = sum(math.prod(shape) for microbatches in places for shape, _ in microbatches) / len(places)
    sizes = Assumed(prompt=60, step=step, steps=8, pairs=4)
    assert slots(pairs(Mesh(1, 1), 8, 1024, 16, sizes)) == pytest.approx(took, rel=0.05)


def test_trees_that_no_row_holds_are_learnt_in_parts():
    long = Assumed(prompt=200, step=100, steps=16, rows=3.5, pairs=40)
    for of, each in ((solutions, long.solution_tokens(2048)), (pairs, long.pair_tokens(40, 2048))):
        calls = of(Mesh(1, 1), 1, 2048, 16, long)
        assert set(calls) <= {(1, length) for length in range(128, 2049, 128)}
        assert slots(calls) > 16 * each
    assert slots(solutions(Mesh(1, 1), 1, 2048, 16, long)) < 1.3 * 16 * long.row


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
