"""The roll call: hosts that can run together go on, all others hear on every host why not."""

import json
import logging
import socket
import threading
import time

import pytest

from rstar_jax.distributed import roll_call
from rstar_jax.distributed.environment import Place
from rstar_jax.errors import UserError

FACTS = {"code": "1", "jax": "0.10"}


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(roll_call, "_TICK_S", 0.02)
    monkeypatch.setattr(roll_call, "_CONNECT_S", 0.2)


def called(port, *, count=3, timeout_s=20.0, indexes=None, **facts):
    """What each host hears: "" where it may go on, else the error. facts: of host 1."""
    indexes, said = range(count) if indexes is None else indexes, {}

    def host(place, name, told):
        try:
            roll_call.call(place, name, told, timeout_s)
            said[name] = ""
        except UserError as error:
            said[name] = str(error)

    threads = []
    for number, index in enumerate(indexes):
        place = Place(f"localhost:{port}", count, index, "options")
        told = {**FACTS, **facts} if index == 1 else FACTS
        threads.append(threading.Thread(target=host, args=(place, f"m{number}-1-a", told)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return list(dict(sorted(said.items())).values())


def answer(port, **fields):
    """What the leader answers to one that says this of itself."""
    told = {"index": 1, "count": 2, "name": "m1-1-a", "facts": FACTS, "clock": time.time(), **fields}
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            with socket.create_connection(("localhost", port), timeout=10) as connection:
                connection.sendall(json.dumps(told).encode() + b"\n")
                return connection.makefile().readline()
        except ConnectionRefusedError:
            time.sleep(0.01)
    raise AssertionError("no leader")


def test_equal_hosts_go_on(port):
    assert called(port) == ["", "", ""]


@pytest.mark.parametrize("late", [0, 1])
def test_hosts_may_be_late(port, late, monkeypatch, caplog):
    monkeypatch.setattr(roll_call, "FIRST_WORD_S", 0.1)
    said = []
    first = threading.Thread(target=lambda: said.extend(called(port, count=2, indexes=[1 - late])))
    with caplog.at_level(logging.WARNING):
        first.start()
        until = time.monotonic() + 10
        while not caplog.records and time.monotonic() < until:
            time.sleep(0.01)
        assert called(port, count=2, indexes=[late]) == [""]
    first.join()
    assert said == [""]
    waits = "nothing listens there" if late == 0 else "1 of the hosts 0 to 1 has not called"
    assert waits in caplog.text


def test_who_differs_in_what_is_told_to_all(port):
    for heard in called(port, jax="0.11", libtpu="5"):
        assert "jax: 0.10 on host 0 (m0), host 2 (m2); 0.11 on host 1 (m1)" in heard
        assert "libtpu: none on host 0 (m0), host 2 (m2); 5 on host 1 (m1)" in heard
        assert "code" not in heard.partition("Start all")[0]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"clock": 1e10}, "clock: host 1 (m1) is"),
        ({"clock": 0.0}, "clock: host 0 (m0) is"),  # of two, the later one is named
        ({"count": 3}, "host 1 (m1) was started as one of 3 processes, host 0 (m0) as one of 2"),
        ({"index": 7}, "host 7 (m1): a number from 0 to 1 expected"),
        ({"index": 0}, "two processes say that they are number 0: m0-1-a and m1-1-a"),
    ],
)
def test_hosts_that_cannot_run_together(port, fields, why):
    said = []
    leader = threading.Thread(target=lambda: said.extend(called(port, count=2, indexes=[0])))
    leader.start()
    assert why in json.loads(answer(port, **fields))["error"]
    leader.join()
    assert why in said[0]


def test_what_is_no_host_is_no_answer(port):
    """A port scan does not stop a run."""
    said = []
    leader = threading.Thread(target=lambda: said.extend(called(port, count=2, indexes=[0])))
    leader.start()
    assert answer(port, facts=3) == ""
    assert answer(port, more=1) == ""
    assert called(port, count=2, indexes=[1]) == [""]
    leader.join()
    assert said == [""]


def test_a_host_that_comes_again_takes_its_place(port):
    said = []
    leader = threading.Thread(target=lambda: said.extend(called(port, count=3, indexes=[0])))
    leader.start()
    first = socket.socket()
    until = time.monotonic() + 10
    while first.connect_ex(("127.0.0.1", port)) and time.monotonic() < until:
        time.sleep(0.01)
    told = {"index": 1, "count": 3, "name": "m1-0-a", "facts": {"code": "old"}, "clock": time.time()}
    first.sendall(json.dumps(told).encode() + b"\n")
    first.close()
    assert called(port, count=3, indexes=[2, 1]) == ["", ""]
    leader.join()
    assert said == [""]


def test_a_port_that_another_run_has_is_named(port):
    with socket.create_server(("", port)):
        assert "another process has it" in called(port, count=2, indexes=[0])[0]


def test_a_blocked_port_is_named(port):
    """A full queue of connections drops what comes, as a firewall does."""
    with socket.create_server(("127.0.0.1", port), backlog=0) as deaf:
        first = socket.create_connection(deaf.getsockname())
        heard = called(port, count=2, timeout_s=0.5, indexes=[1])[0]
        first.close()
    assert f"coordinator localhost:{port}" in heard and f"open TCP {port} in the firewall" in heard


def test_an_unknown_name_is_named():
    place = Place("no-such-host.invalid:8482", 2, 1, "GKE")
    with pytest.raises(UserError, match=r"DNS: the coordinator's name 'no-such-host\.invalid'"):
        roll_call.call(place, "m1-1-a", FACTS, 0.1)


def test_a_host_that_never_comes_is_named(port):
    assert "1, 2 of the hosts 0 to 2 has not called" in called(port, timeout_s=0.1, indexes=[0])[0]


def test_a_leader_that_has_not_the_coordinators_address_says_so(port, caplog, monkeypatch):
    monkeypatch.setattr(roll_call, "FIRST_WORD_S", 0.0)
    with caplog.at_level(logging.WARNING), pytest.raises(UserError, match="no address of that name is this"):
        roll_call.call(Place(f"192.0.2.1:{port}", 2, 0, "GKE"), "m0-1-a", FACTS, 0.2)
    assert "host 0 of 2 waits" in caplog.text


def test_a_name_server_that_does_not_answer_is_named(monkeypatch):
    asked = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [asked.wait(30)][1:])
    with pytest.raises(UserError, match="no answer yet from DNS for 'there'"):
        roll_call.call(Place("there:8482", 2, 1, "GKE"), "m1-1-a", FACTS, 0.1)
    asked.set()
