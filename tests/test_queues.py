"""One queue: tickets, what is told and when, adapters, the sandbox and the grader as queues."""

from __future__ import annotations

import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax.errors import UserError
from rstar_jax.grading.answer import Grader
from rstar_jax.queues import Coded, Known, Part, Queue, call
from rstar_jax.sandbox import Sandbox


class Backwards(Queue[int, int]):
    """Answers its last request first, one each time it is polled; negative ones it fails."""

    cooperative = True

    def __init__(self):
        super().__init__()
        self.stack, self.dropped = [], []

    def _begin(self, entries):
        self.stack += entries.items()

    def _work(self, block):
        if self.stack:
            ticket, request = self.stack.pop()
            if request < 0:
                raise ValueError(request)
            self._tell(ticket, Part(request))
            self._finish(ticket, request * 10)

    def _drop(self, tickets):
        self.dropped += tickets
        self.stack = [entry for entry in self.stack if entry[0] not in tickets]


def drained(queue):
    found = []
    while new := queue.poll(block=True):
        found += new
    return [entry for entry in found if not isinstance(entry[1], Part)]


def test_each_result_is_told_once_under_its_ticket():
    queue = Backwards()
    first, second = queue.submit([1, 2])
    (third,) = queue.submit([3])
    assert queue.poll() == [(third, Part(3)), (third, 30)]
    assert drained(queue) == [(second, 20), (first, 10)] and queue.poll() == []


def test_what_is_cancelled_is_never_told_whether_it_is_open_or_done():
    queue = Backwards()
    first, second, third = queue.submit([1, 2, 3])
    queue._work(False)  # the third is done, and was not told yet
    queue.cancel([third, first, 99])
    assert queue.dropped == [first] and drained(queue) == [(second, 20)]
    queue.cancel([first, second])


def test_a_call_waits_for_its_own_and_leaves_others_to_their_owner():
    queue = Backwards()
    (mine,) = queue.submit([7])
    assert call(queue, [1, 2, 3]) == [10, 20, 30] and call(queue, []) == []
    assert drained(queue) == [(mine, 70)]
    with pytest.raises(ValueError):
        call(queue, [1, -1])
    assert drained(queue) == []  # what failed with it is not open any more


def coded(inner):
    known = {5: Known("five")}
    return Coded(inner, lambda n: known.get(n, n + 1), lambda n, found: f"{n}: {found}")


def test_another_queue_is_asked_in_other_words():
    inner = Backwards()
    queue = coded(inner)
    assert call(queue, [1, 5, 2]) == ["1: 20", "five", "2: 30"]
    first, second, third = queue.submit([1, 2, 3])
    queue.cancel([second])
    assert len(inner._open) == 2  # the other is told, too
    assert drained(queue) == [(third, "3: 40"), (first, "1: 20")]
    assert call(queue, [5]) == ["five"]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_whatever_is_asked_and_cancelled_in_whatever_order(seed):
    draw, inner = random.Random(seed), Backwards()
    queues = [coded(inner)]
    counts: list[int] = []
    queues[0].watch = counts.append
    wanted, found, gone = {}, {}, set()
    for _ in range(30):
        for queue in queues:
            if draw.random() < 0.5:
                asked = [draw.randrange(9) for _ in range(draw.randrange(4))]
                wanted |= dict(zip(queue.submit(asked), asked, strict=True))
            if draw.random() < 0.3 and wanted:
                ticket = draw.choice(list(wanted))
                gone |= {ticket} - found.keys()
                queue.cancel([ticket])
            for ticket, result in queue.poll(block=draw.random() < 0.3):
                assert ticket not in found and ticket not in gone
                if not isinstance(result, Part):
                    found[ticket] = result
    found |= dict(drained(queues[0]))
    assert found.keys() == wanted.keys() - gone and counts[-1] == 0
    assert all(
        found[t] == ("five" if n == 5 else f"{n}: {10 * (n + 1)}") for t, n in wanted.items() if t in found
    )


def test_programs_of_two_owners_of_a_sandbox_come_to_each_his_own():
    with Sandbox(workers=1) as sandbox:
        one, other = sandbox.queue(), sandbox.queue()
        assert one.submit(["print(1)"]) == other.submit(["print(2)"]) == [0]
        assert [(t, r.stdout) for t, r in other.poll(block=True)] == [(0, "2\n")]
        assert [(t, r.stdout) for t, r in one.poll(block=True)] == [(0, "1\n")]
        slow, quick = one.submit(["import time\ntime.sleep(60)", "print(3)"])
        one.cancel([slow])  # and ended: nobody else waits for it
        assert [(t, r.stdout) for t, r in one.poll(block=True)] == [(quick, "3\n")]
        assert one.poll(block=True) == []
        with pytest.raises(UserError, match="a list of texts expected"):
            one.submit("print(1)")


def test_a_slow_pair_keeps_no_other_waiting(monkeypatch):
    gate = threading.Event()
    with Grader(workers=2) as grader:
        ask = grader._pool.ask
        monkeypatch.setattr(
            grader._pool, "ask", lambda *pair: (gate.wait(30) if "z" in pair[0] else None, ask(*pair))[1]
        )
        queue = grader.queue()
        slow, quick, algebra = queue.submit([("z+1", "1+z"), ("1", "1.0"), ("x+1", "1+x")])
        found = dict(queue.poll())
        assert found == {quick: "right"}  # numbers need nobody
        assert queue.poll(block=True) == [(algebra, "right")] and queue.poll() == []
        gate.set()
        assert queue.poll(block=True) == [(slow, "right")] and queue.poll(block=True) == []
