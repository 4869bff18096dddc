"""The loop: microbatches add up, options mean what they say, a second training compiles nothing."""

import dataclasses
import gc

import flax.nnx as nnx
import jax
import numpy as np
import pytest

from rstar_jax.compilations import abstract
from rstar_jax.errors import UserError
from rstar_jax.models import Decoder, DecoderConfig, init_random
from rstar_jax.plan.needs import AVERAGING, UPDATING
from rstar_jax.train import (
    MetricsWriter,
    PolicyBatches,
    TrainConfig,
    fit,
    policy_loss,
    programs,
    read_metrics,
)
from rstar_jax.train.optimizer import decays
from rstar_jax.train.step import TrainPrograms
from rstar_jax.transforms import lora

STEP = ["jit(accumulate)", "jit(update)"]
CONFIG = TrainConfig(epochs=4, batch=8, seq_len=32, microbatch=1, learning_rate=1e-2)


def train(model, examples, config=CONFIG, **options):
    batches = PolicyBatches(examples, config, seed=0)
    return fit(model, batches, policy_loss, config, total_steps=batches.total_steps, **options)


def put_on_a_device(model, names):
    for name, variable in nnx.to_flat_state(nnx.state(model)):
        if names == "all" or name[-1] in names:
            variable[...] = jax.device_put(variable[...], jax.devices()[0])


def parameters(model):
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def test_microbatches_equal_the_whole_batch(tiny, examples):
    results = []
    for microbatch in (1, 4):
        model = tiny()
        assert train(model, examples, dataclasses.replace(CONFIG, microbatch=microbatch)).steps == 4
        results.append(parameters(model))
    # Adam's first steps are signs of gradients, so that rounding can show in parameters with hardly any.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *results)


def test_overfits_eight_examples(tiny, examples, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=120, microbatch=4, learning_rate=3e-2)
    metrics, seen = MetricsWriter(tmp_path, tensorboard=False), []
    summary = train(tiny(), examples, config, metrics=metrics, on_step=lambda *args: seen.append(args))
    assert summary.last_loss < 0.1 < 2 < summary.first_loss
    assert summary.metrics["accuracy"] > 0.99
    assert (summary.steps, summary.examples, summary.dropped) == (120, 960, 0)
    assert summary.tokens == 120 * sum(len(e.tokens) for e in examples)
    assert [done for done, total, _ in seen] == list(range(1, 121)) and seen[0][1] == 120
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert len(rows) == 120 and rows[-1]["loss"] == summary.last_loss


def test_an_equal_model_and_other_numbers_compile_nothing_new(tiny, examples, heard):
    train(tiny(0), examples)
    model = tiny(1)
    heard.clear()
    train(model, examples, dataclasses.replace(CONFIG, epochs=7, learning_rate=3e-3, warmup_fraction=0.2))
    assert not heard
    jax.jit(lambda x: x + 1)(1.0)
    assert heard  # the listener hears what it should


@pytest.mark.parametrize("committed", [(), ("embed",), "all"])
def test_the_rows_of_the_catalogue_are_what_a_training_calls(tiny, examples, heard, committed):
    config, model = dataclasses.replace(CONFIG, weight_decay=0.03), tiny()
    put_on_a_device(model, committed)
    jax.clear_caches()
    parameters = abstract(model.params())
    microbatch = PolicyBatches(examples, config, seed=0)(0).microbatches[0]
    heard.clear()
    for row in programs(Decoder(model.config, parameters), microbatch, policy_loss, config):
        row.compile()
    assert [name for name in heard if name in STEP] == STEP
    train(model, examples, config)
    assert [name for name in heard if name in STEP] == STEP


def test_an_update_on_a_cpu_copies_nothing_that_is_donated(tiny, examples):
    config = dataclasses.replace(CONFIG, ema=0.9)
    microbatch = PolicyBatches(examples, config, seed=0)(0).microbatches[0]
    model = tiny()
    _, update = programs(model, microbatch, policy_loss, config)
    memory = update.compile().memory_analysis()
    assert memory.temp_size_in_bytes < 1.3 * sum(a.nbytes for a in jax.tree.leaves(parameters(model)))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_an_update_holds_no_more_than_a_plan_expects(examples, ema):
    """The MLP's three matrices are the largest there."""
    config = dataclasses.replace(CONFIG, ema=ema)
    shape = DecoderConfig(vocab_size=64, width=64, layers=4, heads=4, kv_heads=2, head_dim=16, mlp=192)
    microbatch = PolicyBatches(examples, config, seed=0)(0).microbatches[0]
    _, update = programs(init_random(shape, seed=0), microbatch, policy_loss, config)
    held = update.compile().memory_analysis().temp_size_in_bytes / (4 * 4 * 64 * 192)
    expected = UPDATING["adamw"] + (AVERAGING["adamw"] if ema else 0)
    assert expected - 1 < held < expected + 0.1


@pytest.mark.parametrize("committed", [["embed"], ["embed", "norm"], "all"])
@pytest.mark.parametrize("low_rank", [False, True])
def test_weights_that_are_put_on_a_device_compile_each_program_once(
    tiny, examples, committed, low_rank, heard
):
    model, config = tiny(), dataclasses.replace(CONFIG, weight_decay=0.021)
    if low_rank:
        lora.adapt(model, lora.LoraConfig(rank=2), seed=0)
    put_on_a_device(model, committed)
    jax.clear_caches()
    heard.clear()
    train(model, examples, config)
    assert [name for name in heard if name in STEP] == STEP


def test_a_resumed_training_compiles_each_program_once(tiny, examples, tmp_path, heard):
    config = dataclasses.replace(CONFIG, weight_decay=0.022, checkpoint_every_steps=1)

    def stop(done, *_):
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(tiny(), examples, config, checkpoints=tmp_path, on_step=stop)
    jax.clear_caches()
    heard.clear()
    assert train(tiny(), examples, config, checkpoints=tmp_path).steps == 4
    assert [name for name in heard if name in STEP] == STEP


def test_weight_decay_touches_matrices_alone(tiny, examples):
    named = {
        jax.tree_util.keystr(p): d for p, d in jax.tree_util.tree_leaves_with_path(decays(parameters(tiny())))
    }
    assert {k for k, d in named.items() if not d} == {
        "['norm']", *(f"['layers']['{n}']" for n in ("attn_norm", "mlp_norm", "q_bias", "k_bias", "v_bias")),
    }  # fmt: skip
    # With nothing to learn from the data decay acts alone: 1 - rate * decay per step, rates 1, 3/4, 1/2, 1/4.
    masked = [dataclasses.replace(e, trained=np.zeros(len(e.tokens), bool)) for e in examples]
    model, start = tiny(), parameters(tiny())
    train(model, masked, dataclasses.replace(CONFIG, learning_rate=0.5))
    factor = np.prod([1 - 0.05 * r for r in (1, 0.75, 0.5, 0.25)])
    jax.tree.map(
        lambda now, was, d: np.testing.assert_allclose(now, was * (factor if d else 1), rtol=1e-5),
        parameters(model), start, decays(start),
    )  # fmt: skip


def test_the_callers_other_references_survive(tiny, examples):
    model = tiny()
    before = parameters(model)
    kept = jax.tree.map(np.array, before)
    train(model, examples)
    jax.tree.map(np.testing.assert_array_equal, before, kept)
    assert not np.array_equal(parameters(model)["embed"], kept["embed"])


def test_a_training_leaves_nothing_but_the_model_on_the_device(tiny, examples, tmp_path):
    gc.collect()
    before, model = sum(array.nbytes for array in jax.live_arrays()), tiny()
    train(model, examples, dataclasses.replace(CONFIG, checkpoint_every_steps=1), checkpoints=tmp_path)
    gc.collect()
    left = sum(array.nbytes for array in jax.live_arrays()) - before
    assert left <= sum(value.nbytes for value in jax.tree.leaves(parameters(model)))


def test_remat_changes_no_number(tiny, examples):
    losses = [
        train(tiny(), examples, dataclasses.replace(CONFIG, remat=remat, microbatch=4)).last_loss
        for remat in ("none", "dots", "full")
    ]
    assert losses[1:] == pytest.approx(losses[:1] * 2, rel=1e-4)


def test_a_loss_that_is_not_finite_stops_the_training(tiny, examples):
    model = tiny()
    model.embed[...] = model.embed[...].at[0].set(np.nan)
    with pytest.raises(UserError, match=r"step 4 of 4: the loss is nan.*4 steps in a row.*learning_rate"):
        train(model, examples)


def test_too_many_rows_for_the_memory_name_fewer(tiny, examples, monkeypatch):
    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory in space hbm. Used 20G of 16G")

    made = TrainPrograms.of
    monkeypatch.setattr(TrainPrograms, "of", lambda *args: dataclasses.replace(made(*args), accumulate=full))
    config = dataclasses.replace(CONFIG, microbatch=2)
    with pytest.raises(UserError, match=r"2 rows of 32 tokens .*Used 20G of 16G.* train\.microbatch=1"):
        train(tiny(), examples, config)


def test_no_steps_is_an_error(tiny):
    with pytest.raises(UserError, match="no row to train on"):
        fit(tiny(), lambda step: None, policy_loss, CONFIG, total_steps=0)


@pytest.mark.parametrize(
    ("field", "value"), [("batch", 0), ("learning_rate", -1.0), ("warmup_fraction", 1.0), ("microbatch", 0)]
)
def test_bad_options_are_named(field, value):
    with pytest.raises(UserError, match=rf"train\.{field}: {value} given"):
        TrainConfig(**{field: value})
