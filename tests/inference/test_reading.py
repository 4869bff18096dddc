"""Reward models of others as PPMs: a step's value is that of the whole text, read as its card has it."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rstar_jax import launch, models, weights
from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.inference import Reasoner, StepText
from rstar_jax.models import Reading
from rstar_jax.queues import call
from rstar_jax.sandbox import Sandbox
from rstar_jax.tasks import Checker, MathTask
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.prompts import finetuned
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import Problem
from rstar_jax.weights import TINY_BASE
from rstar_jax.weights.weight_files import WEIGHTS

PROBLEM = Problem("p", "What is 2 plus 3?", "5")
MARK = "<extra_0>"
STEPS = (
    f"{CODE_STEPS.opening}\n# Step 1: add\nt = 2 + 3\n{CODE_STEPS.end_step}",
    f"\nprint(t)\n{CODE_STEPS.end_code}\n{CODE_STEPS.output}5{CODE_STEPS.end_output}",
    f"\n{CODE_STEPS.answer}\\boxed{{5}}{CODE_STEPS.end_answer}",
)
PROMPT = (
    "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
    "<|im_start|>user\nWhat is 2 plus 3?<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def prm(tmp_path_factory) -> Path:
    """Like Qwen2.5-Math-PRM: random weights, two layers, two labels, a tokenizer with its marks and without
    the grammar's."""
    folder = tmp_path_factory.mktemp("prm") / "model"
    tokenizer = Tokenizer.train([*STEPS, "Let us add two and three."] * 2, 400, CODE_STEPS)
    rows = tokenizer.vocab_size
    config = models.DecoderConfig(
        vocab_size=rows + 3, width=32, layers=2, heads=4, kv_heads=2, head_dim=8, mlp=48, max_positions=512
    )
    weights.save_pretrained(models.init_random(config, seed=3), folder)
    content = json.loads(tokenizer._backend.to_str())
    like = content["added_tokens"][0]
    named = [token for token in content["added_tokens"] if token["content"] not in CODE_STEPS.delimiters]
    named += [
        like | {"id": rows + i, "content": t} for i, t in enumerate((MARK, "<|im_start|>", "<|im_end|>"))
    ]
    for token in CODE_STEPS.delimiters:
        content["model"]["vocab"][f"unused {token}"] = content["model"]["vocab"].pop(token)
    (folder / "tokenizer.json").write_text(json.dumps(content | {"added_tokens": named}))
    rng = np.random.default_rng(0)
    head = {
        "score.0.weight": rng.standard_normal((32, 32), np.float32),
        "score.0.bias": rng.standard_normal(32, np.float32),
        "score.2.weight": rng.standard_normal((2, 32), np.float32) / 8,
        "score.2.bias": rng.standard_normal(2, np.float32),
    }
    save_file(load_file(folder / WEIGHTS) | head, folder / WEIGHTS)
    about = json.loads((folder / "config.json").read_text())
    about["architectures"] = ["Qwen2ForProcessRewardModel"]
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def by_the_card(folder: Path, steps: tuple[str, ...]) -> np.ndarray:
    """2p - 1 at each <extra_0> of the whole conversation, encoded in one go; in numpy behind the body."""
    text = PROMPT + "".join(f"{step}{MARK}" for step in steps)
    tokenizer = Tokenizer.load(folder, CODE_STEPS)
    ids = np.array(tokenizer.encode(text))
    body = weights.load_reward_model(folder).decoder
    x = np.asarray(body.hidden(jnp.asarray(ids, jnp.int32)[None]))[0]
    t = load_file(folder / WEIGHTS)
    inner = np.maximum(x @ t["score.0.weight"].T + t["score.0.bias"], 0)
    logits = inner @ t["score.2.weight"].T + t["score.2.bias"]
    p = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)
    marks = np.flatnonzero(ids == tokenizer.encode(MARK)[0])
    assert len(marks) == len(steps)
    return 2 * p[marks] - 1


def reasoner(ppm: Path, *, scale: float = 1.0) -> Reasoner:
    decode = DecodeConfig(leaves=2, rows=2, max_step_tokens=64, context=1024)
    task = Checker(MathTask(), Sandbox(workers=1))
    return Reasoner(
        TINY_BASE, ppm, task, role="finetuned", decode=decode, dtype="float32", seed=0, ppm_scale=scale
    )


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_a_steps_value_is_that_of_its_mark_in_the_whole_text(prm: Path, scale: float) -> None:
    score = functools.partial(call, reasoner(prm, scale=scale).queues(0).score)
    assert score is not None
    wanted = by_the_card(prm, STEPS)
    for k in range(3):
        (found,) = score([(PROBLEM, STEPS[:k], (STEPS[k], STEPS[0]))])
        assert abs(found[0] - wanted[k]) < 1e-4
    assert np.ptp(wanted) > 0.005


def test_a_ppm_of_ours_reads_the_prompt_it_was_trained_with(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(TINY_BASE, CODE_STEPS)
    reader = StepText.of(tmp_path, Reading(), 640, tokenizer, finetuned)  # a folder without a tokenizer
    lead = "Let's think step by step and solve the problem with code."
    ids, _ = tokenizer.encode_solution(f"<|user|>:\nWhat is 2 plus 3?\n<|assistant|>: {lead}", STEPS[:2])
    assert [*reader.prefix(PROBLEM.question, STEPS[:1]), *reader.suffix(STEPS[1])] == ids


def test_what_follows_the_last_step_alone_is_no_part_of_prefixes(prm: Path) -> None:
    tokenizer = Tokenizer.load(prm, CODE_STEPS)
    reader = StepText(tokenizer, Reading("Q: {question} A:", "\n", "<|im_end|>"), "here", finetuned)
    prefix = tokenizer.decode(reader.prefix("Why?", STEPS[:1]))
    assert prefix == f"Q: Why? A:{STEPS[0]}\n"
    assert tokenizer.decode(reader.suffix(STEPS[1])) == f"{STEPS[1]}\n<|im_end|>"
    prefix = tokenizer.decode(reader.prefix(f"Why {CODE_STEPS.end_step}?", STEPS[:1]))
    assert prefix == f"Q: Why < end_of_step>? A:{STEPS[0]}\n"  # no delimiter of the policy's steps


QUESTION = "--config.question=What is 2 plus 3?"
SMALL = (
    *("--config.search.rollouts=2", "--config.search.candidates=2", "--config.decode.max_step_tokens=48"),
    *("--config.decode.context=512", "--config.decode.leaves=2", "--config.verify.workers=1"),
)


def launched(capsys, workdir: Path, *flags: str) -> tuple[int, str, str]:
    status = launch.main(["--config=solve", f"--workdir={workdir}", QUESTION, *SMALL, *flags])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_it_guides_a_search_for_one_question(prm: Path, capsys, tmp_path: Path) -> None:
    status, out, _ = launched(capsys, tmp_path, f"--config.ppm={prm}")
    assert status in (0, 1) and f"ppm: {prm}" in out and ("  ppm +" in out or "  ppm -" in out)


def test_a_tokenizer_without_the_mark_is_refused_before_anything_is_loaded(
    prm: Path, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(prm, tmp_path / "m")
    content = json.loads((prm / "tokenizer.json").read_text())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != MARK]
    (tmp_path / "m" / "tokenizer.json").write_text(json.dumps(content))
    monkeypatch.delattr(weights, "load_pretrained")
    status, out, err = launched(capsys, tmp_path / "w", f"--config.ppm={tmp_path / 'm'}")
    assert (status, out) == (2, "") and f"config.ppm: {tmp_path / 'm'}: its values stand at the token" in err
    with pytest.raises(UserError, match="step_scoring"):
        StepText.of(
            tmp_path / "m",
            weights.reading_of(tmp_path / "m"),
            400,
            Tokenizer.load(TINY_BASE, CODE_STEPS),
            finetuned,
        )


def test_a_prompt_that_leaves_no_room_is_refused(prm: Path, capsys, tmp_path: Path) -> None:
    reader = StepText(Tokenizer.load(prm, CODE_STEPS), weights.reading_of(prm), "here", finetuned)
    room = len(reader.prefix(PROBLEM.question, ()))
    status, out, err = launched(capsys, tmp_path, f"--config.ppm={prm}", f"--config.decode.context={room}")
    assert (status, out) == (2, "") and f"{room} tokens given, but the question with the PPM's prompt" in err
