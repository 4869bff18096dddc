"""Delimiters in a base's vocabulary: how a training tells whether they are learnt."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from rstar_jax import sharding
from rstar_jax.data.solution_tokens import marks
from rstar_jax.models import Decoder, DecoderConfig, init_random
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import (
    Example,
    TrainConfig,
    policy_loss,
    probabilities,
    train_policy,
    weakness,
    with_delimiters,
)
from rstar_jax.train import policy as policies
from rstar_jax.train.vocabulary import terms
from rstar_jax.types import SftRow
from tests.on_devices import printed
from tests.train.conftest import pack

ONE_STEP = CODE_STEPS.render(("print(17)",), output="17", answer="It is \\boxed{17}")
TWO_STEPS = CODE_STEPS.render(("x = 8 + 9", "print(x)"), output="17", answer="It is \\boxed{17}")
CONFIG = TrainConfig(epochs=1, batch=2, seq_len=256, microbatch=1, learning_rate=1e-3)


def tokenizer(delimiters: str, *more: str) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens(list(more))
    made = Tokenizer(backend, CODE_STEPS)
    if delimiters == "tokens":
        made.add_special_tokens()
    return made


def model(vocab_size: int):
    config = DecoderConfig(vocab_size=vocab_size, width=16, layers=1, heads=2, kv_heads=1, head_dim=8, mlp=32)
    return init_random(config, 0)


@pytest.mark.parametrize("delimiters", ["tokens", "text"])
def test_marks_stand_where_delimiters_are_spelt(delimiters):
    known = tokenizer(delimiters)
    ids, _ = known.encode_solution("How many <codes>?", TWO_STEPS)
    found = marks(ids, known)
    assert len(found) == len(ids)
    for k, token in enumerate(CODE_STEPS.written, 1):
        (at,) = np.flatnonzero(found == k)
        end = at + len(known.encode(token))
        assert known.decode(ids[at:end]) == token
        assert (np.flatnonzero(found == -k) == np.arange(at + 1, end)).all()


@pytest.mark.parametrize("delimiters", ["tokens", "text"])
@pytest.mark.parametrize("pieces", [1, 4])
def test_terms_are_the_log_probabilities_of_whole_delimiters(delimiters, pieces, monkeypatch):
    """Against the plain sum over their tokens; also where the logits are cut into pieces."""
    known = tokenizer(delimiters)
    made = model(known.vocab_size)
    examples, expected = [], {token: [] for token in CODE_STEPS.written}
    for steps in (ONE_STEP, TWO_STEPS):
        ids, trained = known.encode_solution("Q?", steps)
        mark = marks(ids, known)
        examples.append(Example(np.asarray(ids, np.int32), np.asarray(trained), mark))
        logp = jax.nn.log_softmax(made(jnp.asarray([ids]))[0])
        each = [0.0, *(float(logp[t, ids[t + 1]]) for t in range(len(ids) - 1))]
        for k, token in enumerate(CODE_STEPS.written, 1):
            for at in np.flatnonzero(mark == k):
                expected[token].append(sum(each[at : at + len(known.encode(token))]))
    monkeypatch.setattr(policies, "LOGITS_AT_ONCE", 2 * 256 * known.vocab_size // pieces)
    batch = pack(examples, 2, 256)
    kinds, arrays = terms(CODE_STEPS), {name: jnp.asarray(a) for name, a in batch.items()}
    found = policy_loss(made, arrays, CONFIG, kinds)
    for token, term in zip(CODE_STEPS.written, kinds, strict=True):
        total, count = found[term]
        assert count == len(expected[token])
        np.testing.assert_allclose(total, -sum(expected[token]), rtol=1e-4)


def test_a_training_tells_how_likely_delimiters_became():
    known = tokenizer("text")
    options = dataclasses.replace(CONFIG, epochs=200, learning_rate=2e-2)
    rows = [SftRow(str(i), "Q?", tuple(ONE_STEP), 1.0, 1.0, 1) for i in range(2)]
    summary = train_policy(model(known.vocab_size), rows, known, lambda q: q, options)
    found = probabilities(summary.metrics, CODE_STEPS)
    assert found.keys() == set(CODE_STEPS.written) - {CODE_STEPS.end_step}  # which no solution has
    assert all(0.5 < p <= 1 for p in found.values())
    assert math.isclose(found[CODE_STEPS.opening], math.exp(-summary.metrics["nll_code"]))
    assert weakness(summary.metrics, CODE_STEPS, summary.steps, new_tokens=0) == ""


def test_a_weak_one_is_warned_of():
    few = train_policy(model(256), [SftRow("0", "Q?", tuple(ONE_STEP), 1.0, 1.0, 1)], tokenizer("text"),
                       lambda q: q, CONFIG)  # fmt: skip
    assert "not learnt" in (note := weakness(few.metrics, CODE_STEPS, few.steps, 0))
    assert f"{CODE_STEPS.opening} 0.000" in note and "policy.delimiters=text" in note
    good = {term: 0.1 for term in terms(CODE_STEPS)}
    assert "11 new tokens in 19 steps" in weakness(good, CODE_STEPS, 19, new_tokens=11)
    assert weakness(good, CODE_STEPS, 20, new_tokens=11) == weakness(good, CODE_STEPS, 1, new_tokens=0) == ""


def test_new_rows_point_where_their_text_does():
    """Each its own way, of usual length, in the embedding and in a head of its own."""
    known = tokenizer("text")
    config = DecoderConfig(
        vocab_size=256, width=32, layers=1, heads=2, kv_heads=1, head_dim=16, mlp=32, tied=False
    )
    grown = with_delimiters(init_random(config, 0), known, "tokens")
    assert grown.config.vocab_size == known.vocab_size == 256 + len(CODE_STEPS.delimiters)
    for name in ("embed", "head"):
        table = np.asarray(grown.params()[name])
        lengths = np.linalg.norm(table, axis=-1)
        np.testing.assert_allclose(lengths[256:], lengths[:256].mean(), rtol=1e-4)
        ways = table[256:] / lengths[256:, None]
        assert (ways @ ways.T - np.eye(len(ways))).max() < 0.999


def main():
    """Prints the lengths of new rows on one device and where two split a table of an odd number of rows."""
    lengths = []
    for mesh in (None, sharding.make_mesh(tensor=2, devices=jax.devices()[:2])):
        known = tokenizer("text", "odd")
        made = model(known.vocab_size + 1)  # a spare row, so that the mesh can split them
        if mesh is not None:
            sharding.shard_module(made, mesh)
            made = Decoder(made.config, made.params(), mesh=mesh)
        grown = with_delimiters(made, known, "tokens")
        rows = np.asarray(grown.params()["embed"])[257 : known.vocab_size]
        lengths.append(np.linalg.norm(rows, axis=-1).tolist())
    print(json.dumps(lengths))


def test_new_rows_start_alike_on_a_mesh():
    one, two = json.loads(printed(__file__, devices=2))
    assert len(one) == len(CODE_STEPS.delimiters)
    np.testing.assert_allclose(one, two, rtol=1e-5)
    np.testing.assert_allclose(one, one[0], rtol=1e-4)


def test_text_changes_neither_model_nor_tokenizer():
    known = tokenizer("text")
    made = model(known.vocab_size)
    assert with_delimiters(made, known, "text") is made and known.vocab_size == 256


if __name__ == "__main__":
    main()
