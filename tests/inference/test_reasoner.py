"""What the seam between text and arrays adds: a policy whose vocabulary lacks the stops, the PPM's scale."""

import dataclasses
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from rstar_jax import models, weights
from rstar_jax.engine import DecodeConfig, Sample, StepDecoder, StepRequest, stops
from rstar_jax.errors import UserError
from rstar_jax.inference import Reasoner
from rstar_jax.models.linear import Quantized
from rstar_jax.queues import Batched, call
from rstar_jax.sandbox import Sandbox
from rstar_jax.search import Leaf
from rstar_jax.tasks import Checker, MathTask
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.prompts import PROMPTS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.types import Problem
from rstar_jax.weights import TINY_BASE

PROBLEM = Problem("p", "What is 2 plus 3?", "5")
DECODE = DecodeConfig(leaves=2, rows=2, max_step_tokens=16, context=2048)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The tiny base with a tokenizer that never heard of the step grammar."""
    folder = tmp_path_factory.mktemp("plain") / "model"
    shutil.copytree(TINY_BASE, folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] == "<|endoftext|>"]
    for token in CODE_STEPS.delimiters:  # their rows stay, as the unused ones of real models do
        content["model"]["vocab"][f"unused {token}"] = content["model"]["vocab"].pop(token)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert not Tokenizer.load(folder, CODE_STEPS).stop_ids
    return folder


def reasoner(policy, ppm=None, *, role="finetuned", dtype="float32", ppm_scale=1.0, weights="full"):
    task = Checker(MathTask(), Sandbox(workers=1))
    decode = dataclasses.replace(DECODE, weights=weights)
    return Reasoner(policy, ppm, task, role=role, decode=decode, dtype=dtype, seed=0, ppm_scale=ppm_scale)


def test_steps_of_a_policy_without_stop_tokens_are_cut_from_its_text(plain, monkeypatch):
    made = reasoner(plain, role="bootstrap")
    (leaf,) = [Leaf(PROBLEM, (), tree_index=0, node=0, n=2, temperature=1.0)]
    assert [c.finish for c in call(made.queues(1).propose, [leaf])[0]]  # samples with no stop to be found

    text = f"{CODE_STEPS.opening}\n# Step 1: add\nt = 2 + 3\n{CODE_STEPS.end_step}\n# Now print"
    tokens = tuple(Tokenizer.load(plain, CODE_STEPS).encode(text))
    monkeypatch.setattr(made, "_decoder", Batched(lambda asked: [[Sample(tokens, -1.0, "length")]]))
    ((candidate,),) = call(made.queues(1).propose, [leaf])
    assert candidate.text == text[: text.index("\n# Now")]
    assert candidate.finish == "step"
    assert call(made.queues(1).check, [(PROBLEM, (candidate.text,))])[0].alive


def test_stops_are_met_on_the_device_whatever_the_vocabulary(plain):
    rules = reasoner(TINY_BASE)._decoder._rules
    assert rules.finish == ["step", "code", "answer", "length", "length"]  # the guard, and no beginning
    assert rules.table.single is not None and rules.table.next is None
    rules = reasoner(plain)._decoder._rules
    assert set(rules.finish) == {"step", "code", "answer", "length"}
    text = f"{CODE_STEPS.opening}\n# Step 1: add\nt = 2 + 3\n{CODE_STEPS.end_step}\n"
    state, hits = stops.start(rules.table, 1, 1), []
    for token in Tokenizer.load(plain, CODE_STEPS).encode(text):
        state, hit = stops.step(rules.table, state, np.full((1, 1), token, np.int32))
        hits.append(int(hit[0, 0]))
    assert [rules.finish[hit] for hit in hits if hit >= 0] == ["step"]


def test_a_first_step_that_opens_no_code_is_sampled_no_further(plain):
    """Where delimiters are tokens, and where they are text; what goes on from steps is left alone."""
    first = Leaf(PROBLEM, (), tree_index=0, node=0, n=8, temperature=30.0)
    second = dataclasses.replace(first, steps=(f"{CODE_STEPS.opening}\nx = 1\n",), node=1)
    for policy in (plain, TINY_BASE):
        made = reasoner(policy)
        begun, gone_on = call(made.queues(1).propose, [first, second])
        assert not any(candidate.fault for candidate in gone_on)
        astray = [candidate for candidate in begun if candidate.fault]
        for candidate in begun:
            text = candidate.text.lstrip()
            opens = text.startswith(CODE_STEPS.opening) or CODE_STEPS.opening.startswith(text)
            assert opens or candidate.finish != "length" or candidate in astray
        assert astray
        for candidate in astray:
            assert (candidate.finish, candidate.fault) == ("length", "no <code>")
            before = made._tokenizer.decode(candidate.tokens[:-1]).lstrip("\ufffd \n\t")
            assert CODE_STEPS.opening.startswith(before)  # it ends with the token that departs
            assert call(made.queues(1).check, [(PROBLEM, (candidate.text + CODE_STEPS.end_step,))])[
                0
            ].detail in (
                "no <code>",
                "a delimiter inside the step",
            )


def test_a_device_whose_result_waits_while_the_host_compiles_is_not_at_work():
    made = reasoner(TINY_BASE)
    stats = made._decoder.stats
    stats.on_device(1)
    stats.compile_seconds += 1e6
    stats.on_device(0)
    assert made.result()["seconds"]["device"] < 0  # so many seconds have not gone by


def test_none_of_several_ends_is_sampled_in_a_step(plain, tmp_path):
    """A step that a general model ends with its end of text is lost."""
    shutil.copytree(plain, tmp_path / "ends")
    config = json.loads((plain / "config.json").read_text()) | {"eos_token_id": [40, 41]}
    (tmp_path / "ends" / "config.json").write_text(json.dumps(config))
    (tmp_path / "ends" / "generation_config.json").write_text('{"eos_token_id": [41, 42]}')
    never = {40, 41, 42, Tokenizer.load(plain, CODE_STEPS).eos_id}
    bias = np.asarray(reasoner(tmp_path / "ends")._decoder._rules.bias)
    assert set(np.flatnonzero(bias == -np.inf)) == never

    tokenizer = Tokenizer.load(TINY_BASE, CODE_STEPS)
    written = {tokenizer.encode(token)[0] for token in CODE_STEPS.delimiters[:2]}
    bias = np.asarray(reasoner(TINY_BASE)._decoder._rules.bias)
    assert bias[tokenizer.eos_id] == -np.inf and all(bias[i] == 0 for i in written)


def test_an_end_of_text_that_the_grammar_ends_steps_with_is_sampled(tmp_path):
    """A policy may have been trained with its answer's end as its end of text."""
    shutil.copytree(TINY_BASE, tmp_path / "m")
    end = Tokenizer.load(TINY_BASE, CODE_STEPS).encode(CODE_STEPS.end_answer)[0]
    config = json.loads((TINY_BASE / "config.json").read_text()) | {"eos_token_id": end}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    rules = reasoner(tmp_path / "m")._decoder._rules
    assert rules.bias[end] == 0 and end in np.asarray(rules.table.single)


def test_a_ppm_must_have_the_policys_vocabulary(tmp_path):
    model = models.resize_vocab(weights.load_pretrained(TINY_BASE), 50)
    weights.save_reward_model(models.from_policy(model), tmp_path)
    with pytest.raises(UserError, match=r"50 rows, but the policy's tokenizer has \d+ ids"):
        reasoner(TINY_BASE, tmp_path)


def test_spare_rows_of_the_vocabulary_are_never_sampled(tmp_path):
    """As meshes and real models have them: here they would be by far the likeliest."""
    base = weights.load_pretrained(TINY_BASE)
    rows = base.config.vocab_size
    asked = np.array(Tokenizer.load(TINY_BASE, CODE_STEPS).encode(PROMPTS["finetuned"](PROBLEM.question)))
    model = models.resize_vocab(base, rows + 7)
    model.embed[...] = model.embed[...].at[rows:].set(50 * base.hidden(jnp.asarray(asked)[None])[0, -1])
    weights.save_pretrained(model, tmp_path / "m", tokenizer_from=TINY_BASE)
    made = reasoner(tmp_path / "m")
    leaf = Leaf(PROBLEM, (), tree_index=0, node=0, n=4, temperature=1.0)
    written = [token for c in call(made.queues(1).propose, [leaf])[0] for token in c.tokens]
    assert written and max(written) < rows
    free = StepDecoder(made._decoder._model, {0: "length"}, DECODE, seed=0)
    request = StepRequest(asked, n=4, temperature=1.0, name=(1,))
    assert max(token for sample in call(free, [request])[0] for token in sample.tokens) >= rows


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_ppm_is_served_as_it_was_trained(tmp_path, dtype):
    model = models.from_policy(weights.load_pretrained(TINY_BASE), seed=0)
    model.score[...] = model.score[...] * 10
    weights.save_reward_model(model, tmp_path, tokenizer_from=TINY_BASE)
    steps = [
        f"{CODE_STEPS.opening}\n# Step 1: add\nt = 2 + 3\n{CODE_STEPS.end_step}",
        f"{CODE_STEPS.opening}\nt = 1\n",
    ]
    values = {}
    for scale in (1.0, 5.0):
        queues = reasoner(TINY_BASE, tmp_path, dtype=dtype, ppm_scale=scale).queues(1)
        assert queues.score is not None
        (values[scale],) = call(queues.score, [(PROBLEM, (), steps)])
        leaf = Leaf(PROBLEM, tuple(steps[:1]), tree_index=0, node=1, n=3, temperature=1.0)
        assert len(call(queues.propose, [leaf])[0]) == 3
    assert np.abs(values[5.0]).max() > 0.01
    np.testing.assert_allclose(values[1.0], np.tanh(5 * np.arctanh(values[5.0])), atol=1e-4)


def test_a_search_with_int8_weights_writes_and_values_nearly_the_same(tmp_path):
    model = models.from_policy(weights.load_pretrained(TINY_BASE), seed=0)
    model.score[...] = model.score[...] * 10
    weights.save_reward_model(model, tmp_path, tokenizer_from=TINY_BASE)
    leaf = Leaf(PROBLEM, (), tree_index=0, node=0, n=1, temperature=0.0)
    texts, values = [], []
    for form in ("full", "int8"):
        made = reasoner(TINY_BASE, tmp_path, weights=form)
        held = made._decoder._model.params()["layers.q"], made._scorer._model.decoder.params()["embed"]
        assert [isinstance(w, Quantized) for w in held] == [form == "int8"] * 2
        queues = made.queues(1)
        texts.append(call(queues.propose, [leaf])[0][0].text)
        values.append(call(queues.score, [(PROBLEM, (), [f"{CODE_STEPS.opening}\nt = 1\n"])])[0])
    assert texts[0] == texts[1]
    assert 0 < np.abs(values[0] - values[1]).max() < 0.05
