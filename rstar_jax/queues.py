"""The one interface of whatever takes time: the engine, the sandbox, the grader, the PPM, a whole search.

    tickets = queue.submit(requests)
    for ticket, result in queue.poll(block=True): ...
    results = call(queue, requests)                      # to wait for all of them, in order

`Queue` owns the tickets. To make one, say what begins when requests come (`_begin`), how it gets on when it
is polled (`_work`) and, where that spares work, what ends when they are not wanted any more (`_drop`).
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a result that is still to come, for owners who know such parts; told under its ticket."""

    result: Any


class Queue(abc.ABC, Generic[Request, Result]):
    """Requests in, results out, in any order, each under its ticket and once.

                 submit          _finish            poll
        request --------> open ----------> done ------------> told
                            |               |
                            `--- cancel ----'----> forgotten

    For one owner, in one thread. What `submit` or `poll` raises ends what its owner was at.
    cooperative: makes progress only inside `poll`, a bounded piece of work each time (a chunk of decoding);
        otherwise processes or threads of its own do the work, and `poll` fetches what they have finished.
    watch: called with how many are open, whenever that may have changed.
    """

    cooperative: bool
    watch: Callable[[int], None] | None = None

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._open: dict[int, Request] = {}
        self._done: list[tuple[int, Any]] = []

    def submit(self, requests: Sequence[Request]) -> list[int]:
        """Take requests that are ready at the same time; return their tickets, in order. Never waits."""
        entries = {next(self._numbers): request for request in requests}
        self._open |= entries
        self._begin(entries)
        self._watched()
        return list(entries)

    def poll(self, block: bool = False) -> list[tuple[int, Result]]:
        """Return what has finished and was not told yet, as (ticket, result), in any order.

        block: with at least one, if any is open.
        """
        self._work(block)
        while block and self._open and not self._done:
            self._work(block)
        self._watched()
        done, self._done = self._done, []
        return done

    def cancel(self, tickets: Iterable[int]) -> None:
        """Forget these: none of them is told from now on, and their work may be spared."""
        gone = set(tickets)
        self._done = [entry for entry in self._done if entry[0] not in gone]
        if dropped := {ticket for ticket in gone if self._open.pop(ticket, None) is not None}:
            self._drop(dropped)
        self._watched()

    @property
    def compile_seconds(self) -> float:
        """Seconds of `submit` and `poll` so far in which programs were compiled. Who came first waited for
        what all others will find, so that no budget of seconds counts them."""
        return 0.0

    @abc.abstractmethod
    def _begin(self, entries: Mapping[int, Request]) -> None:
        """Begin with new requests, by ticket."""

    @abc.abstractmethod
    def _work(self, block: bool) -> None:
        """Get on, and `_finish` what is done. block: wait until something is, if nothing is yet."""

    def _drop(self, tickets: set[int]) -> None:
        """End work on requests that were open."""

    def _watched(self) -> None:
        if self.watch is not None:
            self.watch(len(self._open))

    def _tell(self, ticket: int, part: Part) -> None:
        """Note a part of a result that is still to come."""
        if ticket in self._open:
            self._done.append((ticket, part))

    def _finish(self, ticket: int, result: Result) -> None:
        """Note a result; one that is not wanted any more is dropped."""
        if self._open.pop(ticket, None) is not None:
            self._done.append((ticket, result))


def call(queue: Queue[Request, Result], requests: Sequence[Request]) -> list[Result]:
    """Return the results of these requests, in order, and leave the others of the queue to its owner."""
    tickets = queue.submit(requests)
    mine, others, found = set(tickets), list[tuple[int, Any]](), dict[int, Result]()
    try:
        while len(found) < len(mine):
            for ticket, result in queue.poll(block=True):
                if ticket not in mine:
                    others.append((ticket, result))
                elif not isinstance(result, Part):
                    found[ticket] = result
    except BaseException:
        queue.cancel(mine - found.keys())
        raise
    finally:
        queue._done += others
    return [found[ticket] for ticket in tickets]


class Batched(Queue[Request, Result]):
    """A function of a batch: each poll calls it with all that was submitted until then, and waits for it."""

    cooperative = True

    def __init__(self, function: Callable[[Sequence[Request]], Sequence[Result]]) -> None:
        super().__init__()
        self._function = function

    def _begin(self, entries: Mapping[int, Request]) -> None:
        """All that is open waits for the next poll."""

    def _work(self, block: bool) -> None:
        if self._open:
            found = self._function(list(self._open.values()))
            # All that was open is done, which is told faster at once than one by one.
            self._done += zip(self._open, found, strict=True)
            self._open.clear()


@dataclasses.dataclass(frozen=True)
class Known(Generic[Result]):
    """A result that needs no asking."""

    result: Result


class Coded(Queue[Request, Result]):
    """Another queue, asked in other words.

    encode: what the other is asked for a request, or what is `Known` already. decode: its answer as the
    result of that request. timed: makes a context for the time that is spent with it.
    """

    def __init__(
        self,
        inner: Queue[Any, Any],
        encode: Callable[[Request], Any],
        decode: Callable[[Request, Any], Result],
        timed: Callable[[], Any] = contextlib.nullcontext,
    ) -> None:
        super().__init__()
        self.cooperative = inner.cooperative
        self._inner, self._encode, self._decode, self._timed = inner, encode, decode, timed
        self._outer: dict[int, int] = {}  # the other's ticket -> ours

    @property
    def compile_seconds(self) -> float:
        return self._inner.compile_seconds

    def _begin(self, entries: Mapping[int, Request]) -> None:
        asked = {}
        for ticket, request in entries.items():
            words = self._encode(request)
            if isinstance(words, Known):
                self._finish(ticket, words.result)
            else:
                asked[ticket] = words
        if asked:
            self._outer.update(zip(self._inner.submit(list(asked.values())), asked, strict=True))

    def _work(self, block: bool) -> None:
        if not self._outer:
            return
        with self._timed():
            answers = self._inner.poll(block and not self._done)
        for number, answer in answers:
            if isinstance(answer, Part):
                self._tell(self._outer[number], answer)
                continue
            ticket = self._outer.pop(number)
            self._finish(ticket, self._decode(self._open[ticket], answer))

    def _drop(self, tickets: set[int]) -> None:
        gone = [number for number, ticket in self._outer.items() if ticket in tickets]
        for number in gone:
            del self._outer[number]
        self._inner.cancel(gone)
