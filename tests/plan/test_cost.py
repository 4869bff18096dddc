"""The arithmetic of a model's cost: known parameter counts, published ceilings, and growth with the work."""

import dataclasses

import pytest

from rstar_jax.plan.cost import DEVICES, QWEN_1_5B, QWEN_7B, SHARE, Shape, device_of
from rstar_jax.plan.estimate import SearchLoad, TrainLoad, plan


def test_parameters_are_the_published_ones():
    assert Shape.of(QWEN_1_5B).parameters == pytest.approx(1.54e9, rel=0.01)
    assert Shape.of(QWEN_7B).parameters == pytest.approx(7.62e9, rel=0.01)
    assert Shape.of(QWEN_1_5B).kv_bytes(2) == 28_672
    assert Shape.of(QWEN_7B).kv_bytes(2) == 57_344


@pytest.mark.parametrize(
    ("config", "device", "leaves", "candidates", "thousand_tokens"),
    [  # tokens per second at the whole roofline, contexts of 1000, 256 sequences, by hand from the shapes
        (QWEN_1_5B, "H200", 256, 1, 106),
        (QWEN_1_5B, "H200", 16, 16, 242),
        (QWEN_7B, "H200", 256, 1, 38),
        (QWEN_7B, "H200", 16, 16, 54),
        (QWEN_7B, "v5p", 16, 16, 32),
    ],
)
def test_decoding_meets_the_roofline(config, device, leaves, candidates, thousand_tokens):
    seconds = SHARE * Shape.of(config).decode_seconds(DEVICES[device], leaves, candidates, 1000, 0, 2)
    assert leaves * candidates / seconds / 1000 == pytest.approx(thousand_tokens, rel=0.02)


def test_training_costs_six_operations_a_parameter():
    shape, device = Shape.of(QWEN_7B), DEVICES["H200"]
    flops = SHARE * shape.train_seconds(device, 1.0, 0, "none") * device.flops
    assert flops == pytest.approx(42.4e9, rel=0.01)


def test_memory_in_gib():
    p = plan(QWEN_1_5B, SearchLoad(leaves=1, context=1024, max_step_tokens=0, ppm=False), 1, TrainLoad())
    assert p.weights == pytest.approx(2 * 1.54e9 / 2**30, rel=0.01)
    assert p.cache == pytest.approx(1024 * 28_672 / 2**30)
    assert p.optimiser == pytest.approx(8 * p.weights)
    assert p.hours is None


def test_int8_weights_and_low_rank_training_take_less():
    search = SearchLoad(leaves=1, context=1024, max_step_tokens=0)
    full, small = (plan(QWEN_7B, s, 1, TrainLoad()) for s in (search, dataclasses.replace(search, int8=True)))
    assert small.weights == full.weights / 2 and small.cache == full.cache
    # by hand: 28 layers, rank 16, q: 3584 + 3584, v: 3584 + 512, down: 18944 + 3584
    lora = (16, ("q", "v", "down"))
    trained = 28 * 16 * (7168 + 4096 + 22528)
    both = plan(QWEN_7B, search, 1, TrainLoad(policy_lora=lora, ppm_lora=lora))
    assert both.optimiser * 2**30 == 2 * Shape.of(QWEN_7B).parameters + 16 * trained
    ppm = plan(QWEN_7B, search, 1, TrainLoad(policy_lora=lora)).optimiser  # without the vocabulary's head
    assert (full.optimiser - ppm) * 2**30 == 16 * 152_064 * 3584


def test_an_average_takes_four_bytes_of_what_trains():
    search = SearchLoad(leaves=1, context=1024, max_step_tokens=0)

    def optimiser(**more) -> float:
        return plan(QWEN_7B, search, 1, TrainLoad(**more)).optimiser * 2**30

    parameters, lora = Shape.of(QWEN_7B).parameters, {"policy_lora": (16, ("q",)), "ppm_lora": (16, ("q",))}
    assert optimiser(policy_averaged=True) - optimiser() == 4 * parameters
    assert optimiser(ppm_averaged=True) == 20 * (parameters - 152_064 * 3584)  # the PPM has no such head
    assert optimiser(**lora, policy_averaged=True) - optimiser(**lora) == 4 * 28 * 16 * 2 * 3584


def test_plan_grows_with_the_work():
    device = DEVICES["v5e"]
    small = plan(QWEN_1_5B, SearchLoad(), 100, TrainLoad(), device)
    double = plan(QWEN_1_5B, SearchLoad(), 200, TrainLoad(), device)
    assert small.hours and double.hours == pytest.approx(2 * small.hours)
    assert double.tokens == 2 * small.tokens
    without_ppm = plan(QWEN_1_5B, SearchLoad(ppm=False), 100, TrainLoad(), device)
    assert without_ppm.search_hours < small.search_hours
    kept = plan(QWEN_1_5B, SearchLoad(), 100, TrainLoad(remat="none"), device)
    assert kept.activations > 2 * small.activations
    dots = plan(QWEN_1_5B, SearchLoad(), 100, TrainLoad(remat="dots"), device)
    assert small.activations < dots.activations < kept.activations
    assert kept.train_hours * kept.chips < dots.train_hours * dots.chips < small.train_hours * small.chips
    seven = plan(QWEN_7B, SearchLoad(), 100, TrainLoad(), device)
    assert seven.chips > small.chips
    assert seven.peak * 2**30 <= seven.chips * device.memory


@pytest.mark.parametrize(
    ("kind", "name"),
    [("TPU v5 lite", "v5e"), ("TPU v5p", "v5p"), ("TPU v6 lite", "v6e"), ("NVIDIA H200", "H200")],
)
def test_devices_by_the_names_jax_gives(kind, name):
    assert device_of(kind).name == name
