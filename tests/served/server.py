"""A server of completions for tests: a real one, on a port of this machine, that does what it is told.

It answers with the texts of `write` and keeps every request that it has met, with the times at which it began
and ended. `behave` may make of a request something else than its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web

Body = dict[str, Any]


@dataclasses.dataclass
class Met:
    """A request that came: its JSON, its headers, by which connection, when it began and ended (None: it was
    broken off)."""

    body: Body
    headers: dict[str, str]
    connection: object
    began: float
    ended: float | None = None


class Reply(Exception):
    """Raised by `behave`: answer with this status instead."""

    def __init__(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


class Server:
    """write: the text of a request's choice of this number, with its stop at the end, as models write it.
    behave: a coroutine function that is called before a request is answered, and may wait or raise Reply.
    pieces: characters of a text in one event; after each `between(body, piece number)` is awaited. include:
    whether texts keep their stop. tell: a key of the last event that names the stop, "" for none. most: the
    most choices that it gives. late_s: between a response's last event and its end."""

    def __init__(self, write: Callable[[Body, int], str]) -> None:
        self.write, self.met = write, list[Met]()
        self.pieces, self.include, self.tell, self.most = 8, True, "", 1 << 16
        self.late_s = 0.0
        self.logprobs = self.usage = self.stream = True
        self.port = 0
        self._loop = asyncio.new_event_loop()

    async def behave(self, body: Body) -> None:
        """Answer at once."""

    async def between(self, body: Body, piece: int) -> None:
        """Go on at once."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1#model"

    @contextlib.contextmanager
    def running(self) -> Iterator[Server]:
        """Serve in a thread for the time of the block; again on the same port where that was tried before."""
        started = threading.Event()
        loop = self._loop = asyncio.new_event_loop()

        async def start() -> web.AppRunner:
            app = web.Application(client_max_size=2**26)
            app.router.add_post("/v1/completions", self._completions)
            app.router.add_get("/v1/models", self._models)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
            await site.start()
            self.port = self.port or runner.addresses[0][1]
            return runner

        def serve() -> None:
            asyncio.set_event_loop(loop)
            runner = loop.run_until_complete(start())
            started.set()
            loop.run_forever()
            loop.run_until_complete(runner.cleanup())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert started.wait(10)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "model"}]})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        peer = request.transport and request.transport.get_extra_info("peername")
        met = Met(body, dict(request.headers), peer, time.monotonic())
        self.met.append(met)
        try:
            await self.behave(body)
        except Reply as reply:
            met.ended = time.monotonic()
            given = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
            return web.Response(status=reply.status, text=given, headers=reply.headers)
        choices = [self._choice(body, k) for k in range(min(body.get("n", 1), self.most))]
        if not self.stream:
            met.ended = time.monotonic()
            whole = [event | {"text": text} for text, event in choices]
            return web.json_response({"choices": whole, "usage": self._usage(choices)})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(max(-(-len(text) // self.pieces) for text, _ in choices)):
            await self.between(body, number)
            for k, (text, last) in enumerate(choices):
                await self._piece(response, k, text, number, last)
        if self.usage and "stream_options" in body:
            await _event(response, {"choices": [], "usage": self._usage(choices)})
        met.ended = time.monotonic()
        await response.write(b"data: [DONE]\n\n")
        await asyncio.sleep(self.late_s)
        return response

    def _choice(self, body: Body, k: int) -> tuple[str, Body]:
        """What a server makes of a text: cut at its stops, or at max_tokens characters."""
        text = self.write(body, k)
        found = [(text.find(stop), stop) for stop in body.get("stop", []) if stop in text]
        last: Body = {"index": k, "finish_reason": "length" if len(text) > body["max_tokens"] else "stop"}
        if found:
            at, stop = min(found)
            text = text[: at + len(stop)] if self.include else text[:at]
            last["finish_reason"] = "stop"
            if self.tell:
                last[self.tell] = stop
        return text[: body["max_tokens"]], last

    async def _piece(self, response: web.StreamResponse, k: int, text: str, number: int, last: Body) -> None:
        start = number * self.pieces
        piece, more = text[start : start + self.pieces], start + self.pieces < len(text)
        if not piece and number:
            return
        event: Body = {"index": k, "text": piece, "finish_reason": None}
        if self.logprobs:
            event["logprobs"] = {"tokens": [*piece], "token_logprobs": [-0.5] * len(piece)}
        await _event(response, {"choices": [event if more else event | last]})

    def _usage(self, choices: list[tuple[str, Body]]) -> Body:
        return {"prompt_tokens": 7, "completion_tokens": sum(len(text) for text, _ in choices)}

    def most_in_flight(self) -> int:
        """The most requests that were under way at a time."""
        ends = [met.ended for met in self.met if met.ended is not None]
        changes = sorted([(met.began, 1) for met in self.met] + [(end, -1) for end in ends])
        busy = most = 0
        for _, change in changes:
            busy += change
            most = max(most, busy)
        return most


async def _event(response: web.StreamResponse, event: Body) -> None:
    await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
