"""Plain batch functions as services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from rstar_jax.search.contract import Functions, Services

Request = TypeVar("Request")
Result = TypeVar("Result")


class Called(Generic[Request, Result]):
    """A function of a batch: the next poll calls it with all that was submitted until then."""

    works_in_poll = True

    def __init__(self, function: Callable[[Sequence[Request]], Sequence[Result]]):
        self._function = function
        self._open: dict[int, Request] = {}
        self._next = 0

    def submit(self, requests: Sequence[Request]) -> list[int]:
        tickets = list(range(self._next, self._next + len(requests)))
        self._next += len(requests)
        self._open.update(zip(tickets, requests, strict=True))
        return tickets

    def poll(self, wait: bool) -> list[tuple[int, Result]]:
        del wait  # all that is open is done by the call
        if not self._open:
            return []
        tickets, requests = list(self._open), list(self._open.values())
        self._open = {}
        return list(zip(tickets, self._function(requests), strict=True))

    def cancel(self, tickets: Iterable[int]) -> None:
        for ticket in tickets:
            self._open.pop(ticket, None)


def as_services(functions: Functions | Services) -> Services:
    """Services that call these functions; services as they are."""
    if isinstance(functions, Services):
        return functions
    return Services(
        Called(functions.propose),
        Called(functions.check),
        Called(functions.grade),
        Called(functions.score) if functions.score is not None else None,
    )
