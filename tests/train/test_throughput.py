"""What a step's figures say of speed and memory: counted as XLA counts, and only where it is known."""

import dataclasses

import numpy as np
import pytest
from flax import nnx

from rstar_jax.models import DecoderConfig, Experts, from_policy, init_random
from rstar_jax.topologies import CHIPS, chip_named
from rstar_jax.train import (
    Example,
    MetricsWriter,
    PolicyBatches,
    TrainConfig,
    fit,
    policy_loss,
    programs,
    read_metrics,
)
from rstar_jax.train import throughput as module
from rstar_jax.train.throughput import DeviceClock, Throughput, flops
from rstar_jax.transforms import lora

CONFIG = DecoderConfig(vocab_size=512, width=128, layers=1, heads=4, kv_heads=2, head_dim=32, mlp=256)
OPTIONS = TrainConfig(epochs=2, batch=4, seq_len=64, microbatch=4)


def parts(model):
    _, params, frozen = nnx.split(model, nnx.Param, ...)
    return nnx.to_pure_dict(params), frozen


def rows():
    """Four rows of 64 tokens, each of which sees all: XLA computes the products above the diagonal, too."""
    examples = [Example(np.ones(64, np.int32), np.ones(64, bool))] * 4
    batch = PolicyBatches(examples, OPTIONS, 0)(0).microbatches[0]
    return batch | {"positions": np.full_like(batch["positions"], 63)}


@pytest.mark.parametrize("kind", ["policy", "untied", "low rank"])
def test_operations_are_those_that_xla_counts(kind):
    model = init_random(dataclasses.replace(CONFIG, tied=kind != "untied"), 0)
    if kind == "low rank":
        lora.adapt(model, lora.LoraConfig(rank=8), seed=0)
    products, attention = flops(model, *parts(model))
    counted = programs(model, rows(), policy_loss, OPTIONS)[0].compile().cost_analysis()["flops"]
    assert 4 * 64 * (products + 64 * attention) == pytest.approx(counted, rel=0.1)


def test_operations_of_heads_and_experts():
    decoder = init_random(CONFIG, 0)
    both = [flops(model, *parts(model)) for model in (decoder, from_policy(decoder))]
    assert both[0][0] - both[1][0] == 6 * 512 * 128 and both[0][1] == both[1][1]  # a PPM has no logits
    few, all_of = (
        init_random(dataclasses.replace(CONFIG, experts=Experts(8, n, mlp=64, shared=1, dense_layers=0)), 0)
        for n in (2, 8)
    )
    assert flops(all_of, *parts(all_of))[0] - flops(few, *parts(few))[0] == 6 * 6 * 3 * 128 * 64


def test_rows_have_tokens_a_second_and_memory_and_where_the_chip_is_known_mfu(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    examples = [Example(rng.integers(0, 512, n).astype(np.int32), np.ones(n, bool)) for n in (50, 60, 40, 64)]
    found = []
    for name in ("cpu", "NVIDIA H100 80GB HBM3"):
        monkeypatch.setattr(module, "chip_named", lambda _, name=name: chip_named(name))
        batches, metrics = (
            PolicyBatches(examples, OPTIONS, 0),
            MetricsWriter(tmp_path / name, tensorboard=False),
        )
        summary = fit(init_random(CONFIG, 0), batches, policy_loss, OPTIONS, total_steps=2, metrics=metrics)
        found.append((summary, read_metrics(metrics.path)))
    (unknown, rows), (known, others) = found
    assert unknown.mfu is None and not any("mfu" in row for row in rows)
    assert all(row["tokens_per_s"] > 0 and 0 < row["peak_memory_gib"] < 100 for row in rows)
    assert 0 < known.mfu < 1 and all(0 < row["mfu"] < 1 for row in others)
    assert "tokens_per_s" not in known.metrics


def test_mfu_is_work_over_the_peak_of_all_devices(monkeypatch):
    monkeypatch.setattr(module, "chip_named", lambda _: CHIPS["v5e"])
    model = init_random(CONFIG, 0)
    products, attention = flops(model, *parts(model))
    one = Throughput(model, *parts(model))
    figures = one.step([rows()], 64, 2.0)
    assert figures["tokens_per_s"] == 32
    assert figures["mfu"] == one.mfu == pytest.approx(32 * (products + 64 * attention) / 197e12)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("NVIDIA H200", "h200"),
        ("cpu", None),
    ],
)
def test_chips_are_known_by_what_jax_calls_them(kind, name):
    chip = chip_named(kind)
    assert (chip and chip.name) == name


def test_steps_that_overlap_are_counted_once(monkeypatch):
    now = iter([0.0, 1.0, 2.0, 3.0, 11.0, 12.0, 21.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    clock = DeviceClock()
    clock.begin({(4, 64)})
    clock.dispatched()  # compiled from 0 to 1
    clock.begin({(4, 64)})
    clock.dispatched()
    for _ in range(2):
        with clock.awaited():
            pass
    assert (clock.device, clock.waited, clock.last) == (10.0 + 10.0, 8.0 + 9.0, 10.0)


def test_compiling_another_shape_is_no_work_of_the_device(monkeypatch):
    """Nor of the step before, which is read first."""
    now = iter([0.0, 5.0, 5.0, 6.0, 6.0, 16.0, 16.0, 18.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    clock = DeviceClock()
    for shapes in ({(4, 64)}, {(4, 64), (2, 32)}):
        assert not clock.knows(shapes)
        clock.begin(shapes)
        clock.dispatched()
        with clock.awaited():
            pass
        assert clock.knows(shapes)
    assert clock.device == 1.0 + 2.0


def test_a_step_is_read_before_another_shape_is_compiled(monkeypatch):
    examples, told, begin = [Example(np.ones(20, np.int32), np.ones(20, bool))] * 4, [], DeviceClock.begin
    both = [PolicyBatches(examples, dataclasses.replace(OPTIONS, seq_len=n), 0)(0) for n in (64, 32)]
    monkeypatch.setattr(DeviceClock, "begin", lambda *a: (told.append("begin"), begin(*a)))
    options = {"total_steps": 4, "on_step": lambda step, *_: told.append(step)}
    fit(init_random(CONFIG, 0), lambda step: both[step // 2], policy_loss, OPTIONS, **options)
    assert told == ["begin", "begin", 1, 2, "begin", "begin", 3, 4]
