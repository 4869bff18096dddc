"""Queues that finish when and in what order they like, under a clock of their own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rstar_jax.search import Queues
from tests.search.scripted import Functions


class Clock:
    """Time that passes only where somebody sleeps or waits. naps: how long each sleep was."""

    def __init__(self):
        self.now, self.naps = 0.0, []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.naps.append(seconds)


class Shuffled:
    """Each poll reports some of what is open, in any order; what is left open comes some time."""

    cooperative, compile_seconds = True, 0.0

    def __init__(self, function: Callable, draw: random.Random):
        self.function, self.draw = function, draw
        self.open: dict[int, Any] = {}
        self.next = self.draw.randrange(100)
        self.submits: list[int] = []
        self.polls = self.cancels = 0

    def submit(self, requests: Sequence) -> list[int]:
        self.submits.append(len(requests))
        tickets = []
        for request in requests:
            (result,) = self.function([request])
            ticket, self.next = self.next, self.next + self.draw.randrange(1, 4)
            self.open[ticket] = result
            tickets.append(ticket)
        return tickets

    def poll(self, block: bool = False) -> list[tuple[int, Any]]:
        self.polls += 1
        share = self.draw.choice((0.0, 0.2, 1.0))
        done = [ticket for ticket in self.open if self.draw.random() < share]
        if block and not done and self.open:
            done = [min(self.open)]
        self.draw.shuffle(done)
        return [(ticket, self.open.pop(ticket)) for ticket in done]

    def cancel(self, tickets: Iterable[int]) -> None:
        self.cancels += 1
        for ticket in tickets:
            del self.open[ticket]


def shuffled(functions: Functions, seed: int) -> Queues:
    """These functions as queues of which nobody knows when they answer."""
    draw = random.Random(seed)
    return Queues(
        Shuffled(functions.propose, draw),
        Shuffled(functions.check, draw),
        Shuffled(functions.grade, draw),
        Shuffled(functions.score, draw) if functions.score else None,
    )


class Timed:
    """Each request takes its own time. others: queues that may not have anything open when it waits.

    cooperative: each poll takes `chunk` seconds; otherwise time passes by itself.
    """

    def __init__(self, function: Callable, clock: Clock, seconds: Callable[[Any], float], chunk: float = 0.0):
        self.function, self.clock, self.seconds, self.chunk = function, clock, seconds, chunk
        self.cooperative, self.compile_seconds = chunk > 0, 0.0
        self.open: dict[int, tuple[float, Any]] = {}
        self.next = self.polls = 0
        self.others: list[Timed] = []

    def submit(self, requests: Sequence) -> list[int]:
        results = self.function(requests)
        tickets = list(range(self.next, self.next + len(requests)))
        self.next += len(requests)
        for ticket, request, result in zip(tickets, requests, results, strict=True):
            self.open[ticket] = (self.clock.now + self.seconds(request), result)
        return tickets

    def poll(self, block: bool = False) -> list[tuple[int, Any]]:
        self.polls += 1
        if self.open:
            self.clock.now += self.chunk
        if block and self.open:
            assert not any(other.open for other in self.others), "waited for one while another had work"
            self.clock.now = max(self.clock.now, min(due for due, _ in self.open.values()))
        done = [ticket for ticket, (due, _) in self.open.items() if due <= self.clock.now]
        return [(ticket, self.open.pop(ticket)[1]) for ticket in done]

    def cancel(self, tickets: Iterable[int]) -> None:
        for ticket in tickets:
            del self.open[ticket]


def timed(functions: Functions, clock: Clock, *, chunk: float = 0.0, **seconds: Callable) -> Queues:
    """These functions as queues that take time: seconds of a request, by queue; 1 unless given."""
    names = ("propose", "check", "grade", *(("score",) if functions.score else ()))
    made = {
        name: Timed(
            getattr(functions, name),
            clock,
            seconds.get(name, lambda request: 1.0),
            chunk if name in ("propose", "score") else 0.0,
        )
        for name in names
    }
    for queue in made.values():
        queue.others = [other for other in made.values() if other is not queue]
    return Queues(**made)


def all_open(queues: Queues) -> int:
    """How many requests are open in all of them."""
    every = (queues.propose, queues.check, queues.grade, queues.score)
    return sum(len(queue.open) for queue in every if queue is not None)  # type: ignore[attr-defined]
