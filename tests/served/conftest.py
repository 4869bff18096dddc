"""A server and queues to it, all ended after each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rstar_jax.served import CompletionRequest, ServedConfig, parse
from rstar_jax.served.policy import ServedPolicy
from tests.served.server import Server

STOPS = ("<end_of_step>", "<end_of_code>")
# Pauses that a test can wait for.
QUICK: dict[str, Any] = {"backoff_s": 0.01, "longest_backoff_s": 0.05, "first_s": 20.0, "stall_s": 20.0}


def request(number: int, n: int = 1, **more: Any) -> CompletionRequest:
    given = {"temperature": 0.7, "max_tokens": 200, "stops": STOPS, "name": (1, number), **more}
    return CompletionRequest(f"prompt {number}", n, **given)


def written(body: dict[str, Any], k: int) -> str:
    """What the policy of these tests says; it goes on after its stop."""
    return f"{k} says {body['prompt']} by {body.get('seed')}\n{STOPS[k % 2]} and more"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(written)
    with made.running():
        yield made


@pytest.fixture
def ask() -> Iterator[Any]:
    """Make queues to an address."""
    made: list[ServedPolicy] = []

    def queue(
        address: str, *, journal: Any = None, host: str = "", seed: int = 0, **options: Any
    ) -> ServedPolicy:
        config = ServedConfig(**{**QUICK, **options})
        made.append(ServedPolicy(parse(address, "config.x"), config, journal=journal, host=host, seed=seed))
        return made[-1]

    yield queue
    for one in made:
        one.close()
