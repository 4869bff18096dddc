"""The estimates of a run: what its own model, prompts and machine need."""

import dataclasses
import json
import subprocess
import sys

import pytest

from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.evolve.announce import _duration, announce, by_stage, loads
from rstar_jax.evolve.settings import EvaluateSettings, RunSettings
from rstar_jax.models import DecoderConfig, init_random
from rstar_jax.models import cache as caches
from rstar_jax.models.params import param_specs
from rstar_jax.plan import host, needs
from rstar_jax.plan.cost import PIECE, QWEN_1_5B, SHARE, Shape, device_of
from rstar_jax.plan.estimate import Assumed, SearchLoad, TrainLoad
from rstar_jax.plan.texts import STEP, STEPS, Prompts, demand
from rstar_jax.search import SearchConfig
from rstar_jax.train.policy import LOGITS_AT_ONCE
from rstar_jax.transforms.lora import TARGETS, LoraConfig, adapt, additions
from rstar_jax.types import Problem
from rstar_jax.weights import FAMILIES
from tests.models import zoo
from tests.weights.hub import HUB


def test_a_cpu_is_tried_and_that_is_what_estimates_go_by():
    tried = host.cpu("float32")
    assert 1e8 < tried.bandwidth < 1e13 and 1e8 < tried.flops < 1e15
    machine = dataclasses.replace(MACHINE, measured=dataclasses.replace(tried, flops=1e9, bandwidth=1e9))
    slow, fast = (
        by_stage(settings(), (SMALL, SMALL), PROMPTS, m, 200, 50)
        for m in (machine, dataclasses.replace(machine, measured=dataclasses.replace(tried, flops=1e12)))
    )
    hours = [sum(stage["hours"] for stage in found.values()) for found in (slow, fast)]
    assert hours[0] > 5 * hours[1]


def settings():
    """Three rounds of few, small steps."""
    run = RunSettings(rounds=(1, 2, 3))
    return dataclasses.replace(
        run,
        search=dataclasses.replace(run.search, rollouts=(8, 16), candidates=(5, 8), ppm=(False, False, True)),
        decode=dataclasses.replace(run.decode, leaves=8, context=512, max_step_tokens=64),
    )


MACHINE = needs.Machine("cpu", free=2**50, pool=100 * 2**20)
PROMPTS = {
    ("bootstrap", "train"): Prompts(800, 870, 900),
    ("bootstrap", "heldout"): Prompts(800, 870, 900),
    ("finetuned", "train"): Prompts(40, 60, 90),
    ("finetuned", "heldout"): Prompts(40, 60, 90),
}
SMALL = Shape.of({**QWEN_1_5B, "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 512})


def test_a_run_says_what_its_own_model_needs_and_keeps_the_papers_for_the_report():
    said = []
    found = announce(settings(), "mine", (SMALL, SMALL), PROMPTS, MACHINE, 200, 50, said.append)
    stages = found["stages"]
    most = max(stages, key=lambda stage: stages[stage]["memory_mb"])
    assert len(said) == 2
    assert said[0].startswith("200 training problems, 50 held out; mine has ")
    assert said[1].startswith(f"By estimate {stages[most]['memory_mb']:,} MB at most ({most}: ")
    hours = sum(stage["hours"] for stage in stages.values())
    assert said[1].endswith(f"{_duration(hours)} on 1 x cpu core.")
    assert [_duration(h) for h in (12.345, 0.1, 0.05, 0.02)] == [
        "12.35 hours",
        "0.10 hours",
        "3 minutes",
        "about a minute",
    ]
    assert "Qwen" not in " ".join(said)
    assert {(row["model"], row["device"]) for row in found["paper"]} == {
        (f"Qwen2.5-Math-{size}", chip) for size in ("1.5B", "7B") for chip in ("H200", "v5e", "v5p")
    }
    assert found["assumed"]["prompt"] == 870 and found["assumed"]["roofline"] == SHARE
    each = ["search", "policy", "ppm", "evaluate"]
    assert list(stages) == ["base/evaluate", *(f"round{r}/{stage}" for r in (1, 2, 3) for stage in each)]
    assert json.loads(json.dumps(found)) == found


def test_unknown_device_has_no_hours():
    assert device_of("Quantum 9000") is None and device_of(None) is None
    said = []
    machine = needs.Machine("Quantum 9000")
    found = announce(settings(), "mine", (SMALL, SMALL), PROMPTS, machine, 200, 50, said.append)
    assert "hours" not in " ".join(said)
    assert {(s["hours"], s["chips"]) for s in found["stages"].values()} == {(None, None)}


def test_too_little_memory_is_said_and_far_too_little_refused():
    said = []
    stages = by_stage(settings(), (SMALL, SMALL), PROMPTS, MACHINE, 200, 50)
    most = max(stage["memory_mb"] for stage in stages.values()) * 2**20
    tight, hopeless = (dataclasses.replace(MACHINE, free=most // share) for share in (2, 9))
    announce(settings(), "mine", (SMALL, SMALL), PROMPTS, tight, 200, 50, said.append)
    assert f"more than the {most // 2 // 2**20:,} MB that are free here" in said[-1]
    with pytest.raises(UserError, match=r"by estimate .* MB .*fewer config\.decode\.leaves"):
        announce(settings(), "mine", (SMALL, SMALL), PROMPTS, hopeless, 200, 50, said.append)


def test_estimates_follow_prompts_model_and_machine():
    run = settings()
    few = by_stage(run, (SMALL, SMALL), PROMPTS, MACHINE, 200, 50)
    # The context of 512 leaves nothing behind prompts of 870: tokens written are few.
    roomy = dataclasses.replace(run, decode=dataclasses.replace(run.decode, context=2048))
    many = by_stage(roomy, (SMALL, SMALL), PROMPTS, MACHINE, 200, 50)
    assert many["round1/search"]["tokens"] > 100 * few["round1/search"]["tokens"]
    assert many["round1/search"]["parts"]["leaves"] > few["round1/search"]["parts"]["leaves"]
    assert few["round1/search"]["parts"]["pages"] == 100  # no PPM in rounds 1 and 2
    assert few["round3/search"]["parts"]["pages"] == 200
    large = Shape.of(QWEN_1_5B)
    with_bootstrap = by_stage(run, (SMALL, large), PROMPTS, MACHINE, 200, 50)
    assert with_bootstrap["round1/search"]["memory_mb"] > few["round1/search"]["memory_mb"]
    assert with_bootstrap["round2/search"] == few["round2/search"]
    both = by_stage(run, (SMALL, SMALL), PROMPTS, dataclasses.replace(MACHINE, groups=2), 200, 50)
    one, two = (each["round1/search"]["parts"] for each in (few, both))
    meshed = dataclasses.replace(MACHINE, groups=2, meshed=True)
    divided = by_stage(run, (SMALL, SMALL), PROMPTS, meshed, 200, 50)["round1/search"]["parts"]
    assert one["laid out"] > 0 and divided == {**two, "laid out": 0}
    for part in ("weights", "pages", "leaves", "logits"):
        assert two[part] == pytest.approx(2 * one[part], abs=2)  # in whole MB
    assert two["runtime"] == one["runtime"] and both["round1/policy"] == few["round1/policy"]
    elsewhere = by_stage(run, (SMALL, SMALL), PROMPTS, needs.Machine("TPU v5p"), 200, 50)
    assert elsewhere["round1/search"]["parts"]["runtime"] == 0
    assert all(size >= 0 for stage in many.values() for size in stage["parts"].values())


def test_layers_that_a_cpu_trains_one_by_one_take_memory_to_compile():
    def parts(layers: int, remat: str = "none", kind: str = "cpu") -> needs.Parts:
        shape = Shape.of({**QWEN_1_5B, "num_hidden_layers": layers})
        return needs.training(shape, TrainLoad(remat=remat), (0, ()), needs.Machine(kind))

    most = caches.UNROLL_TEXTS_UP_TO["cpu"]
    assert parts(30)["compiling"] == 30 * parts(1)["compiling"] > 0
    assert caches.texts_unrolled(most, "cpu") and parts(most)["compiling"] > 0
    assert not caches.texts_unrolled(most + 1, "cpu") and parts(most + 1)["compiling"] == 0
    assert parts(caches.UNROLL_UP_TO, "full")["compiling"] > 0
    assert parts(caches.UNROLL_UP_TO + 1, "full")["compiling"] == 0
    assert parts(30, kind="TPU v5p")["compiling"] == 0
    assert needs.megabytes(parts(30)) - needs.megabytes(parts(30) | {"compiling": 0}) == 30 * (27 + 9)
    shape, cpu, short = (
        Shape.of(QWEN_1_5B),
        needs.Machine("cpu"),
        TrainLoad(rows=8, shapes=4, seq_len=16, remat="none"),
    )
    eight, lora = (needs.training(shape, short, lora, cpu) for lora in ((0, ()), (4, ("q",))))
    assert eight["activations"] == 3 * 4 * 28 * 1536 * 8960  # an update, of the layers' `gate`
    assert eight["activations"] > 2 * lora["activations"] > 0
    assert eight["compiling"] == 28 * (needs.UNROLLED_LAYER + 3 * needs.UNROLLED_SIZE)


@pytest.mark.parametrize("rank", [0, 16])
@pytest.mark.parametrize("role", ["policy", "ppm"])
def test_an_average_is_counted_of_what_trains(role, rank):
    run, large, lora = settings(), Shape.of(QWEN_1_5B), LoraConfig(rank=rank)
    found = []
    for ema in (0.0, 0.99):
        config = dataclasses.replace(getattr(run.train, role), ema=ema, lora=lora)
        averaged = dataclasses.replace(run, train=dataclasses.replace(run.train, **{role: config}))
        found.append(by_stage(averaged, (large, large), PROMPTS, MACHINE, 200, 50))
        load = loads(averaged)[0][1]
        assert (load.policy_averaged, load.ppm_averaged) == (
            ema > 0 and role == "policy",
            ema > 0 and role == "ppm",
        )
    shape = large if role == "policy" else large.reward
    trained = needs.adapted(large, (rank, lora.targets)) if rank else shape.parameters
    without, kept = (stages[f"round3/{role}"]["parts"]["optimiser"] for stages in found)
    assert kept - without == pytest.approx(4 * trained / 2**20, abs=1)
    others = [{name: each for name, each in stages.items() if role not in name} for stages in found]
    assert others[0] == others[1]


def test_a_decoders_shape_is_a_folders():
    sizes = {"width": 1536, "layers": 28, "heads": 12, "kv_heads": 2, "head_dim": 128, "mlp": 8960}
    config = DecoderConfig(vocab_size=151936, **sizes)
    shape, by_hand = Shape.of_decoder(config, param_specs(config)), Shape.of(QWEN_1_5B)
    assert shape.parameters == 1_543_714_304
    known, lora = dataclasses.replace(shape, exact=0, dense=0, additions={}), (4, LoraConfig().targets)
    assert known == by_hand and shape.matrices == by_hand.matrices
    assert needs.adapted(shape, lora) == needs.adapted(by_hand, lora)


@pytest.mark.parametrize(
    ("name", "billions", "active", "cache"),
    [  # as published (of Gemma's the embeddings count); numbers that a token leaves in the cache
        ("Qwen2.5-Math-7B", 7.62, 7.07, 2 * 28 * 4 * 128),
        ("gemma-2-2b", 2.61, 2.61, 2 * 26 * 4 * 256),
        ("gemma-3-1b-it", 1.0, 1.0, 2 * 26 * 1 * 256),
        ("Mistral-7B-v0.1", 7.24, 7.11, 2 * 32 * 8 * 128),
        ("DeepSeek-Coder-V2-Lite", 15.7, 2.4, 2 * 27 * (512 + 64)),
        ("DeepSeek-V2", 236.0, 21.0, 2 * 60 * (512 + 64)),
    ],
)
def test_every_familys_parameters_are_the_published_ones(name, billions, active, cache):
    config = FAMILIES[HUB[name]["model_type"]].read(HUB[name], "config.json")
    shape = Shape.of_decoder(config, param_specs(config))
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert shape.matrices / 1e9 == pytest.approx(active, rel=0.08)  # with or without the embeddings
    assert shape.kv_bytes(1) == cache


def test_a_token_reads_its_own_experts_and_many_tokens_read_all():
    config = FAMILIES["deepseek_v2"].read(HUB["DeepSeek-Coder-V2-Lite"], "config.json")
    shape = Shape.of_decoder(config, param_specs(config))
    assert shape.read_parameters(1) == pytest.approx(shape.matrices)
    assert shape.read_parameters(10_000) == pytest.approx(shape.dense + shape.routed)
    # by hand: 26 layers of 64 experts of 3 * 2048 * 1408
    assert shape.routed == 26 * 64 * 3 * 2048 * 1408 and shape.active == 6 / 64
    assert shape.attention_flops(100, cached=False) == 27 * 2 * 16 * (128 + 64 + 128) * 100


@pytest.mark.parametrize("name", ["qwen2", "deepseek-v2"])
def test_low_rank_additions_are_counted_as_they_are_made(name):
    """Of experts and of latent attention, too."""
    config = zoo.config(name)
    shape = Shape.of_decoder(config, param_specs(config))
    there = tuple(n for n in TARGETS if any(spec.endswith(f".{n}") for spec in param_specs(config)))
    assert ("experts_down" in there) == ("kv_up" in there) == (name == "deepseek-v2")
    for targets in (there, there[:1], there[-1:]):
        model = init_random(config, 0)
        adapt(model, LoraConfig(rank=3, targets=targets), seed=0)
        assert needs.adapted(shape, (3, targets)) == sum(a.size for a in additions(model).values())


def test_few_rollouts_make_few_pairs():
    few, many = (SearchLoad(rollouts=r, candidates=c) for r, c in ((4, 4), (16, 8)))
    a = Assumed()
    assert a.ppm_tokens(few, 4096) == 200 + 320 + 4 * 80 < a.ppm_tokens(many, 4096) == 200 + 320 + 16 * 80
    assert a.ppm_tokens(few, 128) == 2 * 2 * 128
    assert (a.ppm_pairs(few), a.ppm_pairs(many)) == (2, 8)


def test_a_policys_tokens_are_those_of_trees():
    """Two made solutions each of 600 to 900 tokens, behind prompts of 150 to 300, took 11.6 percent fewer
    tokens than one by one (docs/LOG.md)."""
    two, one = Assumed(), Assumed(rows=1)
    assert two.policy_tokens(4096) == 200 + 2 * 640
    assert one.policy_tokens(4096) == 840
    made = Assumed(prompt=225, step=75, steps=10)
    assert 1 - made.solution_tokens(4096) / made.row == pytest.approx(0.116, abs=0.005)
    # A row has room for one of two, or for two of three.
    assert two.policy_tokens(1000) == 2 * 840 and two.policy_tokens(256) == 2 * 256
    assert Assumed(rows=3).policy_tokens(200 + 2 * 640) == 3 * (640 + 100)


def test_layers_that_slide_see_their_window():
    config = FAMILIES["gemma2"].read(HUB["gemma-2-2b"], "config.json")
    shape = Shape.of_decoder(config, param_specs(config))
    one = 4 * 8 * 256  # of a key, in a layer
    assert shape.attention_flops(1000) == 26 * one * 1000  # within the window of 4,096
    assert shape.attention_flops(10_000) == 13 * one * (10_000 + 4096)


def test_logits_are_held_in_pieces_of_the_size_that_training_cuts():
    assert PIECE == LOGITS_AT_ONCE
    shape = Shape.of(QWEN_1_5B)
    rest = shape.reward.activation_bytes(1, 4096, 2, "full")
    assert shape.activation_bytes(1, 4096, 2, "full") - rest == 12 * PIECE
    assert shape.activation_bytes(8, 4096, 2, "full") - 8 * rest == 12 * PIECE  # one piece, however many rows


def test_prompts_are_measured_and_make_the_demand():
    problems = [Problem(str(i), "x" * i, "1") for i in range(1, 301)]
    found = Prompts.of(problems, lambda problem: len(problem.question))
    assert found == Prompts(1, 150, 298)  # of every third
    assert Prompts.of([], lambda problem: 1) is None
    assert Prompts(800, 870, 900).solution(1152) == 282 and found.solution(4096) == STEP * STEPS
    assert Prompts(800, 870, 900).solution(500) == 1
    tree = SearchConfig(rollouts=8, candidates=4)
    prompts = Prompts(800, 870, 900)
    assert demand([(tree, 32, prompts)], 1152) == 32 * (870 + 8 * 282)
    assert demand([(dataclasses.replace(tree, batch=4), 32, prompts)], 1152) == 4 * (870 + 8 * 282)
    several = dataclasses.replace(tree, strategy="mcts_repeated", searches=3)
    assert demand([(several, 2, prompts)], 1152) == 2 * (870 + 3 * 8 * 282)
    samples = dataclasses.replace(tree, strategy="best_of_n")
    assert demand([(samples, 2, prompts)], 1152) == 2 * (870 + 8 * 282)  # whole solutions, no candidates
    greedy = SearchConfig(strategy="greedy")
    assert demand([(tree, 1, prompts), (greedy, 2, prompts), (tree, 9, None)], 1152) == 870 + 8 * 282
    assert Assumed.of(prompts, 1152).row == pytest.approx(1152) and Assumed.of(None, 9) == Assumed()


def test_an_evaluation_by_samples_writes_as_much_as_so_many_greedy_ones():
    run = settings()
    run = dataclasses.replace(run, evaluate=EvaluateSettings(strategy="best_of_n", rollouts=16))
    prompts = {key: Prompts(40, 60, 90) for key in PROMPTS}
    stages = by_stage(run, (SMALL, SMALL), prompts, MACHINE, 200, 50)
    assert stages["round1/evaluate"]["tokens"] == 16 * stages["base/evaluate"]["tokens"]


def test_the_rounds_ask_for_what_their_settings_say():
    searches = [search for search, _ in loads(settings())]
    assert [(s.rollouts, s.candidates) for s in searches] == [(8, 5), (16, 8), (16, 8)]
    assert [s.ppm for s in searches] == [False, False, True]
    assert {(s.leaves, s.context, s.max_step_tokens) for s in searches} == {(8, 512, 64)}
    run = RunSettings(decode=DecodeConfig(weights="int8"))
    lora = dataclasses.replace(run.train.ppm, lora=LoraConfig(rank=8, targets=("q",)))
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, ppm=lora))
    search, train = loads(run)[0]
    assert search.int8 and (train.policy_lora[0], train.ppm_lora) == (0, (8, ("q",)))


def test_planning_needs_no_jax():
    code = "import sys, rstar_jax.plan.estimate; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
