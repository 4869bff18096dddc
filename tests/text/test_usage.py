"""What others are told of a folder: which class of transformers writes our ids, and the chat template."""

import ast
import dataclasses
import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
import tokenizers
import transformers
from tokenizers import normalizers

from rstar_jax.problems.suite import FAMILIES, generate
from rstar_jax.problems.worked import FlawRates, sample_solution
from rstar_jax.text import usage
from rstar_jax.text.grammar import CODE_STEPS, Grammar
from rstar_jax.text.prompts import PROMPTS
from rstar_jax.text.tokenizer import Tokenizer
from tests.text.vocabularies import backends

# The model_type of a folder and the tokenizer_class that its base named.
FOLDERS = [("llama", None), ("qwen2", "Qwen2Tokenizer"), ("qwen3", None), ("gemma2", None), ("mistral", None)]


def texts() -> list[str]:
    """Prompts of each role, worked solutions, delimiters between all kinds of text."""
    rng = random.Random(0)
    questions = [problem.question for problem in generate(27, seed=3, split="train")]
    solved = [sample_solution(name, rng, FlawRates(), split="train") for name in FAMILIES]
    around = ("x", ".", "\n", "\n\n", " ", "<", ">", "1", "")
    return [
        *(prompt(question) for prompt in PROMPTS.values() for question in questions),
        *(PROMPTS["finetuned"](question) + "".join(steps) for question, steps, _ in solved),
        *(a + token + b for token in CODE_STEPS.delimiters for a in around for b in around),
        "e\u0301 \r\n 日本",
    ]


def saved(tokenizer: Tokenizer, folder: Path, family: str, named: str | None) -> None:
    """A folder without weights: what a base named is kept unless it must not be."""
    if named:
        tokenizer._config["tokenizer_class"] = named
    tokenizer.save(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": family}))


@pytest.mark.parametrize("delimiters", ["text", "tokens"])
@pytest.mark.parametrize("name", [name for name, _ in backends()])
def test_transformers_writes_our_ids_with_the_class_that_a_card_names(
    name: str, delimiters: str, tmp_path: Path
) -> None:
    for family, named in FOLDERS:
        tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(dict(backends())[name].to_str()), CODE_STEPS)
        if delimiters == "tokens":
            tokenizer.add_special_tokens()
        saved(tokenizer, tmp_path, family, named)
        theirs = getattr(transformers, usage.loader(tokenizer, family)).from_pretrained(tmp_path)
        for text in texts():
            assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode(text), (family, text)


def test_a_qwen2_folder_that_reads_as_qwen2_does_is_left_to_auto_tokenizer(tmp_path: Path) -> None:
    backend = dict(backends())["qwen2"]
    apart = Tokenizer(backend, CODE_STEPS)
    assert usage.loader(apart, "qwen2") != "AutoTokenizer"  # it splits delimiters off
    tokenizer = Tokenizer(dict(backends())["qwen2"], CODE_STEPS)
    tokenizer.add_special_tokens()
    assert usage.loader(tokenizer, "qwen2") != "AutoTokenizer"  # which would normalize besides
    tokenizer._backend.normalizer = normalizers.NFC()
    assert usage.loader(tokenizer, "qwen2") == "AutoTokenizer"
    saved(tokenizer, tmp_path, "qwen2", "Qwen2Tokenizer")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in texts():
        assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode(text), text


REAL = os.environ.get("RSTAR_REAL_MODEL")


@pytest.mark.external
@pytest.mark.skipif(not REAL, reason="RSTAR_REAL_MODEL is not set")
@pytest.mark.parametrize("delimiters", ["text", "tokens"])
def test_auto_tokenizer_writes_our_ids_for_a_real_model(delimiters: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(Path(REAL or ""), CODE_STEPS)
    if delimiters == "tokens":
        tokenizer.add_special_tokens()
    tokenizer.set_chat_template(usage.chat_template(PROMPTS["finetuned"], tokenizer))
    tokenizer.save(tmp_path)
    shutil.copy(Path(REAL or "") / "config.json", tmp_path)
    family = json.loads((tmp_path / "config.json").read_text())["model_type"]
    theirs = getattr(transformers, usage.loader(tokenizer, family)).from_pretrained(tmp_path)
    for text in texts():
        assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode(text), text
    assert theirs.eos_token_id == tokenizer.eos_id
    assert theirs.chat_template == tokenizer._config["chat_template"]


@pytest.mark.parametrize("runs", [True, False])
def test_a_card_names_the_delimiters_whatever_python_makes_of_them(runs: bool) -> None:
    odd = Grammar(opening='<"a{', end_step="<b|", end_answer="<c.$x")
    odd = dataclasses.replace(odd, end_code="<d\\", output="<e'{", end_output="<f}") if runs else odd
    for card in (usage.policy_usage(lambda q: q, odd), usage.reward_usage(lambda q: q, odd)):
        (snippet,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        parts = {node.value for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Constant)}
        said = "".join(part for part in parts if isinstance(part, str))
        if "solve(" in snippet:
            (cut,) = [part for part in parts if isinstance(part, str) and part.startswith("(?s).*?")]
            for stop in odd.stops:
                found = re.match(cut, f"x\n{stop} more")
                assert found and found[0].endswith(stop) == (stop in odd.handovers)
            for mark in (odd.opening, odd.end_step, odd.end_code, odd.output, odd.end_output):
                assert not mark or (mark in said) == runs
        else:
            assert odd.opening in said and odd.end_step in said


@pytest.mark.torch  # which brings Jinja
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("role", PROMPTS)
def test_the_chat_template_writes_the_prompt_to_its_last_line_end(role: str, bos: bool) -> None:
    """Jinja strips a last line end from bare text; braces and quotes of a question are text."""
    trained = Tokenizer.train(["How many?"], 280, CODE_STEPS)
    config = {"add_bos_token": bos, "bos_token": "<|endoftext|>"}
    tokenizer = Tokenizer(trained._backend, CODE_STEPS, config)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=trained._backend)
    question = "What is {{ 1 }} % \"'\\n?\n"
    for prompt in (PROMPTS[role], lambda q: PROMPTS[role](q) + "\n"):
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "<code>"}]
        made = theirs.apply_chat_template(
            messages, chat_template=usage.chat_template(prompt, tokenizer), return_dict=False
        )
        assert made == tokenizer.encode_prompt(prompt(question)) + tokenizer.encode("<code>")
        assert (made[0] == tokenizer.encode("<|endoftext|>")[0]) == bos
