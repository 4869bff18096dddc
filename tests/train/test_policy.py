"""Fine-tuning the policy: what is trained on, what is dropped, how steps are cut."""

import dataclasses
import logging

import flax.nnx as nnx
import jax
import numpy as np
import pytest

from rstar_jax.errors import UserError
from rstar_jax.models import DecoderConfig, init_random
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.prompts import PROMPTS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import PolicyBatches, TrainConfig, TrainSummary, policy, policy_loss, train_policy
from rstar_jax.types import SftRow
from tests.train.conftest import pack

STEPS = (
    "<code>\n# Step 1: add\nx = 8 + 9\n<end_of_step>",
    "\n# Now print the final answer\nprint(x)\n<end_of_code>\n<output>17<end_of_output>",
    "\n<answer>The answer is \\boxed{17}<end_of_answer>",
)
CONFIG = TrainConfig(epochs=1, batch=2, seq_len=256, microbatch=1, learning_rate=1e-3)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["add 8 and 9", *STEPS], 300, CODE_STEPS)


def row(question="What is 8 plus 9?"):
    return SftRow("p", question, STEPS, 1.0, 1.0, 1)


def model(tokenizer):
    return init_random(DecoderConfig(tokenizer.vocab_size, 16, 1, 2, 1, 8, 32), 0)


def captured(monkeypatch, *args, **options):
    """What `train_policy` would hand to the loop."""
    found = []

    def fit(model, batches, *_, **__):
        found.append(batches)
        return TrainSummary(1, 1, 1, 0, 1.0, 1.0, 0.0, {})

    monkeypatch.setattr(policy, "fit", fit)
    summary = train_policy(*args, **options)
    return found[0], summary


def test_prompt_and_interpreter_output_get_no_loss(tokenizer, monkeypatch):
    batches, _ = captured(monkeypatch, model(tokenizer), [row()], tokenizer, PROMPTS["finetuned"], CONFIG)
    (m,) = batches(0).microbatches
    assert tokenizer.decode(m["tokens"][m["segment_ids"] > 0]) == PROMPTS["finetuned"](
        row().question
    ) + "".join(STEPS)
    learnt = tokenizer.decode(m["targets"][m["weights"] > 0])
    assert learnt == "".join(STEPS).replace("\n<output>17<end_of_output>", "")


def test_a_step_is_learnt_by_the_ids_it_was_sampled_with(tokenizer, monkeypatch):
    """Unless the tokenizer's own are asked for, or they are another tokenizer's."""
    written = [tokenizer.encode_step(step)[0] for step in STEPS]
    first = tuple(i for letter in "\n# Step" for i in tokenizer.encode(letter))
    other = (written[0][0], *first, *tokenizer.encode(STEPS[0].removeprefix("<code>\n# Step")))
    assert other != written[0] and tokenizer.decode(other) == STEPS[0]
    sampled = dataclasses.replace(row(), token_ids=(other, (1, 2, 3), written[2]))
    for asked, expected, count in ((True, other, 1), (False, written[0], 0)):
        config = dataclasses.replace(CONFIG, sampled_ids=asked)
        args = model(tokenizer), [sampled, row()], tokenizer, PROMPTS["finetuned"], config
        batches, summary = captured(monkeypatch, *args)
        learnt = [example.tokens[example.trained].tolist() for example in batches.examples]
        assert learnt[0] == [*expected, *written[1], *written[2]] and summary.as_sampled == count
        assert learnt[1] == [i for ids in written for i in ids]


def test_masked_tokens_do_not_change_the_gradient(tiny, examples):
    graphdef, params = nnx.split(tiny())
    m = pack(examples[:2], 1, 32)

    @jax.jit
    @jax.grad
    def gradient(params, targets):
        return policy_loss(nnx.merge(graphdef, params), {**m, "targets": targets}, CONFIG)["loss"][0]

    changed = np.where(m["weights"] > 0, m["targets"], 5)
    assert not np.array_equal(changed, m["targets"])
    jax.tree.map(np.testing.assert_array_equal, gradient(params, m["targets"]), gradient(params, changed))


def test_logits_in_pieces_give_the_same_terms(tiny, examples, monkeypatch):
    m = pack(examples[:4], 2, 32)
    whole = nnx.jit(lambda *args: policy_loss(*args, CONFIG))(tiny(), m)
    monkeypatch.setattr(policy, "LOGITS_AT_ONCE", 256)
    assert policy._pieces(2, 32, 32, 1) == 8
    assert policy._pieces(2, 32, 32, 4) == 2  # each of four devices holds as much at once
    pieces = nnx.jit(lambda *args: policy_loss(*args, CONFIG))(tiny(), m)
    np.testing.assert_allclose(whole["loss"], pieces["loss"], rtol=1e-5)
    np.testing.assert_allclose(whole["accuracy"], pieces["accuracy"])


def test_every_epoch_has_every_example_once_in_another_order(examples):
    batches = PolicyBatches(examples, dataclasses.replace(CONFIG, epochs=2, batch=3, seq_len=32), seed=1)
    assert (batches.steps_per_epoch, batches.total_steps) == (3, 6)
    orders = []
    for epoch in range(2):
        steps = [batches(3 * epoch + i) for i in range(3)]
        assert sorted(b.examples for b in steps) == [2, 3, 3]
        assert sum(b.tokens for b in steps) == sum(len(e.tokens) for e in examples)
        orders.append([b.tokens for b in steps])
    assert orders[0] != orders[1]
    again = PolicyBatches(examples, batches.config, seed=1)(4)
    for a, b in zip(batches(4).microbatches, again.microbatches, strict=True):
        assert all(np.array_equal(a[k], b[k]) for k in a)


def test_too_long_is_dropped_counted_and_said(examples, caplog):
    with caplog.at_level(logging.WARNING, "rstar_jax.train"):
        batches = PolicyBatches(examples, dataclasses.replace(CONFIG, seq_len=10), seed=0)
    assert batches.dropped == 3 and "3 of 8 solutions left out: longer than seq_len 10" in caplog.text
    with pytest.raises(UserError, match=r"train.seq_len: 4 given, but all 8 solutions are longer"):
        PolicyBatches(examples, dataclasses.replace(CONFIG, seq_len=4), seed=0)


def test_trains_a_policy_from_text(tokenizer):
    options = dataclasses.replace(CONFIG, epochs=30, learning_rate=1e-2)
    summary = train_policy(model(tokenizer), [row()], tokenizer, PROMPTS["finetuned"], options)
    assert summary.steps == 30 and summary.last_loss < 0.7 * summary.first_loss


def test_no_rows_is_an_error(tokenizer):
    with pytest.raises(UserError, match="no solutions given"):
        train_policy(None, [], tokenizer, PROMPTS["finetuned"], CONFIG)
