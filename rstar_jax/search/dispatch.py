"""Dispatch of what expansions ask to the queues, and of results to the expansions that wait for them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Hashable, Iterator
from typing import Any, Generic, TypeVar

from rstar_jax.queues import Queue
from rstar_jax.search.contract import Queues
from rstar_jax.search.expand import Expansion

Run = TypeVar("Run", bound=Hashable)


# A request for a queue, the run and the expansion that wait for its result, and by what key that knows it.
Asked = tuple[Any, Run, Expansion, Any]


class Dispatcher(Generic[Run]):
    """The queues, what is to be asked of each, and what is open, by ticket."""

    def __init__(self, queues: Queues):
        self._queues: dict[str, Queue] = {"check": queues.check, "grade": queues.grade}
        if queues.score is not None:
            self._queues["score"] = queues.score
        # Last, so that a turn hands the engine the leaves that this turn's results have made.
        self._queues["propose"] = queues.propose
        self.awaiting = queues.awaiting
        self._ready: dict[str, list[Asked[Run]]] = {name: [] for name in self._queues}
        self._open: dict[str, dict[int, Asked[Run]]] = {name: {} for name in self._queues}

    def ask(self, kind: str, request: Any, run: Run, expansion: Expansion, key: Any) -> None:
        """Note a request; it is handed out in the next turn, together with all others of its kind."""
        self._ready[kind].append((request, run, expansion, key))

    def turn(self, wait: bool) -> Iterator[tuple[str, list[tuple[Asked[Run], Any]]]]:
        """Go once round the queues: hands out what is ready, yields what each has finished.

        wait: for a queue that alone has anything to do and does it by itself. A cooperative one is left after
        each piece of work, so that whoever watches or ends the search is heard.
        """
        if not any(self._open.values()) and not any(self._ready.values()):
            raise RuntimeError("trees wait for results, but nothing was asked for")
        for name, queue in self._queues.items():
            mine = self._open[name]
            if ready := self._ready[name]:
                self._ready[name] = []
                mine.update(zip(queue.submit([asked[0] for asked in ready]), ready, strict=True))
            if mine:
                others = (self._open[other] or self._ready[other] for other in self._open if other != name)
                alone = wait and not queue.cooperative and not any(others)
                with self.awaiting() if alone else contextlib.nullcontext():
                    results = queue.poll(alone)
                try:
                    found = [(mine.pop(ticket), result) for ticket, result in results]
                except KeyError as error:
                    raise RuntimeError(
                        f"'{name}' reported ticket {error}, which this search did not ask for, or had "
                        "already: two searches may not share a queue at a time"
                    ) from None
                yield name, found

    @property
    def must_nap(self) -> bool:
        """Return whether everything open works by itself."""
        return not any(self._queues[name].cooperative for name, tickets in self._open.items() if tickets)

    @property
    def compile_seconds(self) -> float:
        """Seconds in which any of the queues compiled programs."""
        return sum(queue.compile_seconds for queue in self._queues.values())

    def forget(self, runs: Collection[Run]) -> None:
        """Drop all that is asked for some runs, of each queue at once: one whose places were freed run by run
        would begin what the next of these is going to drop."""
        for name, queue in self._queues.items():
            self._ready[name] = [asked for asked in self._ready[name] if asked[1] not in runs]
            gone = [ticket for ticket, asked in self._open[name].items() if asked[1] in runs]
            for ticket in gone:
                del self._open[name][ticket]
            if gone:
                queue.cancel(gone)
