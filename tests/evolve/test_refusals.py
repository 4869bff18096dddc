"""What stops a run before anything is computed, and in which words."""

import dataclasses
import json
import shutil
import types

import pytest

from rstar_jax import launch
from rstar_jax.data.corrections import Corrections
from rstar_jax.data.problem_set import StoredProblems
from rstar_jax.errors import UserError
from rstar_jax.evolve import rounds
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.problems import warn_of_seen, with_room
from rstar_jax.evolve.stages import Workdir
from rstar_jax.models import from_policy
from rstar_jax.types import Problem
from rstar_jax.weights import TINY_BASE, load_pretrained, save_reward_model
from tests.evolve.small_runs import SMALL, small


def test_a_round_without_its_predecessor_names_the_command(tmp_path):
    with pytest.raises(UserError, match=r"this command with --config\.rounds='\(2,\)', .*--config=round2\."):
        rounds.run(small("--config.rounds=(3,)"), tmp_path)
    with pytest.raises(UserError, match=r"with --config\.rounds='\(6,\)'\.$"):  # no config is called round6
        rounds.run(small("--config.rounds=(7,)"), tmp_path)


def test_a_gap_in_the_rounds_names_the_command(tmp_path):
    with pytest.raises(UserError, match=r"round 3 starts from round2/policy.*--config=round2"):
        rounds.run(small("--config.rounds=(1,3)"), tmp_path)


def test_a_model_is_a_folder_or_a_hub_id(tmp_path, monkeypatch):
    assert rounds.base_folder("tiny") == TINY_BASE
    assert rounds.base_folder(str(tmp_path)) == tmp_path
    monkeypatch.setattr(rounds.weights, "local_folder", lambda spec: tmp_path / spec)
    assert rounds.base_folder("Qwen/Qwen2.5-Math-1.5B") == tmp_path / "Qwen/Qwen2.5-Math-1.5B"


@pytest.mark.parametrize("option", ["init", "bootstrap"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda base: (base / "tokenizer.json").unlink(), "no tokenizer here"),
        (lambda base: (base / "model.safetensors").unlink(), r"no model\.safetensors"),
        (lambda base: (base / "model.safetensors").write_bytes(b"x" * 99), "damaged or truncated"),
        (lambda base: (base / "config.json").unlink(), r"config\.json"),
        (lambda base: _set(base, num_attention_heads=0), "num_attention_heads"),
        (lambda base: _set(base, hidden_size="64"), "hidden_size"),
        (lambda base: _set(base, rope_parameters="x"), "rope_parameters"),
        (lambda base: _set(base, model_type="mamba"), "'mamba' is not supported"),
        (lambda base: save_reward_model(from_policy(load_pretrained(base)), base), "which is no policy"),
    ],
)
def test_an_unfit_model_folder_is_named_before_anything_is_computed(tmp_path, option, damage, message):
    base = tmp_path / "base"
    shutil.copytree(TINY_BASE, base)
    damage(base)
    with pytest.raises(UserError, match=rf"^config\.policy\.{option}: .*{message}"):
        rounds.run(small(f"--config.policy.{option}={base}"), tmp_path / "w")
    assert not (tmp_path / "w").exists()


def _set(base, **fields):
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | fields))


@pytest.mark.parametrize("option", ["init", "bootstrap"])
@pytest.mark.parametrize("folder", ["/nowhere/x", "~nobody-of-that-name/x"])
def test_a_folder_that_is_not_there_is_named_with_its_option(tmp_path, option, folder):
    with pytest.raises(UserError, match=rf"^config\.policy\.{option}.*{folder}"):
        rounds.run(small(f"--config.policy.{option}={folder}"), tmp_path / "w")


def test_no_model_at_all_is_said(tmp_path):
    with pytest.raises(UserError, match=r"config\.policy\.init: '' given"):
        rounds.run(small("--config.policy.init="), tmp_path)


def test_prompts_longer_than_the_context_are_refused_at_once(tmp_path):
    with pytest.raises(UserError, match=r"config\.decode\.context: 384 tokens given, but the prompts"):
        rounds.run(small("--config.search.prompt=bootstrap"), tmp_path)


def test_devices_that_do_not_suit_are_told_before_a_folder_is_claimed(tmp_path):
    with pytest.raises(UserError, match=r"^config\.decode\.tensor: 3 given"):
        rounds.run(small("--config.decode.tensor=3"), tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_problems_without_room_are_named_once_and_left_out(tmp_path):
    settings, told = small(), []
    short, long = Problem("a", "1 + 1?", "2"), Problem("b", "one, two " * 400, "2")
    progress = types.SimpleNamespace(log=told.append)
    context = Context(
        settings,
        Workdir(tmp_path, settings),
        progress,
        TINY_BASE,
        TINY_BASE,
        [short, long],
        [short],
    )
    assert list(with_room(context).train) == [short]
    mended, found = Corrections("", {}), StoredProblems([short, long])
    found.mended = mended
    assert with_room(dataclasses.replace(context, train=found)).train.mended is mended
    told.pop()
    assert len(told) == 1 and "left out: 1 problem (b) (train)" in told[0]
    with pytest.raises(UserError, match=r"config\.decode\.context: 384 tokens given"):
        with_room(dataclasses.replace(context, train=[long]))


def test_questions_that_are_trained_on_and_held_out_are_told(tmp_path):
    settings, told = small(), []
    one, other = Problem("a", "1 + 1 ?", "2"), Problem("b", "1  +\n1 ?", "2")
    progress = types.SimpleNamespace(log=told.append)
    base = TINY_BASE
    warn_of_seen(Context(settings, Workdir(tmp_path, settings), progress, base, base, [one], [other]))
    assert len(told) == 1 and "1 problem (b) asked in config.problems.train, too" in told[0]
    warn_of_seen(Context(settings, Workdir(tmp_path, settings), progress, base, base, [one], []))
    assert len(told) == 1


def test_a_sandbox_that_would_not_hold_is_refused_in_a_line_before_anything_is_computed(tmp_path, capsys):
    flags = [*SMALL, "--config.verify.sandbox.without=seccomp", f"--workdir={tmp_path}"]
    assert launch.main(["--config=quickstart", *flags]) == 2
    error = capsys.readouterr().err
    assert "--config.verify.sandbox.allow_unsafe=True" in error and "Traceback" not in error
    assert not list(tmp_path.glob("base/**/*.json"))
