"""The roll call: before JAX starts, every process tells process 0 who it is and what it runs.

    process i                                     process 0
    resolve its name, connect   ---------------->  listen at the coordinator's port
    {index, count, name, facts, clock}  -------->  until all are there
    go on, or raise the error   <---------------   {error}: "" where all of them may start

It uses the port that JAX's coordinator takes after it, so that what is closed to JAX is found closed here,
and told within seconds, with the name of what is closed; JAX by itself waits without a word. Waiting goes on:
the others may only be late. A process that comes again (its first connection is closed) takes its place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import json
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rstar_jax.distributed.environment import Place
from rstar_jax.distributed.verdict import Answer, verdict
from rstar_jax.errors import UserError

log = logging.getLogger(__name__)
FIRST_WORD_S, NEXT_WORD_S = 5.0, 60.0  # until what is waited for is told, and told again
_TICK_S = 0.2  # until signals are heeded again
_CONNECT_S = 2.0  # for each address of a name
_LONGEST = 2**22  # bytes of a message


def call(place: Place, name: str, facts: Mapping[str, str], timeout_s: float) -> None:
    """Return once all processes of the run are there and agree on `facts` and the time.

    Raises UserError, on all of them, where they do not; and on each that waits longer than `timeout_s`,
    saying for what.
    """
    wait = _Wait(place, timeout_s)
    answer = Answer(place.index, place.count, name, dict(facts), time.time())
    if place.index == 0:
        _lead(place, answer, wait)
    else:
        _follow(place, answer, wait)


class _Wait:
    """Counts how long a process has waited: says for what, now and then, and raises when it is too long."""

    def __init__(self, place: Place, timeout_s: float) -> None:
        self._place, self._timeout_s = place, timeout_s
        self._began = time.monotonic()
        self._next = self._began + FIRST_WORD_S

    def check(self, why: Callable[[], str]) -> None:
        """why: says what is waited for."""
        now, place = time.monotonic(), self._place
        waited = now - self._began
        if waited >= self._timeout_s:
            raise UserError(
                f"host {place.index} of {place.count} (as {place.how} tells): {_ended(why())} It has waited "
                f"{waited:.0f} s (config.distributed.timeout_s)."
            )
        if now >= self._next:
            self._next = now + NEXT_WORD_S
            log.warning("host %d of %d waits (%.0f s): %s", place.index, place.count, waited, _ended(why()))


def _ended(text: str) -> str:
    return text if text.endswith("?") else f"{text}."


def _lead(place: Place, own: Answer, wait: _Wait) -> None:
    with contextlib.closing(_listener(place)) as listener, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        calls, there = list[_Call](), dict[int, _Call]()
        while True:
            for key, _ in selector.select(_TICK_S):
                if key.fileobj is listener:
                    with contextlib.suppress(OSError):
                        connection, address = listener.accept()
                        connection.setblocking(False)
                        calls.append(_Call(connection, str(address[0])))
                        selector.register(connection, selectors.EVENT_READ, calls[-1])
                elif not key.data.read():
                    selector.unregister(key.fileobj)
                    key.data.connection.close()
                    calls.remove(key.data)
            answered = [one for one in calls if one.answer is not None]
            there = {one.answer.index: one for one in answered if one.answer}
            answers = [own, *(one.answer for one in answered if one.answer)]
            error = verdict(answers, complete=len(there) == place.count - 1)
            if error is not None:
                _tell(calls, error)
                if error:
                    raise UserError(error)
                return
            missing = [index for index in range(1, place.count) if index not in there]
            wait.check(functools.partial(_uncalled, place, missing))


def _uncalled(place: Place, missing: list[int]) -> str:
    host, port = place.address
    shown = ", ".join(map(str, missing[:20])) + (f" and {len(missing) - 20} more" if missing[20:] else "")
    text = (
        f"{shown} of the hosts 0 to {place.count - 1} has not called at port {port} of this one "
        f"({socket.gethostname()}). Is it started, and may it reach the port (TCP, every host to host 0)?"
    )
    return text if _is_own(host) else f"{text} They call {host}, and no address of that name is this host's"


def _is_own(host: str) -> bool:
    """Tell whether a name has an address of this host."""
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, target in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as free:
                free.bind(target)
                return True
    return False


class _Call:
    """A connection to the leader, and what came by it."""

    def __init__(self, connection: socket.socket, address: str) -> None:
        self.connection, self.address = connection, address
        self.answer: Answer | None = None
        self._text = b""

    def read(self) -> bool:
        """Take what has come; False where the connection has ended, or brings something else."""
        try:
            found = self.connection.recv(1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._text += found
        if not found or len(self._text) > _LONGEST:
            return False
        line, end, _ = self._text.partition(b"\n")
        if end:
            try:
                self.answer = dataclasses.replace(Answer(**json.loads(line)), heard=time.time())
            except (ValueError, TypeError):  # a port scan, a health check
                return False
        return True


def _tell(calls: list[_Call], error: str) -> None:
    message = json.dumps({"error": error}).encode() + b"\n"
    for one in calls:
        with contextlib.suppress(OSError), one.connection:
            one.connection.settimeout(_CONNECT_S)
            one.connection.sendall(message)


def _listener(place: Place) -> socket.socket:
    """Listen at the coordinator's port, on all addresses as JAX's coordinator does."""
    _, port = place.address
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=4096)
    except OSError as error:
        taken = "another process has it (another run on this host?)"
        why = taken if error.errno == errno.EADDRINUSE else error.strerror
        raise UserError(
            f"coordinator {place.coordinator} (as {place.how} tells): port {port} of this host, host 0, "
            f"cannot be listened at: {why}. Stop that, or give every host another port, as "
            "--config.distributed.coordinator=HOST:PORT."
        ) from error


def _follow(place: Place, own: Answer, wait: _Wait) -> None:
    reason = "no answer yet from DNS for '{}', or from its port {}".format(*place.address)
    while True:
        connection, reason = _attempt(place.address, wait, reason)
        if connection is not None:
            with contextlib.closing(connection):
                message = dataclasses.replace(own, clock=time.time())
                for line in _exchange(connection, json.dumps(dataclasses.asdict(message)).encode() + b"\n"):
                    if line is None:
                        wait.check(
                            lambda: f"host 0 at {place.coordinator} is there, others are still missing"
                        )
                    elif error := _error_of(line):
                        raise UserError(error)
                    else:
                        return
            reason = f"what listens at {place.coordinator} is not this run's host 0, or it has stopped"
        time.sleep(_TICK_S)


def _attempt(address: tuple[str, int], wait: _Wait, reason: str) -> tuple[socket.socket | None, str]:
    """As `_connected`, heeding signals and the time while a dead name server keeps it waiting. reason: why
    there was none before."""
    found = list[tuple[socket.socket | None, str]]()
    thread = threading.Thread(target=lambda: found.append(_connected(address)), daemon=True)
    thread.start()
    while not found:
        thread.join(_TICK_S)
        wait.check(lambda: found[0][1] if found else reason)
    return found[0]


def _connected(address: tuple[str, int]) -> tuple[socket.socket | None, str]:
    """A connection to the leader, or why there is none."""
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return None, (
            f"DNS: the coordinator's name '{host}' is not known here ({error.strerror or error}). Is it "
            "started, and does its name resolve on this host?"
        )
    reason = ""
    for family, kind, protocol, _, target in found:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(_CONNECT_S)
        try:
            connection.connect(target)
        except OSError as error:
            connection.close()
            reason = _refused(host, str(target[0]), port, error)
        else:
            return connection, ""
    return None, reason


def _refused(host: str, address: str, port: int, error: OSError) -> str:
    where = f"{host}:{port}" if host == address else f"{host}:{port} ({address})"
    if isinstance(error, TimeoutError):
        return (
            f"coordinator {where}: no answer. The port is blocked (open TCP {port} in the firewall between "
            "the hosts), or that host is down"
        )
    if isinstance(error, ConnectionRefusedError):
        return f"coordinator {where}: nothing listens there. Host 0 is not up yet, or has another port"
    return f"coordinator {where}: {error.strerror or error}"


def _exchange(connection: socket.socket, message: bytes) -> Iterator[bytes | None]:
    """Send a message and yield the line that answers it; None as often as there is none yet."""
    text = b""
    with contextlib.suppress(OSError):
        connection.sendall(message)
        connection.settimeout(_TICK_S)
        while len(text) < _LONGEST:
            try:
                found = connection.recv(1 << 16)
            except TimeoutError:
                yield None
                continue
            if not found:
                return
            text += found
            if b"\n" in text:
                yield text.partition(b"\n")[0]
                return


def _error_of(line: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        answer: Any = json.loads(line)
        return str(answer["error"])
    return ""
