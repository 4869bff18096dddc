"""Optimisers with small states: what rounding may change, that they learn as AdamW, and what they keep."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax.models import DecoderConfig, init_random
from rstar_jax.train import PolicyBatches, TrainConfig, fit, policy_loss
from rstar_jax.train.adam8bit import MEAN, ROOT, axis_of, block_of, dequantise, quantise, scale_by_adam8bit
from rstar_jax.train.optimizer import SCALES, optimizer
from rstar_jax.train.step import programs

CONFIG = TrainConfig(epochs=15, batch=4, seq_len=32, microbatch=2, learning_rate=1e-2)
WIDE = DecoderConfig(vocab_size=32, width=32, layers=1, heads=2, kv_heads=1, head_dim=16, mlp=64)


def spread(shape, seed=0):
    """Numbers of very different sizes, as the moments of a block are."""
    numbers, sizes = jax.random.normal(jax.random.key(seed), (2, *shape))
    return numbers * jnp.exp(3 * sizes)


@pytest.mark.parametrize(
    ("shape", "axis", "block"),
    [
        ((28, 3584, 18944), 2, 256), ((28, 3584, 28, 128), 1, 256), ((152064, 3584), 0, 256),
        ((151936, 896), 0, 128), ((28, 4, 128), 2, 128), ((30, 75), None, 0), ((3584,), None, 0),
    ],
)  # fmt: skip
def test_blocks_lie_along_the_axis_that_has_the_largest(shape, axis, block):
    assert axis_of(shape) == axis
    assert axis is None or block_of(shape[axis]) == block


@pytest.mark.parametrize("root", [False, True])
def test_a_rounded_number_is_one_of_its_two_neighbours_and_right_on_average(root):
    x = jnp.abs(spread((512, 2))) if root else spread((512, 2))
    draws = jax.vmap(lambda key: dequantise(*quantise(x, key, root=root)))
    found = np.asarray(draws(jax.random.split(jax.random.key(1), 400)), np.float64)
    codes, scale = quantise(x, jax.random.key(2), root=root)
    assert (codes.shape, codes.nbytes, scale.shape) == (x.shape, x.size, (2, 2))
    levels = ROOT if root else MEAN
    top = np.repeat(np.asarray(scale, np.float64)[None], 256, axis=0).reshape(x.shape)
    code = np.cbrt(np.abs(found) / top) * levels
    exact = np.cbrt(np.abs(np.asarray(x, np.float64)) / top) * levels
    least = np.maximum(exact, 1) if root else exact  # nothing but 0 is rounded to 0
    assert np.all(np.abs(code - least) < 1 + 1e-3)
    power, low = 2 if root else 1, np.floor(least)
    wanted = np.abs(np.asarray(x, np.float64)) ** power
    apart = top**power * (((low + 1) / levels) ** (3 * power) - (low / levels) ** (3 * power))
    off = np.abs((np.abs(found) ** power).mean(axis=0) - wanted)
    assert np.all((off <= 0.13 * apart) | (least > exact))  # five deviations of a mean of 400


def test_zero_stays_zero_and_nothing_else_becomes_it():
    x = jnp.zeros((64, 2)).at[5, 1].set(1e-20).at[6, 1].set(1.0)
    for root in (False, True):
        codes, scale = quantise(x, jax.random.key(0), root=root)
        assert not codes[:, 0].any() and not scale[:, 0].any()
        assert not np.delete(codes[:, 1], [5, 6]).any() and dequantise(codes, scale)[6, 1] == 1
    assert codes[5, 1] == 1


def test_moments_in_8_bits_forget_what_gradients_no_longer_are():
    """A step changes a square by less than half a code: rounded to the nearest one, it would stop shrinking,
    here at 0.029 for 0.01."""
    scale, state = scale_by_adam8bit(0.9, 0.99, 1e-8), None
    gradients = jnp.ones((64, 2))
    state = scale.init(gradients)
    update = jax.jit(lambda gradients, state: scale.update(gradients, state)[1])
    state = update(gradients, state)
    later = gradients.at[:32, 0].set(0.1)  # a block has ones and others
    for _ in range(1500):
        state = update(later, state)
    root = dequantise(state.root, state.root_scale)
    np.testing.assert_allclose(jnp.mean(jnp.square(root[:32, 0])), 0.01, rtol=0.1)
    np.testing.assert_allclose(root[:, 1], 1, rtol=0.02)


def test_a_noisy_quadratic_ends_as_near_as_with_float32_moments():
    curvature, goal = jnp.exp(1.5 * jax.random.normal(jax.random.key(1), (128, 64))), spread((128, 64), 2)

    def ends(name):
        transformation = optimizer(TrainConfig(optimizer=name, weight_decay=0.0, clip=0.0))

        def step(carry, i):
            w, state = carry
            noise = jax.random.normal(jax.random.fold_in(jax.random.key(3), i), w.shape)
            updates, state = transformation.update(curvature * (w - goal + 0.3 * noise), state, w)
            return (w - 0.02 * (1 - i / 300) * updates, state), None

        start = goal + jnp.sign(goal)
        (w, _), _ = jax.lax.scan(step, (start, transformation.init(start)), jnp.arange(300))
        return float(jnp.mean(curvature * jnp.square(w - goal)))

    exact = ends("adamw")
    assert exact < 0.05 and ends("adamw8bit") == pytest.approx(exact, rel=0.05)


def learnt(examples, config=CONFIG, dtype="float32"):
    model = init_random(WIDE, 0, dtype=jnp.dtype(dtype))
    batches = PolicyBatches(examples, config, seed=0)
    return model, fit(model, batches, policy_loss, config, total_steps=batches.total_steps)


def test_a_model_learns_with_each_as_with_adamw(examples):
    """adamw8bit: within 3 percent of the loss; adafactor is another method: within 15."""
    losses = {n: learnt(examples, dataclasses.replace(CONFIG, optimizer=n))[1].last_loss for n in SCALES}
    exact = losses["adamw"]
    assert exact < 2.5 and losses["adamw8bit"] == pytest.approx(exact, rel=0.03)
    assert losses["adafactor"] == pytest.approx(exact, rel=0.15)


@pytest.mark.parametrize(("name", "most"), [("adamw", 8), ("adamw8bit", 2.1), ("adafactor", 2.1)])
def test_bytes_that_a_state_keeps(name, most):
    params = {"mlp": jax.ShapeDtypeStruct((4, 256, 1024), jnp.float32), "norm": jnp.zeros((4, 256))}
    state = jax.eval_shape(optimizer(TrainConfig(optimizer=name)).init, params)
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    assert 0.9 * most < held / sum(p.size for p in jax.tree.leaves(params)) <= most * 1.01


def test_adafactor_without_a_mean_keeps_next_to_nothing():
    params = jax.ShapeDtypeStruct((4, 256, 1024), jnp.float32)
    state = jax.eval_shape(optimizer(TrainConfig(optimizer="adafactor", b1=0.0)).init, params)
    assert sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) < 0.05 * params.size


def test_updates_that_bfloat16_would_lose_are_kept(examples):
    """What trains is float32 whatever it was loaded in; it is computed with as before."""
    config = dataclasses.replace(CONFIG, epochs=4, learning_rate=1e-5, weight_decay=0.0)
    model, summary = learnt(examples, config, dtype="bfloat16")
    _, reference = learnt(examples, config)
    assert model.embed[...].dtype == jnp.float32
    moved = np.abs(model.embed[...] - init_random(WIDE, 0).embed[...].astype(jnp.bfloat16))
    assert 0 < np.max(moved) < 1e-4 and np.mean(moved > 0) > 0.5
    assert summary.steps == reference.steps and summary.last_loss == pytest.approx(
        reference.last_loss, rel=0.01
    )


def test_an_update_in_8_bits_takes_no_more_memory_than_one_in_float32():
    """What it holds while it works would else be more than what the codes save."""
    model = init_random(dataclasses.replace(WIDE, vocab_size=256, width=64, layers=8, mlp=256), 0)
    rows = jax.ShapeDtypeStruct((1, 32), jnp.int32)
    names = "tokens", "targets", "positions", "segment_ids", "ends", "marks"
    microbatch = dict.fromkeys(names, rows)
    microbatch["weights"] = jax.ShapeDtypeStruct((1, 32), jnp.float32)

    def taken(name):
        config = dataclasses.replace(CONFIG, optimizer=name)
        update = programs(model, microbatch, policy_loss, config)[1]
        found = update.function.lower(*update.arguments).compile().memory_analysis()
        return found.argument_size_in_bytes + found.temp_size_in_bytes

    assert taken("adamw8bit") < taken("adamw")
