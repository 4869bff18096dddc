"""Services: nobody waits for another, nothing is lost, and a search by them is the search by plain calls."""

import contextlib
import dataclasses
import threading

import pytest

from rstar_jax import models, weights
from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.evolve.rounds import TINY_BASE
from rstar_jax.inference import Reasoner
from rstar_jax.inference.services import Desk, Waiters
from rstar_jax.problems.suite import generate
from rstar_jax.sandbox import Sandbox
from rstar_jax.search import STRATEGIES, SearchConfig, grow_trees
from rstar_jax.tasks import MathTask


def test_a_slow_request_keeps_no_other_waiting() -> None:
    gate = threading.Event()

    def answer(batch):
        (request,) = batch
        if request == "slow":
            gate.wait(30)
        return [request.upper()]

    read: list[tuple[str, str]] = []
    service = Waiters(answer, lambda request, result: read.append((request, result)))
    slow, *quick = service.submit(["slow", "a", "b"])
    found = dict(service.poll(wait=True))
    while len(found) < 2:
        found |= dict(service.poll(wait=True))
    assert found == dict(zip(quick, "AB", strict=True)) and service.poll(wait=False) == []
    gate.set()
    assert service.poll(wait=True) == [(slow, "SLOW")] and service.poll(wait=True) == []
    assert sorted(read) == [("a", "A"), ("b", "B"), ("slow", "SLOW")]


def test_what_a_function_raises_the_poll_raises_and_what_is_cancelled_never_comes() -> None:
    def answer(batch):
        raise ValueError(batch[0])

    service = Waiters(answer)
    first, *_ = service.submit(["one", "two", "three"])
    service.cancel([first])
    for _ in range(2):  # one does not make the other be waited for for ever
        with pytest.raises(ValueError, match=r"two|three"):
            service.poll(wait=True)
    assert service.poll(wait=True) == []


class Backwards:
    """An engine that answers its last request first, one a turn."""

    def __init__(self):
        self.open, self.done, self.next = [], [], 0

    def submit(self, requests):
        tickets = [self.next + i for i in range(len(requests))]
        self.next += len(requests)
        self.open += zip(tickets, requests, strict=True)
        return tickets

    def turn(self):
        if self.open:
            ticket, request = self.open.pop()
            self.done.append((ticket, request * 10))

    def cancel(self, tickets):
        self.open = [entry for entry in self.open if entry[0] not in tickets]
        self.done = [entry for entry in self.done if entry[0] not in tickets]

    def poll(self, wait=False):
        del wait
        done, self.done = self.done, []
        return done


def test_an_engines_results_come_as_they_are_done_and_cancelled_ones_never() -> None:
    engine = Backwards()

    def desk():
        read = lambda asked, found: (asked, found)  # noqa: E731
        return Desk(engine, lambda asked: asked + 1, read, contextlib.nullcontext)

    one = desk()
    first, second, third = one.submit([1, 2, 3])
    one.cancel([third])
    assert one.poll(wait=False) == [(second, (2, 30))]
    later = desk()  # a search that comes after another gets nothing of what that one left
    (mine,) = later.submit([4])
    one.cancel([first])
    assert later.poll(wait=True) == [(mine, (4, 50))]
    assert later.poll(wait=True) == one.poll(wait=True) == []


def test_a_search_by_services_is_the_search_by_plain_calls() -> None:
    problems = generate(6, seed=3, split="train")
    config = SearchConfig(rollouts=3, candidates=3, temperature=0.8, batch=4)
    decode = DecodeConfig(leaves=4, rows=2, max_step_tokens=48, context=384)
    with Sandbox(workers=1) as sandbox:
        made = Reasoner(TINY_BASE, None, MathTask(sandbox), decode=decode, dtype="float32", seed=0)
        plain = grow_trees(problems, made.functions(1), config, round=1, training=True)
        again = grow_trees(problems, made.services(1), config, round=1, training=True)
    assert sum(len(tree.nodes) for tree in plain) > 60
    for one, other in zip(plain, again, strict=True):
        assert [(n.parent, n.text, n.status, n.visits, n.q) for n in other.nodes] == [
            (n.parent, n.text, n.status, n.visits, n.q) for n in one.nodes
        ]
    assert made.result()["engine"]["reused"] > 0  # type: ignore[index]


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
    return Reasoner(TINY_BASE, ppm, MathTask(sandbox), decode=decode, dtype="float32", seed=0)


SMALL = SearchConfig(rollouts=3, candidates=3, searches=2, subtrees=2, beam_width=2, temperature=0.8)


def test_a_policy_that_never_ends_a_step_ends_every_search(ppms) -> None:
    """No step of the tiny base has as few as two tokens."""
    problems = generate(2, seed=3, split="train")
    with Sandbox(workers=1) as sandbox:
        made = _reasoner(ppms / "sound", sandbox, tokens=2)
        for strategy in STRATEGIES:
            config = dataclasses.replace(SMALL, strategy=strategy)
            for tree in grow_trees(problems, made.services(1), config, round=1):
                assert {(n.status, n.detail) for n in tree.nodes[1:]} == {("malformed", "length")}
                assert {n.tokens for n in tree.nodes[1:]} == {2} and tree.ended in ("rollouts", "exhausted")


def test_a_damaged_ppm_is_named_by_every_search_that_asks_it(ppms) -> None:
    problems = generate(2, seed=3, split="train")
    with Sandbox(workers=1) as sandbox:
        made = _reasoner(ppms / "damaged", sandbox, tokens=48)
        for strategy in STRATEGIES:
            config = dataclasses.replace(SMALL, strategy=strategy)
            if strategy in ("greedy", "sample"):
                assert len(grow_trees(problems, made.services(1), config, round=1)) == 2
            else:
                with pytest.raises(UserError, match="the PPM gave nan for a step at depth 1"):
                    grow_trees(problems, made.services(1), config, round=1)
