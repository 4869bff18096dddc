"""A search by the queues of real models is the search by plain calls; and models that do not serve."""

import dataclasses
import functools
import time

import pytest

from rstar_jax import models, weights
from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.inference import Reasoner
from rstar_jax.problems.suite import generate
from rstar_jax.queues import call
from rstar_jax.sandbox import Sandbox
from rstar_jax.search import STRATEGIES, SearchConfig, grow_trees
from rstar_jax.tasks import Checker, MathTask
from rstar_jax.weights import TINY_BASE
from tests.search.scripted import Functions


def test_a_search_by_queues_is_the_search_by_plain_calls() -> None:
    problems = generate(6, seed=3, split="train")
    config = SearchConfig(rollouts=3, candidates=3, temperature=0.8, batch=4)
    decode = DecodeConfig(leaves=4, rows=2, max_step_tokens=48, context=384)
    with Sandbox(workers=1) as sandbox:
        made = Reasoner(
            TINY_BASE,
            None,
            Checker(MathTask(), sandbox),
            role="finetuned",
            decode=decode,
            dtype="float32",
            seed=0,
        )
        queues = made.queues(1)
        functions = Functions(
            *(functools.partial(call, q) for q in (queues.propose, queues.check, queues.grade))
        )
        plain = grow_trees(problems, functions.queues(), config, round=1, training=True)
        again = grow_trees(problems, made.queues(1), config, round=1, training=True)
    assert sum(len(tree.nodes) for tree in plain) > 60
    for one, other in zip(plain, again, strict=True):
        assert [(n.parent, n.text, n.status, n.visits, n.q) for n in other.nodes] == [
            (n.parent, n.text, n.status, n.visits, n.q) for n in one.nodes
        ]
    assert made.result()["engine"]["reused"] > 0  # type: ignore[index]


def test_device_sandbox_and_host_are_timed_apart(ppms) -> None:
    problems = generate(3, seed=4, split="train")
    with Sandbox(workers=1) as sandbox:
        made = _reasoner(ppms / "sound", sandbox, 32)
        assert made.result()["seconds"]["device"] == made.result()["seconds"]["sandbox"] == 0
        began = time.perf_counter()
        grow_trees(problems, made.queues(1), SMALL, round=1)
        wall = time.perf_counter() - began
        found = made.result()["seconds"]
        still = made.result()["seconds"]
    assert found == still  # nothing is under way any more
    for name in ("device", "sandbox", "device_awaited", "sandbox_awaited"):
        assert 0 < found[name] < wall
    assert found["device_awaited"] <= found["device"]  # it is awaited while it works
    assert found["device_awaited"] + found["sandbox_awaited"] < wall


@pytest.fixture(scope="module")
def ppms(tmp_path_factory):
    """A PPM of the tiny base, and one whose weights are damaged."""
    folder = tmp_path_factory.mktemp("ppms")
    model = models.from_policy(weights.load_pretrained(TINY_BASE), seed=0)
    for name, factor in (("sound", 1.0), ("damaged", float("nan"))):
        model.score[...] = model.score[...] * factor
        weights.save_reward_model(model, folder / name, tokenizer_from=TINY_BASE)
    return folder


def _reasoner(ppm, sandbox, tokens):
    decode = DecodeConfig(leaves=4, rows=2, max_step_tokens=tokens, context=384)
    return Reasoner(
        TINY_BASE, ppm, Checker(MathTask(), sandbox), role="finetuned", decode=decode, dtype="float32", seed=0
    )


SMALL = SearchConfig(rollouts=3, candidates=3, searches=2, subtrees=2, beam_width=2, temperature=0.8)


def test_a_policy_that_never_ends_a_step_ends_every_search(ppms) -> None:
    """No step of the tiny base has as few as two tokens."""
    problems = generate(2, seed=3, split="train")
    with Sandbox(workers=1) as sandbox:
        made = _reasoner(ppms / "sound", sandbox, tokens=2)
        for strategy in STRATEGIES:
            config = dataclasses.replace(SMALL, strategy=strategy)
            for tree in grow_trees(problems, made.queues(1), config, round=1):
                assert {(n.status, n.detail) for n in tree.nodes[1:]} == {("malformed", "length")}
                assert {n.tokens for n in tree.nodes[1:]} == {2} and tree.ended in ("rollouts", "exhausted")


def test_a_damaged_ppm_is_named_by_every_search_that_asks_it(ppms) -> None:
    problems = generate(2, seed=3, split="train")
    with Sandbox(workers=1) as sandbox:
        made = _reasoner(ppms / "damaged", sandbox, tokens=48)
        for strategy in STRATEGIES:
            config = dataclasses.replace(SMALL, strategy=strategy)
            if strategy in ("greedy", "sample"):
                assert len(grow_trees(problems, made.queues(1), config, round=1)) == 2
            else:
                with pytest.raises(UserError, match="the PPM gave nan for a step at depth 1"):
                    grow_trees(problems, made.queues(1), config, round=1)
