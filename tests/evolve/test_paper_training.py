"""The trainings' numbers are the paper's (arXiv 2501.04519, section 4.1), by every config that trains."""

import pytest

from rstar_jax import launch
from rstar_jax.errors import UserError

SHARED = {
    "learning_rate": 7e-6,
    "schedule": "linear",
    "warmup_fraction": 0.0,
    "weight_decay": 0.1,
    "seq_len": 4096,
    "lora.rank": 0,
}
POLICY = {"epochs": 2, "batch": 128, **SHARED}
PPM = {"epochs": 1, "batch": 512, "ppm_value": "tanh", "ppm_center": 0.0, **SHARED}
CASES = [(f"round{n}", name, of) for n in (1, 2, 3, 4) for name, of in (("policy", POLICY), ("ppm", PPM))]
CASES += [("sft", "policy", POLICY), ("ppm", "ppm", PPM)]


@pytest.mark.parametrize(("config", "training", "numbers"), CASES)
def test_every_number_of_a_training(config, training, numbers):
    found = launch.load(config).get_config()
    of = found.train[training]
    assert {name: of.lora.rank if name == "lora.rank" else of[name] for name in numbers} == numbers
    assert found.policy.dtype == "bfloat16" and of.remat == "full"


@pytest.mark.parametrize("config", ["sft", "ppm"])
def test_a_form_for_few_rows_on_few_cores(config):
    found = launch.load(config).get_config("lora")
    (of,) = (found.train[name] for name in ("policy", "ppm") if name in found.train)
    assert of.lora.rank == 16 and of.seq_len == 1024 and found.policy.dtype == "float32"
    with pytest.raises(UserError, match=rf"--config={config}:small: 'lora', or nothing"):
        launch.load(config).get_config("small")
