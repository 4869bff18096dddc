"""The engine and the task as services that a search polls (`search.contract.Service`).

The device decodes while the search and the sandbox work on what came before: an engine's chunk is under way
between two polls, and programs run in the sandbox's processes, waited for by threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")
# Programs and answers that are waited for at a time: enough for the sandbox to have all its processes busy.
THREADS = 16


class Engine(Protocol):
    """The common interface of `decode.StepDecoder` and `decode.StepScorer`."""

    def submit(self, requests: Sequence[Any], /) -> list[int]: ...
    def poll(self, wait: bool = False) -> list[tuple[int, Any]]: ...
    def turn(self) -> None: ...
    def cancel(self, tickets: Iterable[int], /) -> None: ...


class Desk(Generic[Request, Result]):
    """An engine as a service, for one search at a time.

    write: what the engine is asked. read: its answer, as the search wants it. timed: a context for the time
    that is spent with the engine.
    """

    works_in_poll = True

    def __init__(
        self,
        engine: Engine,
        write: Callable[[Request], Any],
        read: Callable[[Request, Any], Result],
        timed: Callable[[], Any],
    ) -> None:
        self._engine, self._write, self._read, self._timed = engine, write, read, timed
        self._open: dict[int, Request] = {}

    def submit(self, requests: Sequence[Request]) -> list[int]:
        tickets = self._engine.submit([self._write(request) for request in requests])
        self._open.update(zip(tickets, requests, strict=True))
        return tickets

    def poll(self, wait: bool) -> list[tuple[int, Result]]:
        """One chunk of decoding, or one batch of values, and what is done by then."""
        while self._open:
            with self._timed():
                self._engine.turn()
                found = self._engine.poll()
            if found or not wait:
                return [(t, self._read(self._open.pop(t), result)) for t, result in found]
        return []

    def cancel(self, tickets: Iterable[int]) -> None:
        mine = [ticket for ticket in tickets if self._open.pop(ticket, None) is not None]
        self._engine.cancel(mine)


class Waiters(Generic[Request, Result]):
    """A function of a batch as a service: each request is waited for by a thread of its own, so that none
    waits for another. What the function raises, the next poll raises.

    read: called with every request and its answer, by whoever polls.
    """

    works_in_poll = False

    def __init__(
        self,
        function: Callable[[Sequence[Request]], Sequence[Result]],
        read: Callable[[Request, Result], None] | None = None,
        threads: int = THREADS,
    ) -> None:
        self._function, self._read = function, read
        self._pool = ThreadPoolExecutor(threads)
        self._open: dict[int, Request] = {}
        self._done: list[tuple[int, Any]] = []
        self._news = threading.Condition()
        self._next = 0

    def submit(self, requests: Sequence[Request]) -> list[int]:
        tickets = list(range(self._next, self._next + len(requests)))
        self._next += len(requests)
        self._open.update(zip(tickets, requests, strict=True))
        for ticket, request in zip(tickets, requests, strict=True):
            self._pool.submit(self._work, ticket, request)
        return tickets

    def poll(self, wait: bool) -> list[tuple[int, Result]]:
        with self._news:
            while True:
                # What was cancelled is not wanted any more.
                done = [(ticket, answer) for ticket, answer in self._done if ticket in self._open]
                self._done = []
                if done or not wait or not self._open:
                    break
                self._news.wait()
        for entry in done:
            ticket, answer = entry
            if isinstance(answer, BaseException):
                with self._news:  # what came with it comes with the next poll
                    self._done = [other for other in done if other is not entry] + self._done
                del self._open[ticket]
                raise answer
        for ticket, answer in done:
            request = self._open.pop(ticket)
            if self._read is not None:
                self._read(request, answer)
        return done

    def cancel(self, tickets: Iterable[int]) -> None:
        for ticket in tickets:
            self._open.pop(ticket, None)

    def _work(self, ticket: int, request: Request) -> None:
        answer: Any = None
        if ticket in self._open:
            try:
                (answer,) = self._function([request])
            except BaseException as error:
                answer = error
        with self._news:
            self._done.append((ticket, answer))
            self._news.notify()
