"""The tiny base from nothing: what it reads, its tokenizer, and the folder it becomes."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest

from rstar_jax import weights
from rstar_jax.errors import UserError
from rstar_jax.pretrain import MeasureConfig, ModelShape, PretrainConfig, run, solutions
from rstar_jax.problems.suite import FAMILIES, generate
from rstar_jax.problems.worked import FlawRates
from rstar_jax.settings import from_config, to_config_dict
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.prompts import PROMPTS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import TrainConfig
from rstar_jax.weights import TINY_BASE


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(
        ["".join(row.steps) for row in solutions(270, FlawRates(), seed=0)], 400, CODE_STEPS, phrases=True
    )


def test_it_reads_every_family_and_no_held_out_problem():
    rows = solutions(540, FlawRates(), seed=1)
    held = {p.question for seed in range(3) for p in generate(540, seed=seed, split="heldout")}
    assert not held & {row.question for row in rows}
    assert len({row.problem_id for row in rows}) == 540
    assert rows == solutions(540, FlawRates(), seed=1) != solutions(540, FlawRates(), seed=2)


def test_tokenizer_keeps_digits_single_stops_whole_and_any_text(tokenizer):
    text = "Ünïcode 日本 \t 1234567890 ¿½?\n" + CODE_STEPS.opening + "x = 41" + CODE_STEPS.end_step
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("41")) == 2
    assert set(tokenizer.stop_ids.values()) == {"step", "code", "answer"}
    assert all(len(tokenizer.encode(token)) == 1 for token in CODE_STEPS.delimiters)
    assert tokenizer.eos_id is not None and tokenizer.vocab_size == 400


def test_tokens_may_span_words(tokenizer):
    last = "\n# Now print the final answer\nprint(t)\n" + CODE_STEPS.end_code
    assert len(tokenizer.encode(last)) < 10


def test_a_small_pretraining_writes_a_folder_that_loads(tmp_path):
    config = PretrainConfig(
        solutions=54,
        model=ModelShape(vocab=320, width=16, layers=1, heads=2, kv_heads=1, head_dim=8, mlp=16),
        train=TrainConfig(epochs=1, batch=27, seq_len=320, microbatch=27, learning_rate=1e-3),
        measure=MeasureConfig(problems=0),
    )
    folder = run(config, tmp_path)
    assert folder == tmp_path / "tiny-base"
    names = {file.name for file in folder.iterdir()}
    assert {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
        "generation_config.json",
        "README.md",
    } <= names
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
    assert "--config=pretrain_tiny" in (folder / "README.md").read_text()
    model, tokenizer = weights.load_pretrained(folder), Tokenizer.load(folder, CODE_STEPS)
    assert model.config.vocab_size == tokenizer.vocab_size == 320
    assert not (tmp_path / "checkpoints").exists()


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"config\.solutions: 0"):
        run(dataclasses.replace(PretrainConfig(), solutions=0), tmp_path)


def test_the_options_survive_the_way_through_a_config():
    config = PretrainConfig()
    assert from_config(PretrainConfig, to_config_dict(config).to_dict()) == config


def test_the_bundled_base_knows_the_format_and_the_problems():
    tokenizer = Tokenizer.load(TINY_BASE, CODE_STEPS)
    model = weights.load_pretrained(TINY_BASE)
    assert model.config.vocab_size == tokenizer.vocab_size
    assert 200_000 <= sum(p.size for p in model.params().values()) <= 1_000_000
    assert sum(file.stat().st_size for file in TINY_BASE.iterdir()) <= 2_000_000
    rng = random.Random(0)
    for family in FAMILIES.values():
        question = family.instance(rng, "heldout").question
        # A prompt and a solution of a few hundred tokens: what a CPU decodes in minutes for all problems.
        assert len(tokenizer.encode(PROMPTS["finetuned"](question))) < 120
