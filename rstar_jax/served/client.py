"""Requests to a server, many at a time, on one event loop.

                     a slot is free, the circuit allows it          complete
    ask --> waiting -------------------------------------> sent ---------------> told, journal first
               ^                                            | |
               `---- failed: after a pause, or in another --' `--> refused for good: `fatal` is told
                     form where a parameter was refused

A slot is filled the moment that one gets free. How long a pause is, and how many requests may be sent
meanwhile, `circuit.py` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import random
import time
from collections import deque
from collections.abc import Callable, Mapping

import aiohttp

from rstar_jax.errors import UserError
from rstar_jax.served.address import Address
from rstar_jax.served.circuit import Circuit
from rstar_jax.served.dialect import Dialect, too_long
from rstar_jax.served.refusal import final, refusal_of
from rstar_jax.served.requests import CompletionRequest, Continuation, ServerStats, seed_of
from rstar_jax.served.settings import ServedConfig
from rstar_jax.served.stream import Malformed, Refusal, Response

_LINE = 2**22  # bytes of one event
_END_S = 0.5  # seconds that a response may take to end behind its last event
_BUSY = (429, 503)  # the server is there and does not want to be asked now
_LOST = 16  # requests given up in a row, none answered between them, after which it is the server's fault


@dataclasses.dataclass(eq=False)
class Ask:
    """A request for `count` of a ticket's continuations from number `first` on. failures: how often it was
    sent in vain."""

    ticket: int
    request: CompletionRequest
    first: int
    count: int
    failures: int = 0


Told = Callable[[Ask, list[Continuation], bool], None]


class Client:
    """For one event loop, in which every method is called. told: gets an ask's continuations, its first ones
    at least, and whether the server wrote them. fatal: gets the error after which nothing more is asked."""

    def __init__(
        self,
        address: Address,
        config: ServedConfig,
        seed: int,
        told: Told,
        fatal: Callable[[BaseException], None],
        where: str,
    ) -> None:
        self._address, self._config, self._seed, self._where = address, config, seed, where
        self._told, self._fatal = told, fatal
        self.stats, self._dialect = ServerStats(), Dialect()
        self._circuit = Circuit(config, random.Random())
        self._waiting: deque[Ask] = deque()
        self._paused: dict[Ask, asyncio.TimerHandle] = {}
        self._sent: dict[asyncio.Task[None], Ask] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._session: aiohttp.ClientSession | None = None
        self._since, self._lost = 0.0, 0
        self._over = False

    def ask(self, ask: Ask) -> None:
        """Send this as soon as a slot is free."""
        self._account()
        self._waiting.append(ask)
        self._fill()

    def forget(self, tickets: set[int]) -> None:
        """End what was asked for these tickets."""
        self._account()
        self._waiting = deque(ask for ask in self._waiting if ask.ticket not in tickets)
        for ask in [ask for ask in self._paused if ask.ticket in tickets]:
            self._paused.pop(ask).cancel()
        for task in [task for task, ask in self._sent.items() if ask.ticket in tickets]:
            task.cancel()

    async def close(self) -> None:
        """End everything."""
        self._over = True
        tickets = {ask.ticket for ask in (*self._waiting, *self._paused, *self._sent.values())}
        self.forget(tickets)
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._sent, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _account(self) -> None:
        """Add the time since the last change to the counts, as it was until now."""
        now, slots = time.monotonic(), self._config.slots
        if len(self._sent) + len(self._waiting) + len(self._paused) >= slots:
            self.stats.busy_s += len(self._sent) * (now - self._since)
            self.stats.wanted_s += now - self._since
        self._since = now

    def _fill(self) -> None:
        """Send what waits, as far as slots and circuit allow."""
        now = time.monotonic()
        if self._over or not self._waiting:
            return
        if now < self._circuit.not_before:
            if self._timer is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._circuit.not_before - now, self._again)
            return
        while self._waiting and len(self._sent) < self._circuit.allowed:
            ask = self._waiting.popleft()
            task = asyncio.get_running_loop().create_task(self._send(ask))
            self._sent[task] = ask
            task.add_done_callback(self._left)

    def _again(self) -> None:
        self._account()
        self._timer = None
        self._fill()

    def _left(self, task: asyncio.Task[None]) -> None:
        self._account()
        del self._sent[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._over = True
            self._fatal(error)
        self._fill()

    async def _send(self, ask: Ask) -> None:
        """Ask once; whatever comes of it is told, or waits to be asked again."""
        request, first = ask.request, ask.first
        if self._dialect.one_at_a_time and ask.count > 1:
            for i in range(1, ask.count):
                self._waiting.appendleft(dataclasses.replace(ask, first=first + i, count=1))
            ask.count = 1
            self._fill()
        seed = seed_of(self._seed, request, first)
        body = self._dialect.body(self._address.model, request, ask.count, seed, self._config.top_p)
        answer, sent = Response(ask.count, request.stops), time.monotonic()
        self.stats.requests += 1
        try:
            await self._read(body, answer)
        except (Refusal, Malformed, aiohttp.ClientError, OSError) as error:
            if not answer.complete:
                # aiohttp's own are of connections.
                if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
                    await self._stalled(ask, sent, answer)
                else:
                    await self._refused(ask, sent, body, error)
                return
        await self._answered(ask, sent, body, answer)

    async def _read(self, body: Mapping[str, object], answer: Response) -> None:
        """Send a request and read its answer until that is complete. Raises Refusal, Malformed, TimeoutError
        where no token comes, and what aiohttp raises."""
        if self._session is None:
            self._session = self._connect()
        config, loop = self._config, asyncio.get_running_loop()
        async with asyncio.timeout(config.first_s) as limit:
            url = f"{self._address.base}/completions"
            async with self._session.post(url, data=json.dumps(body).encode()) as response:
                if response.status != 200:
                    raise refusal_of(response, await response.text(errors="replace"))
                if "event-stream" not in response.headers.get("Content-Type", ""):
                    answer.whole(await response.text(errors="replace"))
                    answer.done = True
                    return
                rest = b""
                while piece := await response.content.readany():
                    *lines, rest = (rest + piece).split(b"\n")
                    if len(rest) > _LINE:
                        raise Malformed(f"an event of more than {_LINE:,} bytes")
                    moved = False
                    for line in lines:
                        if line.startswith(b"data:"):
                            moved |= answer.take(line[5:].strip().decode(errors="replace"))
                    if answer.ended_here:
                        return
                    if moved:
                        # A connection that is left before its response has ended cannot be used again.
                        limit.reschedule(loop.time() + (_END_S if answer.done else config.stall_s))
                        self._circuit.answered(time.monotonic())
                if not answer.done and not answer.complete:
                    raise Malformed("the connection closed in the middle of an answer")

    def _connect(self) -> aiohttp.ClientSession:
        key = os.environ.get("OPENAI_API_KEY")
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._config.connect_s),
            headers=headers,
            read_bufsize=2**18,
        )

    async def _answered(self, ask: Ask, sent: float, body: Mapping[str, object], answer: Response) -> None:
        if "stop" in body and answer.tells is not None:
            if answer.tells:
                self._dialect.tells = True
            elif self._dialect.tells is None:  # which stop it was nobody knows: ask for texts to cut here
                self._dialect.dropped.add("stop")
                self._waiting.appendleft(ask)
                return
        choices = answer.choices()
        if not choices:
            await self._failed(ask, sent, "an answer without a text", since=sent)
            return
        self._circuit.completed(time.monotonic())
        stats, self._lost = self.stats, 0
        stats.answered += 1
        stats.tokens_in += answer.prompt_tokens
        stats.tokens_out += answer.completion_tokens or sum(choice.tokens for choice in choices)
        if missing := ask.count - len(choices):  # a server that does not know n gives one
            self._dialect.dropped.add("n")
            self._account()
            for i in range(missing):
                part = dataclasses.replace(ask, first=ask.first + len(choices) + i, count=1, failures=0)
                self._waiting.append(part)
        self._told(ask, choices, True)

    async def _stalled(self, ask: Ask, sent: float, answer: Response) -> None:
        self.stats.stalls += 1
        silent = self._config.stall_s if answer.begun else self._config.first_s
        await self._failed(ask, sent, "no token came", since=time.monotonic() - silent / 2)

    async def _refused(self, ask: Ask, sent: float, body: dict[str, object], error: Exception) -> None:
        """Find out what an error means: another form, another time, or never."""
        if not isinstance(error, Refusal):
            certain = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError)
            what = str(error) or type(error).__name__
            await self._failed(ask, sent, what, since=float("inf") if certain else sent)
            return
        message = str(error)
        if error.status in _BUSY:
            self.stats.refused += 1
            told = f"{error.status}: {message}"
            await self._failed(ask, sent, told, since=float("inf"), retry_after=error.retry_after)
        elif error.status >= 500 or error.status == 408:
            await self._failed(ask, sent, f"{error.status}: {message}", since=sent)
        elif error.status in (400, 422) and self._dialect.refused(message, body):
            self._waiting.appendleft(ask)
        elif error.status in (400, 413, 422) and too_long(message) and self._has_answered:
            self._give_up(ask, "no room in the server's context")
        elif error.status in (400, 413, 422) and self._has_answered:  # it is this one that it does not take
            self._lose(ask, "refused by the server", f"refused ({error.status}: {message})")
        else:
            raise UserError(f"{self._where}: {final(self._address, error)}")

    @property
    def _has_answered(self) -> bool:
        return bool(self.stats.answered or self.stats.known)

    async def _failed(
        self, ask: Ask, sent: float, what: str, *, since: float, retry_after: float = 0.0
    ) -> None:
        """Have a request sent again; give it up, or the server, where that was in vain too often."""
        circuit, config, now = self._circuit, self._config, time.monotonic()
        of_server = circuit.failed(now, sent, since, retry_after)
        if circuit.waited(now) >= config.give_up_s:
            raise UserError(
                f"{self._where}: {self._address.base} has answered nothing for {circuit.waited(now):.0f} "
                f"seconds ({what}). Start the server again, or look at its log. Nothing that was answered is "
                "lost: the same command goes on where it was."
            )
        if retry_after > config.give_up_s:
            raise UserError(
                f"{self._where}: {self._address.base} is not to be asked for {retry_after:,.0f} seconds "
                f"({what}), longer than --config.served.give_up_s={config.give_up_s:g}. Nothing that was "
                "answered is lost: the same command goes on where it was."
            )
        ask.failures += since != float("inf")
        if ask.failures >= config.attempts and (not of_server or await self._is_alive()):
            self._lose(ask, "no answer of the server", f"failed at, {config.attempts} times each ({what})")
            return
        self.stats.retries += 1
        if of_server:
            self._waiting.append(ask)
            return
        pause = min(config.longest_backoff_s, config.backoff_s * 2**ask.failures)
        loop = asyncio.get_running_loop()
        self._paused[ask] = loop.call_later(pause * (0.5 + 0.5 * random.random()), self._unpause, ask)

    async def _is_alive(self) -> bool:
        """Ask for one token: whether the server answers this where it fails at another request."""
        request = CompletionRequest("1", 1, 0.0, 1, (), ())
        answer = Response(1, ())
        with contextlib.suppress(Refusal, Malformed, aiohttp.ClientError, OSError):
            await self._read(self._dialect.body(self._address.model, request, 1, 0, 1.0), answer)
        if answer.complete:
            self._circuit.completed(time.monotonic())
        return answer.complete

    def _unpause(self, ask: Ask) -> None:
        del self._paused[ask]
        self.ask(ask)

    def _lose(self, ask: Ask, fault: str, what: str) -> None:
        """Give up a request alone; the server, where there are too many of them in a row."""
        self._lost += 1
        if self._lost >= _LOST:
            raise UserError(
                f"{self._where}: {self._lost} requests in a row {self._address.base} has {what}. Look at its "
                "log. Nothing that was answered is lost: the same command goes on where it was."
            )
        if self._lost == 1:
            logging.warning(
                "%s: a request is given up that %s has %s.", self._where, self._address.base, what
            )
        self._give_up(ask, fault)

    def _give_up(self, ask: Ask, fault: str) -> None:
        self.stats.given_up += ask.count
        self._told(ask, [Continuation("", "", fault=fault)] * ask.count, False)
