"""Requests to a server and its answers, the name under which an answer is kept, and counts of both."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any


@dataclasses.dataclass(frozen=True)
class CompletionRequest:
    """Continuations of a text.

    prompt: the text. n: how many continuations. temperature: at which they are sampled; 0: the likeliest.
    max_tokens: of each. stops: strings that end one. name: numbers that name its randomness. owner: whose
    continuations they are; those of one owner are kept until what they were for is on disk.
    """

    prompt: str
    n: int
    temperature: float
    max_tokens: int
    stops: tuple[str, ...]
    name: tuple[int, ...]
    owner: str = ""


@dataclasses.dataclass(frozen=True)
class Continuation:
    """One continuation.

    text: with the stop at its end. stop: which one ended it, "" for none. logprob: the sum of the tokens'
    log-probabilities in nats, as the server tells them (vLLM: before temperature and top_p); 0 where it does
    not. tokens: how many were written; where the server does not tell, how many pieces it sent. fault: why
    there is no text, or no stop.
    """

    text: str
    stop: str
    logprob: float = 0.0
    tokens: int = 0
    fault: str = ""


def key_of(model: str, seed: int, top_p: float, request: CompletionRequest) -> int:
    """Name an answer by all that it depends on, in 64 bits; not by the server's address, which may change."""
    return _number([model, seed, top_p, *dataclasses.astuple(request)])


def group_of(owner: str) -> int:
    """Name an owner of requests, in 64 bits."""
    return _number(owner)


def _number(named: Any) -> int:
    return int.from_bytes(hashlib.sha256(json.dumps(named).encode()).digest()[:8], "big")


def seed_of(seed: int, request: CompletionRequest, first: int) -> int:
    """Seed of a request for the continuations from number `first` on, 31 bits: hardly two share it."""
    named = json.dumps([seed, *request.name, first])
    return int.from_bytes(hashlib.sha256(named.encode()).digest()[:4], "big") >> 1


@dataclasses.dataclass
class ServerStats:
    """Counts of one server since the start.

    requests: sent. answered: complete. tokens_in, tokens_out: read and written by the server. retries: sent
    again after a failure. stalls: ended as no token came. refused: 429 or 503. known: requests that an
    earlier process had answered. given_up: continuations that the server failed at `attempts` times.
    busy_s: seconds of all slots with a request, and wanted_s: of the clock, both while there was enough to
    ask to fill every slot.
    """

    requests: int = 0
    answered: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    retries: int = 0
    stalls: int = 0
    refused: int = 0
    known: int = 0
    given_up: int = 0
    busy_s: float = 0.0
    wanted_s: float = 0.0

    @property
    def slots_busy(self) -> float | None:
        """Mean number of slots with a request while there was enough to ask; None where there never was."""
        return self.busy_s / self.wanted_s if self.wanted_s else None
