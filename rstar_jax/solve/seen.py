"""Record of what the interpreter showed, for whoever watches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rstar_jax.search import Service
from rstar_jax.search.contract import CheckRequest
from rstar_jax.types import StepVerdict


class Seen:
    """The service that checks steps, and what it showed of each. observed: of the last of these steps."""

    def __init__(self, check: Service[CheckRequest, StepVerdict]):
        self._check, self.works_in_poll = check, check.works_in_poll
        self._asked: dict[int, tuple[str, ...]] = {}
        self._shown: dict[tuple[str, ...], str] = {}

    def submit(self, requests: Sequence[CheckRequest]) -> list[int]:
        tickets = self._check.submit(requests)
        self._asked.update(zip(tickets, (steps for _, steps in requests), strict=True))
        return tickets

    def poll(self, wait: bool) -> list[tuple[int, StepVerdict]]:
        results = self._check.poll(wait)
        for ticket, verdict in results:
            before = self._asked.pop(ticket)[:-1]
            if verdict.observation:
                self._shown[*before, verdict.text] = verdict.observation
        return results

    def cancel(self, tickets: Iterable[int]) -> None:
        tickets = list(tickets)
        for ticket in tickets:
            self._asked.pop(ticket, None)
        self._check.cancel(tickets)

    def observed(self, steps: tuple[str, ...]) -> str:
        return self._shown.get(steps, "")
