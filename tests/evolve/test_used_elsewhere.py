"""Folders of ours in the hands of others: transformers alone writes the same ids and solves problems.

Each folder's card is taken at its word: its snippet runs as it stands, in the folder.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax import parquet, weights
from rstar_jax.engine import DecodeConfig
from rstar_jax.evolve import reward_models, stage_table
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.stages import Workdir
from rstar_jax.inference import Reasoner
from rstar_jax.problems.suite import FAMILIES, generate
from rstar_jax.problems.worked import FlawRates, sample_solution
from rstar_jax.report.progress import Progress
from rstar_jax.sandbox import Limits, Sandbox
from rstar_jax.search import SearchConfig
from rstar_jax.tasks import Checker, MathTask
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.prompts import PROMPTS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import PreferencePair, SftRow
from rstar_jax.weights import TINY_BASE
from tests.evolve.small_runs import small
from tests.search.scripted import grow_trees

FINETUNED = PROMPTS["finetuned"]
OURS, THEIRS = Tokenizer.load(TINY_BASE, CODE_STEPS), transformers.AutoTokenizer.from_pretrained(TINY_BASE)


def solutions(count: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Questions of every family in turn, each with worked steps."""
    rng, names = random.Random(seed), list(FAMILIES)
    made = [sample_solution(names[i % len(names)], rng, FlawRates(), split="train") for i in range(count)]
    return [(question, steps) for question, steps, _ in made]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a round's trainings write: WORKDIR/round1/policy/model and WORKDIR/round1/ppm/model."""
    root = tmp_path_factory.mktemp("run")
    rows = [SftRow(str(i), q, tuple(steps), 1.0, 1.0, 1) for i, (q, steps) in enumerate(solutions(8))]
    pairs = [
        PreferencePair(r.problem_id, r.question, (), r.steps[:1], (r.steps[0] + " ",), 1.0, 1.0, False, 1)
        for r in rows
    ]

    def curate(folder: Path) -> dict[str, Any]:
        parquet.write_rows(folder / reward_models.SFT, SftRow, rows)
        parquet.write_rows(folder / reward_models.PAIRS, PreferencePair, pairs)
        return {}

    run = small("--config.train.policy.batch=4", "--config.train.ppm.batch=4")
    with Workdir(root, run) as work, Progress(enabled=False) as progress:
        context = Context(run, work, progress, TINY_BASE, TINY_BASE, [], [])
        work.stage("round1/curate", curate)
        stage_table.run(context, "policy", 1)
        stage_table.run(context, "ppm", 1)
    return root


def texts() -> list[str]:
    """Prompts of each role, worked solutions and delimiters, of the whole suite."""
    asked = [p.question for split in ("train", "heldout") for p in generate(270, seed=3, split=split)]
    prompts = [prompt(question) for prompt in PROMPTS.values() for question in asked]
    solved = ["".join(steps) for _, steps in solutions(270)]
    whole = [FINETUNED(question) + "".join(steps) for question, steps in solutions(54)]
    return [*prompts, *solved, *whole, *CODE_STEPS.delimiters]


def same_ids(folder: Path) -> None:
    ours = Tokenizer.load(folder, CODE_STEPS)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for text in texts():
        assert theirs.encode(text, add_special_tokens=False) == ours.encode(text), text
        assert theirs.decode(ours.encode(text)) == text
    assert theirs.eos_token_id == ours.eos_id


def same_prompts(folder: Path) -> None:
    ours = Tokenizer.load(folder, CODE_STEPS)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for question, steps in solutions(54, seed=1):
        ids, _ = ours.encode_solution(FINETUNED(question), steps)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "".join(steps)}]
        assert theirs.apply_chat_template(messages, tokenize=True, return_dict=False) == ids


@pytest.mark.parametrize("name", ["bundled", "policy", "ppm"])
def test_auto_tokenizer_writes_our_ids(name: str, trained: Path) -> None:
    same_ids(TINY_BASE if name == "bundled" else trained / "round1" / name / "model")


@pytest.mark.torch  # which brings Jinja
@pytest.mark.parametrize("name", ["bundled", "policy", "ppm"])
def test_the_chat_template_writes_the_ids_that_are_trained(name: str, trained: Path) -> None:
    same_prompts(TINY_BASE if name == "bundled" else trained / "round1" / name / "model")


MARKS = ("x = 12", "\n", "\n\n", "  ", ".", "<", ">", "e\u0301", "日本", "\r\n", "'s", "\t")
PIECES = (*CODE_STEPS.delimiters, *MARKS)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=8).map("".join))
def test_auto_tokenizer_writes_our_ids_of_any_text(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    assert THEIRS.encode(text, add_special_tokens=False) == OURS.encode(text)


def snippet(folder: Path) -> str:
    found = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(found) == 1
    return found[0]


def executed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the card's snippet defines. What it runs are sums, which tiny models write."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(compile(snippet(folder), str(folder / "README.md"), "exec"), names)
    return names


@pytest.mark.torch
@pytest.mark.parametrize("name", ["bundled", "trained"])
def test_transformers_alone_solves_problems_as_we_do(
    name: str, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loop of the card writes our greedy trajectories, outputs and answers included."""
    folder = TINY_BASE if name == "bundled" else trained / "round1/policy/model"
    problems = generate(9, seed=11, split="heldout")
    with Sandbox(workers=1, limits=Limits()) as sandbox:
        decode = DecodeConfig(leaves=4, rows=1, max_step_tokens=64, context=384)
        reasoner = Reasoner(
            folder,
            None,
            Checker(MathTask(), sandbox),
            role="finetuned",
            decode=decode,
            dtype="float32",
            seed=0,
        )
        greedy = SearchConfig(strategy="greedy", batch=9)
        trees = grow_trees(problems, reasoner.queues(0), greedy, round=0)
    solve = executed(folder, monkeypatch)["solve"]
    assert "<code>" in capsys.readouterr().out  # the card's own example
    solved = 0
    for problem, tree in zip(problems, trees, strict=True):
        trajectories = tree.trajectories()
        if not trajectories:
            continue
        (mine,) = trajectories
        text, answer = solve(problem.question)
        assert text == FINETUNED(problem.question) + "".join(mine.steps)
        solved += answer == problem.answer
    assert solved


@pytest.mark.torch
def test_transformers_alone_values_a_step_as_we_do(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained / "round1/ppm/model"
    value = executed(folder, monkeypatch)["value"]
    assert abs(float(capsys.readouterr().out)) < 1  # the card's own example
    model = weights.load_reward_model(folder)
    for question, steps in solutions(4, seed=2):
        ids, _ = OURS.encode_solution(FINETUNED(question), steps)
        ours = np.tanh(np.asarray(model.raw(jnp.asarray([ids]))))[0, -1]
        assert value(question, "".join(steps)) == pytest.approx(ours, abs=1e-5)
