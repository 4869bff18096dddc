"""Dispatch of what expansions ask to the queues, and of results to the expansions that wait for them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

from rstar_jax.queues import Queue
from rstar_jax.search.contract import Queues
from rstar_jax.search.expand import Expansion

Run = TypeVar("Run", bound=Hashable)


class Dispatcher(Generic[Run]):
    """The queues: what is to be asked, what is open, and whose it is."""

    def __init__(self, queues: Queues):
        self._queues: dict[str, Queue] = {"check": queues.check, "grade": queues.grade}
        if queues.score is not None:
            self._queues["score"] = queues.score
        self._queues["propose"] = queues.propose
        self._ready: dict[str, list[tuple[Any, tuple[Run, Expansion, Any]]]] = {
            name: [] for name in self._queues
        }
        self._open: dict[str, dict[int, tuple[Run, Expansion, Any]]] = {name: {} for name in self._queues}

    def ask(self, kind: str, request: Any, run: Run, expansion: Expansion, key: Any) -> None:
        self._ready[kind].append((request, (run, expansion, key)))

    def turn(self, wait: bool) -> Iterator[list[tuple[str, Run, Expansion, Any, Any]]]:
        """Go once round the queues: hands out what is ready, takes what has finished.

        wait: for a queue that alone has anything to do and does it by itself. A cooperative one
        is left after each piece of work, so that whoever watches or ends the search is heard. Candidates are
        asked for last, with what the other queues have just made ready.
        """
        if not any(self._open.values()) and not any(self._ready.values()):
            raise RuntimeError("trees wait for results, but nothing was asked for")
        for name, queue in self._queues.items():
            if ready := self._ready[name]:
                self._ready[name] = []
                tickets = queue.submit([request for request, _ in ready])
                self._open[name].update(zip(tickets, (whose for _, whose in ready), strict=True))
            if self._open[name]:
                alone = not any(
                    self._open[other] or self._ready[other] for other in self._open if other != name
                )
                yield self._finished(name, queue.poll(wait and alone and not queue.cooperative))

    def _finished(
        self, name: str, results: list[tuple[int, Any]]
    ) -> list[tuple[str, Run, Expansion, Any, Any]]:
        tickets, finished = self._open[name], []
        for ticket, result in results:
            if ticket not in tickets:
                raise RuntimeError(
                    f"'{name}' reported ticket {ticket}, which this search did not ask for or had already: "
                    "two searches may not share a queue at a time"
                )
            finished.append((name, *tickets.pop(ticket), result))
        return finished

    @property
    def must_nap(self) -> bool:
        """Return whether everything open works by itself."""
        return not any(self._queues[name].cooperative for name, tickets in self._open.items() if tickets)

    def forget(self, run: Run | None = None) -> None:
        """Drops all that is asked for a run, or for all of them."""
        for name, queue in self._queues.items():
            self._ready[name] = [entry for entry in self._ready[name] if run and entry[1][0] is not run]
            mine = [t for t, whose in self._open[name].items() if run is None or whose[0] is run]
            for ticket in mine:
                del self._open[name][ticket]
            if mine:
                queue.cancel(mine)
