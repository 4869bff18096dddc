"""Servers that fail: what is asked again, when, and how often."""

from __future__ import annotations

import asyncio
import itertools
import random
import time

import pytest

from rstar_jax.errors import UserError
from rstar_jax.queues import call
from rstar_jax.served import ServedConfig
from rstar_jax.served.circuit import Circuit
from tests.served.conftest import request
from tests.served.server import Reply, Server


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed_and_one_request_tries_then(server, ask, status):
    pause, refused = 0.4, []

    async def behave(body):
        if not refused or time.monotonic() < refused[0] + pause:
            refused.append(time.monotonic())
            raise Reply(status, {"error": "busy"}, {"Retry-After": str(pause)})
        await asyncio.sleep(0.02)

    server.behave = behave
    queue = ask(server.address, slots=6)
    call(queue, [request(i) for i in range(12)])
    # All that were in flight are refused, none is sent in the pause, and one alone is sent after it.
    assert 1 <= len(refused) <= 6 and queue.stats()["refused"] == len(refused)
    later = sorted(met.began for met in server.met)[len(refused) :]
    assert later[0] >= refused[0] + pause
    first = next(met for met in server.met if met.began == later[0])
    assert first.ended is not None and later[1] >= first.ended
    assert len(later) == 12


def test_a_server_that_is_down_is_tried_one_request_at_a_time(ask):
    """Refused connections cannot be counted by who is not there: a server that fails each request can."""
    down, tries = True, []

    async def behave(body):
        if down:
            tries.append(time.monotonic())
            raise Reply(500, "Internal Server Error")

    made = Server(lambda body, k: "x<end_of_step>")
    made.behave = behave
    with made.running():
        queue = ask(made.address, slots=16, backoff_s=0.02, longest_backoff_s=0.1, give_up_s=60)
        queue.submit([request(i) for i in range(40)])
        deadline = time.monotonic() + 20
        while len(tries) < 16 + 5 and time.monotonic() < deadline:
            assert queue.poll() == []
            time.sleep(0.01)
        at_once = tries[:16]
        probes = tries[16:]
        assert len(probes) >= 5 and at_once
        # Without a circuit each of the 40 would have been sent again in every pause.
        assert all(b - a >= 0.009 for a, b in itertools.pairwise(probes))
        down = False
        told = 0
        while told < 40:
            told += len(queue.poll(block=True))


def test_a_connection_refused_is_made_later(ask):
    made = Server(lambda body, k: "x<end_of_step>")
    with made.running():
        pass  # its port is known and free now
    queue = ask(made.address, slots=4)
    queue.submit([request(i) for i in range(6)])
    deadline = time.monotonic() + 20
    while queue.stats()["retries"] < 3 and time.monotonic() < deadline:
        assert queue.poll() == []
        time.sleep(0.01)
    with made.running():
        told = 0
        while told < 6:
            told += len(queue.poll(block=True))
    assert len(made.met) == 6


def test_a_stalled_stream_is_ended_counted_and_asked_again(server, ask):
    stalled = []

    async def between(body, piece):
        if body["prompt"] == "prompt 3" and piece == 1 and not stalled:
            stalled.append(body)
            await asyncio.sleep(60)

    server.between = between
    queue = ask(server.address, slots=2, stall_s=0.3, first_s=600)
    found = call(queue, [request(i) for i in range(8)])
    assert all(choices[0].stop for choices in found)
    assert (queue.stats()["stalls"], queue.stats()["retries"], len(server.met)) == (1, 1, 9)


def test_slow_tokens_are_no_stall(server, ask):
    async def between(body, piece):
        await asyncio.sleep(0.05)  # more in all than a stall may take

    server.between, server.pieces = between, 2
    server.write = lambda body, k: "ten words and a stop<end_of_step>"
    queue = ask(server.address, slots=2, stall_s=0.5)
    call(queue, [request(0), request(1)])
    assert queue.stats()["stalls"] == 0


def test_no_storm_at_a_server_that_stalls(server, ask):
    """Every slot's stream stops at once; until the server goes on, requests come one by one."""
    stuck = True

    async def behave(body):
        if stuck:
            await asyncio.sleep(60)

    server.behave = behave
    queue = ask(server.address, slots=8, first_s=0.2, backoff_s=0.01, longest_backoff_s=0.02)
    queue.submit([request(i) for i in range(30)])
    deadline = time.monotonic() + 20
    while len(server.met) < 8 + 3 and time.monotonic() < deadline:
        queue.poll()
        time.sleep(0.01)
    probes = sorted(met.began for met in server.met)[8:]
    assert len(probes) == 3 and all(b - a >= 0.2 for a, b in itertools.pairwise(probes))
    stuck = False
    told = 0
    while told < 30:
        told += len(queue.poll(block=True))


@pytest.mark.parametrize("broken", ["{", '{"choices": [{"text": 5}]}', ""])
def test_what_is_malformed_is_asked_again(server, ask, broken):
    met = 0

    async def behave(body):
        nonlocal met
        met += 1
        if met % 3 == 1:
            raise Reply(200, broken)

    server.behave = behave
    queue = ask(server.address, slots=2)
    found = call(queue, [request(i) for i in range(4)])
    assert all(choices[0].stop for choices in found) and queue.stats()["retries"] >= 1


def test_a_request_that_the_server_always_fails_at_is_given_up(server, ask):
    """Also where nothing else is left to ask, which would show that the server is alive."""

    async def behave(body):
        if body["prompt"] == "prompt 5":
            raise Reply(500, "a worker died")

    server.behave = behave
    queue = ask(server.address, slots=3, attempts=3)
    found = call(queue, [request(i) for i in range(20)])
    assert [i for i, choices in enumerate(found) if not choices[0].stop] == [5]
    assert found[5][0].fault == "no answer of the server" and queue.stats()["given_up"] == 1


def test_a_server_without_any_answer_ends_the_run(server, ask):
    async def behave(body):
        raise Reply(503, "loading the model")

    server.behave = behave
    queue = ask(server.address, slots=4, give_up_s=0.3)
    with pytest.raises(UserError, match=r"answered nothing for \d+ seconds .503: loading.*goes on where it"):
        call(queue, [request(0), request(1)])
    with pytest.raises(UserError):  # it is over
        call(queue, [request(2)])


@pytest.mark.parametrize("after", ["86400", "inf"])
def test_a_pause_longer_than_the_run_waits_ends_it(server, ask, after):
    async def behave(body):
        raise Reply(429, "quota", {"Retry-After": after})

    server.behave = behave
    with pytest.raises(UserError, match=r"not to be asked for .* seconds .429: quota.*give_up_s=60\."):
        call(ask(server.address, give_up_s=60.0), [request(0), request(1)])


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_a_server_refuses_while_it_takes_others_is_dead_and_no_more(
    server, ask, status, caplog
):
    async def behave(body):
        if body["prompt"] == "prompt 5":
            raise Reply(status, {"error": "content policy"})

    server.behave = behave
    found = call(ask(server.address, slots=1), [request(i) for i in range(20)])
    assert [i for i, choices in enumerate(found) if not choices[0].stop] == [5]
    assert found[5][0].fault == "refused by the server" and "content policy" in caplog.text


def test_a_server_that_refuses_all_from_some_time_on_ends_the_run(server, ask):
    async def behave(body):
        if body["prompt"] not in ("prompt 0", "prompt 1"):
            raise Reply(400, "no more")

    server.behave = behave
    with pytest.raises(UserError, match=r"16 requests in a row http.* refused .400: no more"):
        call(ask(server.address, slots=1), [request(i) for i in range(40)])
    assert len(server.met) == 18


def test_the_circuit():
    config = ServedConfig(slots=8, backoff_s=1.0, longest_backoff_s=8.0)
    circuit = Circuit(config, random.Random(0))
    circuit.completed(10.0)
    # The server has answered others since this was sent: it is this request that failed.
    assert not circuit.failed(11.0, sent=5.0, since=5.0) and circuit.allowed == 8
    assert circuit.failed(12.0, sent=11.0, since=11.0) and circuit.allowed == 1
    pauses = [circuit.not_before - 12.0]
    circuit.failed(12.1, sent=11.5, since=11.5)  # was in flight with it: no further failure
    assert circuit.not_before <= 12.1 + 1.0
    now = 13.1
    for _ in range(5):  # each probe fails
        assert circuit.failed(now, sent=now, since=now) and circuit.allowed == 1
        pauses.append(circuit.not_before - now)
        now = circuit.not_before
    for pause, most in zip(pauses, (1, 2, 4, 8, 8, 8), strict=True):
        assert most / 2 <= pause <= most + 1e-9
    assert circuit.waited(now) == now - 12.0
    allowed = []
    for _ in range(4):
        circuit.completed(now)
        allowed.append(circuit.allowed)
    assert allowed == [2, 4, 8, 8] and circuit.waited(now) == 0


def test_retry_after_is_longer_than_any_pause_of_ours():
    circuit = Circuit(ServedConfig(backoff_s=1.0), random.Random(0))
    circuit.failed(5.0, sent=4.0, since=float("inf"), retry_after=600.0)
    assert circuit.not_before == 605.0
