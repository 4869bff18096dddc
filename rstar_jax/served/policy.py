"""The queue of a served model: requests in, continuations out, by a thread of its own.

owner's thread                      the queue's thread (one event loop)
submit --> known? --no-----------------> Client.ask
             |                             |  an answer: journal, then
poll <-------'<---- outbox, a condition <--'  all of a request's have come
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.queues import Queue
from rstar_jax.served.address import Address
from rstar_jax.served.client import Ask, Client
from rstar_jax.served.journal import SYNC_S, Journal
from rstar_jax.served.journals import Journals, left_by_teams
from rstar_jax.served.requests import CompletionRequest, Continuation, group_of, key_of
from rstar_jax.served.settings import ServedConfig


@dataclasses.dataclass
class _Request:
    """A request under way. choices: those that have come, by place."""

    key: int
    group: int
    choices: list[Continuation | None]

    def add(self, first: int, choices: list[Continuation]) -> None:
        self.choices[first : first + len(choices)] = choices

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Runs of places without a continuation, as (first, count)."""
        found: list[tuple[int, int]] = []
        for place, choice in enumerate(self.choices):
            if choice is None:
                first, count = found.pop() if found and sum(found[-1]) == place else (place, 0)
                found.append((first, count + 1))
        return found


class ServedPolicy(Queue[CompletionRequest, list[Continuation]]):
    """The continuations of each request, `n` of them, in any order of requests.

    seed: of the run. journal: a folder that keeps the answers; None: none are kept. host: this one's name,
    where several keep theirs in that folder (`begin`). where: the option that names the server, for errors.
    `poll` raises UserError where the server refuses requests for good, or has
    answered nothing for `config.give_up_s`, and where the journal cannot be written.
    """

    cooperative = False

    def __init__(
        self,
        address: Address,
        config: ServedConfig,
        *,
        seed: int = 0,
        journal: Path | None = None,
        host: str = "",
        where: str = "config.policy.bootstrap",
    ) -> None:
        super().__init__()
        self.address, self._config, self._seed = address, config, seed
        self._journal: Journal | Journals | None = None
        if journal:
            alone = not host
            self._journal = Journal(journal, left_by_teams(journal)) if alone else Journals(journal, host)
        self._requests: dict[int, _Request] = {}  # of the queue's thread
        self._ready = threading.Condition()
        self._outbox: list[tuple[int, list[Continuation]]] = []
        self._failure: BaseException | None = None
        self._client = Client(address, config, seed, self._came, self._failed, where)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._broke)
        self._thread: threading.Thread | None = None
        self._syncing: asyncio.Task[None] | None = None

    def stats(self) -> dict[str, Any]:
        """JSON-ready counts (`requests.ServerStats`), and the mean number of slots busy."""
        found, busy = dataclasses.asdict(self._client.stats), self._client.stats.slots_busy
        for name in ("busy_s", "wanted_s"):
            del found[name]
        found |= {"slots": self._config.slots, "slots_busy": None if busy is None else round(busy, 2)}
        return {"server": self.address.base, "model": self.address.model, **found}

    @property
    def tokens(self) -> int:
        """Written by the server until now."""
        return self._client.stats.tokens_out

    def begin(self, block: str, owner: str) -> None:
        """Say that what is asked for this owner belongs to a block of problems, and is kept with it."""
        if isinstance(self._journal, Journals):
            self._journal.begin(block, group_of(owner))

    def settle(self, owners: Iterable[str]) -> None:
        """Say that what these asked for is on disk, and that none of it will be asked for again."""
        if self._journal is None:
            return
        groups = [group_of(owner) for owner in owners]
        if self._thread is None:
            self._journal.settle(groups)
        else:  # after what it was told to forget, so that nothing of theirs comes any more
            self._call(self._journal.settle, groups)

    def close(self) -> None:
        """End the thread, with everything that is under way; what was answered is in the journal."""
        if self._thread is not None:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = None
        if not self._loop.is_running() and not self._loop.is_closed():
            self._loop.close()
        if self._journal:
            self._journal.close()

    def _begin(self, entries: Mapping[int, CompletionRequest]) -> None:
        unknown: list[tuple[int, CompletionRequest, _Request]] = []
        for ticket, request in entries.items():
            key = key_of(self.address.model, self._seed, self._config.top_p, request)
            one = _Request(key, group_of(request.owner), [None] * request.n)
            for first, choices in self._journal.get(key) if self._journal else ():
                one.add(first, choices)
            if one.gaps:
                unknown.append((ticket, request, one))
            else:
                self._client.stats.known += 1
                self._finish(ticket, [choice for choice in one.choices if choice is not None])
        if unknown:
            self._call(self._ask, unknown)

    def _work(self, block: bool) -> None:
        with self._ready:
            while block and not (self._outbox or self._done or self._failure) and self._open:
                self._ready.wait()
            finished, self._outbox = self._outbox, []
        for ticket, choices in finished:
            self._finish(ticket, choices)
        if self._failure is not None and not self._done and self._open:
            raise self._failure

    def _drop(self, tickets: set[int]) -> None:
        self._call(self._forget, tickets)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have the queue's thread do something; it is started first, if it is not there."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop.run_forever, name="served", daemon=True)
            self._thread.start()
        self._loop.call_soon_threadsafe(function, *arguments)

    # In the queue's thread.

    def _ask(self, unknown: list[tuple[int, CompletionRequest, _Request]]) -> None:
        if self._syncing is None and self._journal:
            self._syncing = self._loop.create_task(self._sync(self._journal))
        for ticket, request, one in unknown:
            self._requests[ticket] = one
            for first, count in one.gaps:
                self._client.ask(Ask(ticket, request, first, count))

    def _forget(self, tickets: set[int]) -> None:
        self._client.forget(tickets)
        for ticket in tickets:
            self._requests.pop(ticket, None)

    def _came(self, ask: Ask, choices: list[Continuation], written: bool) -> None:
        one = self._requests.get(ask.ticket)
        if one is None:
            return
        # What the server failed at is no answer: the next process asks it again.
        if self._journal and written:
            self._journal.add(one.key, one.group, ask.first, choices)
        one.add(ask.first, choices)
        if not one.gaps:
            del self._requests[ask.ticket]
            with self._ready:
                self._outbox.append((ask.ticket, [choice for choice in one.choices if choice is not None]))
                self._ready.notify()

    def _failed(self, error: BaseException) -> None:
        with self._ready:
            self._failure = error
            self._ready.notify()

    def _broke(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._failed(context.get("exception") or RuntimeError(context["message"]))

    async def _sync(self, journal: Journal | Journals) -> None:
        while True:
            await asyncio.sleep(SYNC_S)
            try:
                await self._loop.run_in_executor(None, journal.sync)
            except UserError as error:
                self._failed(error)

    async def _end(self) -> None:
        await self._client.close()
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
        await self._loop.shutdown_default_executor()
