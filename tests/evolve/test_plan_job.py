"""The job: a plan from flags to tables, what it keeps, and what it refuses."""

import json
import subprocess

import pytest

from rstar_jax import launch
from rstar_jax.evolve import plan
from rstar_jax.evolve.plan_settings import PlanSettings
from rstar_jax.plan import compiled
from rstar_jax.plan.compiled import Compiler, Uncompiled
from rstar_jax.plan.known_models import KNOWN, content_of, shape_of
from rstar_jax.plan.workload import SOLVED


def planned(capsys, tmp_path, *flags):
    arguments = ["--config=plan", f"--workdir={tmp_path}", *(f"--config.{flag}" for flag in flags)]
    status = launch.main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


def test_a_plan_by_arithmetic(capsys, tmp_path):
    status, out, err = planned(capsys, tmp_path, "topology=v5p:4x4x4", "compile=never")
    assert (status, err) == (0, "")
    for told in (
        "64 chips, 16 hosts",
        "round 4",
        "AN ESTIMATE",
        "4.2 $ a chip-hour",
        "What does not fit",
        "--config.decode.leaves=128",
    ):
        assert told in out
    kept = json.loads((tmp_path / "plan.json").read_text())
    assert (tmp_path / "plan.txt").read_text() in out
    assert [r["work"]["number"] for r in kept["rounds"]] == [1, 2, 3, 4]
    assert kept["uncompiled"] == "config.compile=never"
    assert f"padding: {kept['padding']['policy']:.0%} and {kept['padding']['ppm']:.0%} of what" in out
    assert 0 < kept["padding"]["policy"] < 0.2 > kept["padding"]["ppm"] > 0
    # Twice the problems take twice the hours.
    planned(capsys, tmp_path / "two", "topology=v5p:4x4x4", "compile=never", "problems=1494000")
    twice = json.loads((tmp_path / "two" / "plan.json").read_text())
    assert twice["rounds"][3]["hours"] == pytest.approx(2 * kept["rounds"][3]["hours"])


def test_an_average_is_in_the_memory_and_the_time_of_its_training(capsys, tmp_path):
    plans = []
    for ema in (0, 0.99):
        planned(capsys, tmp_path / str(ema), "compile=never", "fit=False", f"train.ppm.ema={ema}")
        plans.append(json.loads((tmp_path / str(ema) / "plan.json").read_text())["trainings"])
    (policy, ppm), (same, averaged) = plans
    assert policy == same and averaged["step_s"] > ppm["step_s"]
    assert averaged["parts"]["moments"] == pytest.approx(ppm["parts"]["moments"] * 12 / 8)


def test_steps_learn_all_pairs_and_solutions_of_a_round():
    """A pair, or a solution, counts in a step's rows as in the tokens of a round: its share of a tree."""
    settings = PlanSettings(rounds=(4,))
    for role, examples in (("ppm", settings.assumed.pairs), ("policy", SOLVED[3] * settings.assumed.rows)):
        config, problems = getattr(settings.train, role), settings.work(4).problems
        steps = plan._steps(settings, role, config)
        assert steps * config.batch == pytest.approx(config.epochs * problems * examples)


def test_a_ppm_has_no_head_in_any_table(tmp_path):
    settings = PlanSettings(compile="never", rounds=(2,))
    plan.run(settings, tmp_path)
    table = [line.split() for line in (tmp_path / "plan.txt").read_text().splitlines()]
    told = {(" ".join(row[:2]), len(row)): row for row in table if row[1:2] == ["gradients"]}
    policy, ppm = (
        {n: row for (name, n), row in told.items() if name.startswith(r)} for r in ("policy", "PPM")
    )
    shape = shape_of(content_of(settings.model)[1])
    rows = 32 * 4096 * 3.5 * shape.attention_flops(2048)
    by_hand = [6 * s.matrices * 32 * 4096 + rows for s in (shape.reward, shape)]
    flops = [float(row[7][2].replace(",", "")) for row in (ppm, policy)]
    assert flops == pytest.approx([n / 64 / 1e12 for n in by_hand], rel=0.01)
    assert float(ppm[8][2]) / float(policy[8][2]) == pytest.approx(by_hand[0] / by_hand[1], abs=0.01)


def test_gpus_and_chips_without_a_price(capsys, tmp_path):
    status, out, _ = planned(capsys, tmp_path, "topology=h200:8", "rounds=(2,)")
    assert status == 0 and "GPUs are planned by arithmetic" in out and "no price" in out
    _, priced, _ = planned(capsys, tmp_path, "topology=h200:8", "rounds=(2,)", "usd_hour=3.5")
    assert "3.5 $ a chip-hour (as given)" in priced
    _, hosts, _ = planned(capsys, tmp_path, "topology=h200:32", "rounds=(2,)")
    assert "--config.train.mesh.data=4 " in hosts


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("topology=v5p:4x4x5",), "config.topology 'v5p:4x4x5'"),
        (("topology=v5p:4x4x5",), "Did you mean 'v5p:4x4x4'"),
        (("topology=v5q:4x4x4",), "no such chip"),
        (("model=qwen2.5-math-8b",), "Did you mean 'qwen2.5-math-7b'"),
        (("problems=0",), "config.problems: 0 given, 1 or more expected"),
        (("assumed.steps=0",), "config.assumed.steps: 0.0 given, 1 or more expected"),
        (("efficiency.hop_s=-1",), "config.efficiency.hop_s: -1.0 given, 0 or more expected"),
        (("efficiency.hidden=2",), "config.efficiency.hidden: 2.0 given, 1 or less expected"),
        (("topology=h200:8", "fit=False", "decode.tensor=3"), "config.decode.tensor: 3 given, 1, 2, 4 or 8"),
        (("topology=h200:8", "fit=False", "decode.tensor=16"), "config.decode.tensor: 16 given"),
        (("solved=1.5",), "a share from 0 to 1"),
        (("compile=always", "topology=h200:8"), "no TPU"),
        (("fit=False", "compile=never", "train.mesh.fsdp=3"), "multiply to the 64 devices of v5p:4x4x4"),
        (("fit=False", "compile=never", "decode.tensor=4", "topology=v5e:1x1"), "in training take 113 GiB"),
        (("train.policy.lora.rank=8",), "lora.rank: 8 given"),
        (("model=deepseek-coder-v2", "topology=v5e:2x2", "compile=never"), "does not fit v5e:2x2"),
    ],
)
def test_bad_input_is_a_sentence(capsys, tmp_path, flags, told):
    status, _, err = planned(capsys, tmp_path, *flags)
    assert status == 2 and told in err and "Traceback" not in err


def test_any_folder_is_a_model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(KNOWN["llama-3.1-8b"]))
    name, content = content_of(str(tmp_path))
    assert name == tmp_path.name and shape_of(content).parameters == pytest.approx(8.03e9, rel=0.01)
    assert set(KNOWN) >= {"qwen2.5-math-7b", "phi-3-mini"}


def test_rounds_have_the_papers_work():
    s = PlanSettings()
    first, third, last = (s.work(n) for n in (1, 3, 4))
    assert first.rollouts == 8 * 747_000 and first.candidates == 5 and not first.ppm
    assert third.ppm and last.candidates == 16 and last.rollouts > third.rollouts


REQUEST = {"program": "decode", "sizes": [1]}
SAID = {
    "seconds": 1,
    "arguments": 2,
    "temporaries": 3,
    "peak": 4,
    "kernels": 0,
    "collectives": {"all-reduce": [1, 8]},
}


@pytest.fixture
def available(monkeypatch):
    monkeypatch.setattr(compiled, "unavailable", lambda: "")


@pytest.mark.usefixtures("available")
def test_what_was_compiled_is_kept(monkeypatch, tmp_path):
    asked, said = [], []
    monkeypatch.setattr(compiled, "_asked", lambda request: asked.append(request) or SAID)
    first = Compiler(tmp_path, said.append)(REQUEST, "decode")
    assert first.sent == 8 and first.total == 5 and said[0] == "compiling decode ..."
    assert Compiler(tmp_path, said.append)(REQUEST, "decode") == first and len(asked) == 1
    Compiler(tmp_path, said.append)({**REQUEST, "sizes": [2]}, "decode")
    assert len(asked) == 2
    for file in tmp_path.glob("*.json"):
        file.write_text("{")  # cut short
    assert Compiler(tmp_path, said.append)(REQUEST, "decode") == first and len(asked) == 3


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os; os.abort()", "its process ended with status -6"),
        ("import sys; sys.exit('no libtpu here')", "no libtpu here"),
        ('print(\'{"failed": "it is broken"}\')', "it is broken"),
    ],
)
@pytest.mark.usefixtures("available")
def test_a_compiler_that_crashes_is_a_sentence(monkeypatch, tmp_path, code, told):
    start = subprocess.Popen

    def other(command, **more):
        return start([command[0], "-c", code], **more)

    monkeypatch.setattr(compiled.subprocess, "Popen", other)
    with pytest.raises(Uncompiled, match=told):
        Compiler(tmp_path, print)(REQUEST, "decode")
    assert not list(tmp_path.glob("*.json"))


def test_without_libtpu_arithmetic_decides(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("rstar_jax.evolve.plan.unavailable", lambda: "libtpu is not installed")
    status, out, _ = planned(capsys, tmp_path, "topology=v5e:4x4", "rounds=(2,)")
    assert status == 0 and "Nothing is compiled: libtpu is not installed" in out
    status, _, err = planned(capsys, tmp_path, "topology=v5e:4x4", "compile=always")
    assert status == 2 and "libtpu is not installed" in err
