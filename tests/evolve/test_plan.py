"""The estimates: known parameter counts, published ceilings, and sane behaviour."""

import dataclasses
import json
import subprocess
import sys

import pytest

from rstar_jax.decode import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.evolve import plan as planning
from rstar_jax.evolve.cost import DEVICES, QWEN_1_5B, QWEN_7B, SHARE, Shape, device_of
from rstar_jax.evolve.plan import Row, SearchLoad, TrainLoad, plan, read_config, table
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.models.lora import LoraConfig


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
    assert plan(QWEN_7B, search, 1, TrainLoad(policy_lora=lora)).optimiser == full.optimiser  # the PPM's


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


def test_unknown_device_has_no_hours():
    assert device_of("Quantum 9000") is None and device_of(None) is None
    text = table([Row("m", "here", (plan(QWEN_1_5B, SearchLoad(), 10, TrainLoad()),))], 10)
    assert text.splitlines()[2].endswith(" -")
    assert "estimate" in text and f"{SHARE:.0%}" in text


def settings():
    """Three rounds of few, small steps."""
    run = RunSettings(rounds=(1, 2, 3))
    return dataclasses.replace(
        run,
        search=dataclasses.replace(run.search, rollouts=(8, 16), candidates=(5, 8), ppm=(False, False, True)),
        decode=dataclasses.replace(run.decode, leaves=8, context=512, max_step_tokens=64),
    )


def test_announce_names_this_model_and_the_papers(tmp_path):
    tiny = {**QWEN_1_5B, "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 512}
    (tmp_path / "config.json").write_text(json.dumps(tiny))
    said = []
    planning.announce(settings(), tmp_path, tmp_path, 200, 50, said.append, device_kind="cpu")
    text = "\n".join(said)
    assert tmp_path.name in text and "cpu core" in text
    for name in ("Qwen2.5-Math-1.5B", "Qwen2.5-Math-7B", "H200", "v5e", "v5p"):
        assert name in text
    assert max(map(len, text.splitlines())) <= 130


def test_config_without_a_field_is_said_and_not_fatal(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "other"}')
    said = []
    planning.announce(settings(), tmp_path, tmp_path, 200, 50, said.append)
    assert "num_attention_heads" in said[0] and "Qwen2.5-Math-7B" in said[-1]


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_model_folder_without_a_config_is_named(tmp_path, text):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        read_config(tmp_path)


def test_the_rounds_ask_for_what_their_settings_say():
    searches = [search for search, _ in planning.loads(settings())]
    assert [(s.rollouts, s.candidates) for s in searches] == [(8, 5), (16, 8), (16, 8)]
    assert [s.ppm for s in searches] == [False, False, True]
    assert {(s.leaves, s.context, s.max_step_tokens) for s in searches} == {(8, 512, 64)}
    run = RunSettings(decode=DecodeConfig(weights="int8"))
    lora = dataclasses.replace(run.train.ppm, lora=LoraConfig(rank=8, targets=("q",)))
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, ppm=lora))
    search, train = planning.loads(run)[0]
    assert search.int8 and (train.policy_lora[0], train.ppm_lora) == (0, (8, ("q",)))


def test_planning_needs_no_jax():
    code = "import sys, rstar_jax.evolve.plan; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
