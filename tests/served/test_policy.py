"""The queue of a served model: what is sent, what comes back, and how full its slots are."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from rstar_jax.queues import call
from tests.served.conftest import STOPS, request
from tests.served.server import Met


def test_continuations_come_in_order_each_with_its_stop(server, ask):
    found = call(ask(server.address, slots=3), [request(i, n=2) for i in range(7)])
    for i, choices in enumerate(found):
        assert [choice.stop for choice in choices] == [*STOPS]
        for k, choice in enumerate(choices):
            assert choice.text.startswith(f"{k} says prompt {i} by ") and choice.text.endswith(STOPS[k])
            assert choice.tokens == len(choice.text) and choice.logprob == -0.5 * len(choice.text)
    assert len(server.met) == 7


def test_what_is_sent(server, ask, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    queue = ask(server.address, top_p=0.9)
    call(queue, [request(1, n=3, temperature=0.2)])
    (met,) = server.met
    sent = {name: met.body[name] for name in ("model", "prompt", "n", "temperature", "top_p", "max_tokens")}
    assert sent == {
        "model": "model", "prompt": "prompt 1", "n": 3, "temperature": 0.2, "top_p": 0.9, "max_tokens": 200
    }  # fmt: skip
    assert met.body["stop"] == [*STOPS] and met.headers["Authorization"] == "Bearer sk-secret"
    assert "secret" not in repr(queue.stats())


def test_seeds_are_named_by_the_request_and_the_run(server, ask):
    requests = [request(i) for i in range(3)]
    for seed in (0, 0, 1):
        call(ask(server.address, seed=seed), requests)
    seeds = [
        [met.body["seed"] for met in sorted(server.met[at : at + 3], key=lambda m: m.body["prompt"])]
        for at in (0, 3, 6)
    ]
    assert seeds[0] == seeds[1] and len({*seeds[0], *seeds[2]}) == 6


def test_every_slot_is_filled_again_while_a_slow_request_hangs(server, ask):
    """One of 20 is held until all others are answered; of those each waits until all slots have a request.
    A queue that left a slot empty would wait for ever."""
    slots, total = 8, 100
    slow = [i for i in range(total) if i % 20 == 3]
    busy, changed, left = 0, asyncio.Condition(), total - len(slow)

    async def behave(body):
        nonlocal busy, left
        async with changed:
            busy += 1
            changed.notify_all()
            if int(body["prompt"].split()[1]) in slow:
                await changed.wait_for(lambda: left == 0)
            else:
                await changed.wait_for(lambda: busy >= min(slots, left + len(slow)))
                left -= 1
            busy -= 1
            changed.notify_all()

    server.behave = behave
    call(ask(server.address, slots=slots), [request(i) for i in range(total)])
    assert len(server.met) == total and server.most_in_flight() <= slots


def share_busy(met: list[Met], slots: int) -> float:
    """Share of the slots that had a request at the server, from the first one until the last one began."""
    start, end = min(m.began for m in met), max(m.began for m in met)
    spans = [(max(m.began, start), min(m.ended or end, end)) for m in met]
    return sum(b - a for a, b in spans if b > a) / (slots * (end - start))


def test_slots_are_busy_though_1_in_20_is_slow(server, ask):
    slots = 8

    async def behave(body):
        await asyncio.sleep(1.0 if int(body["prompt"].split()[1]) % 20 == 7 else 0.1)

    server.behave, server.pieces = behave, 1000
    queue = ask(server.address, slots=slots)
    call(queue, [request(i) for i in range(120)])
    assert share_busy(server.met, slots) >= 0.9
    assert queue.stats()["slots_busy"] >= 0.9 * slots
    assert queue.stats()["tokens_in"] == 7 * 120


def test_connections_are_used_again_though_responses_end_behind_their_last_event(server, ask):
    server.late_s = 0.02
    call(ask(server.address, slots=3), [request(i) for i in range(30)])
    assert len({met.connection for met in server.met}) == 3


def test_a_response_that_never_ends_is_taken_at_its_last_event(server, ask):
    server.late_s = 60.0
    ((choice,),) = call(ask(server.address, slots=3, stall_s=50.0), [request(0)])
    assert choice.stop and len(server.met) == 1


def test_cancelled_requests_are_broken_off_and_never_told(server, ask):
    held = asyncio.Event()

    async def behave(body):
        if body["prompt"] != "prompt 9":
            await held.wait()

    server.behave = behave
    queue = ask(server.address, slots=2)
    tickets = queue.submit([request(i) for i in range(6)])
    queue.cancel(tickets)
    (only,) = queue.submit([request(9)])
    assert [ticket for ticket, _ in queue.poll(block=True)] == [only]
    assert len(server.met) <= 3 and not queue.poll()


def test_blocking_polls_tell_one_by_one_and_others_do_not_wait(server, ask):
    first = asyncio.Event()

    async def behave(body):
        if body["prompt"] == "prompt 0":
            await first.wait()

    server.behave = behave
    queue = ask(server.address, slots=4)
    slow, fast = queue.submit([request(0), request(1)])
    assert [ticket for ticket, _ in queue.poll(block=True)] == [fast]
    assert queue.poll() == []
    server._loop.call_soon_threadsafe(first.set)
    assert [ticket for ticket, _ in queue.poll(block=True)] == [slow]


@pytest.mark.parametrize("module", ["rstar_jax.served", "rstar_jax.evolve.settings"])
def test_aiohttp_is_imported_only_for_a_server(module):
    code = f"import sys, {module}; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
