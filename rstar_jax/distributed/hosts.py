"""Talk among the processes of a run, through the key-value store of JAX's coordination service.

    process i                                   leader (process 0)
    put round/N/i          -- gathered -->      read all of round/N/, put round/N/all
    wait for round/N/all   <-----------         all go on
    wait for told/N        <-- shared ---       put told/N, goes on at once

Each call is numbered, so every process must make the same calls in the same order. No device takes part, and
a wait is many short ones, so that signals are heeded in between. With one process nothing waits and JAX is
not touched.

    alone --start--> together --finish, all at their end--> alone
                         |--stop, an error or a signal-----> leaving: the others end, too, each by the watch
                                                             that it keeps itself (`watch.py`)
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from rstar_jax import stopping
from rstar_jax.distributed import environment, roll_call
from rstar_jax.distributed.config import DistributedConfig
from rstar_jax.distributed.environment import Place
from rstar_jax.distributed.verdict import differing, machine, told
from rstar_jax.distributed.watch import LOST, Watch
from rstar_jax.errors import UserError

_WAIT_MS = 1000  # until signals are heeded again
_PIECE = 2**20  # characters of a value that are sent at a time
_LINGER_S = 18.0  # that the leader, and with it the service, waits at most for the others to stop
_QUIET_S = 6.0  # without a beat, after which it waits for one no more
_HEARTBEAT_S = 120  # JAX's own: our watch comes first


@dataclasses.dataclass(frozen=True)
class Host:
    """A process among those of a run. name: no other process has it, also none of an earlier start."""

    index: int = 0
    count: int = 1
    name: str = ""

    @property
    def leader(self) -> bool:
        """Tell whether it writes and prints what there is one of."""
        return self.index == 0


@dataclasses.dataclass
class _Run:
    """This process's view of the run. client: of the coordination service; None: one process alone."""

    host: Host
    client: Any = None
    watch: Watch | None = None
    is_leaving: bool = False
    calls: itertools.count[int] = dataclasses.field(default_factory=itertools.count)


_run = _Run(Host(name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"))


def here() -> Host:
    """This process; before `start`, and without others, the only one."""
    return _run.host


def start(config: DistributedConfig, facts: Callable[[], Mapping[str, str]] = dict) -> Host:
    """Join the other processes of a run, if there are any, before a device is touched.

    facts: gives what all of them must have equal, by name. Raises UserError, on every process, where two
    differ in one or in the time; where the options do not suffice; where the others do not come up in time.
    """
    place = environment.find(config)
    if place is None or _run.client is not None:
        return _run.host
    began, name = time.monotonic(), _run.host.name
    roll_call.call(place, name, facts(), config.timeout_s)
    left = max(60.0, config.timeout_s - (time.monotonic() - began))
    try:
        _in_thread(lambda: _initialize(place, left))
    except Exception as error:
        raise UserError(
            f"host {place.index} of {place.count}: all hosts were there, but JAX's start-up at "
            f"{place.coordinator} failed ({str(error).splitlines()[0]}). Start all of them again."
        ) from error
    from jax._src import distributed

    _run.host, _run.client = Host(place.index, place.count, name), distributed.global_state.client
    _run.watch = Watch(_run.client, place.index, place.count, lambda: _run.is_leaving)
    _run.watch.start()
    return _run.host


def _initialize(place: Place, seconds: float) -> None:
    import jax

    # Its handler of SIGTERM would take the place of ours.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        place.coordinator,
        place.count,
        place.index,
        local_device_ids=place.devices,
        cluster_detection_method="deactivate",
        initialization_timeout=round(seconds),
        heartbeat_timeout_seconds=_HEARTBEAT_S,
    )


def _in_thread(work: Callable[[], None]) -> None:
    """Do what waits in compiled code, heeding signals meanwhile."""
    failures = list[Exception]()

    def run() -> None:
        try:
            work()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if failures:
        raise failures[0]


def finish() -> None:
    """Wait for all processes to come to their end, and leave them: without this, the first to end would have
    JAX stop the others as if it had died."""
    if _run.client is None or _run.is_leaving:
        return
    barrier("end")
    _run.is_leaving = True
    if _run.watch is not None:
        _run.watch.end()
    import jax

    _in_thread(jax.distributed.shutdown)
    _run.client = None


def stop(why: str, status: int) -> None:
    """Tell the other processes that this one ends, why and with which exit status, so that they stop in
    order, too. Does not raise. Of processes that end because of each other the first one's reason counts.

    The leader, whose process the service is in, waits for those that are alive.
    """
    if _run.client is None or _run.is_leaving:
        return
    _run.is_leaving = True
    with contextlib.suppress(Exception):  # the service may have gone before
        follows = stopping.reason() is not None or status == LOST
        ending = {"host": _named(), "why": why, "status": status, "follows": follows}
        _put(f"stop/{_run.host.index}", ending)
        now = began = time.monotonic()
        beats = dict[str, tuple[str, float]]()  # by process: the last one, and when it was new
        while _run.host.leader and now - began < _LINGER_S and _alive(beats, now):
            time.sleep(0.1)
            now = time.monotonic()


def heed() -> None:
    """Take the reason of a host that has ended, now that the connection to it is lost, as this one's own
    (`stopping.reason`); wait a moment for it. Does not raise."""
    if _run.watch is not None:
        _run.watch.heed()


def _alive(beats: dict[str, tuple[str, float]], now: float) -> set[str]:
    """The processes that have neither stopped nor been quiet for long."""
    for key, beat in _run.client.key_value_dir_get("rstar/beat/"):
        process = key.rpartition("/")[2]
        if beats.get(process, ("", 0.0))[0] != beat:
            beats[process] = beat, now
    stopped = {key.rpartition("/")[2] for key, _ in _run.client.key_value_dir_get("rstar/stop/")}
    return {process for process, (_, since) in beats.items() if now - since < _QUIET_S} - stopped


def gathered(value: Any) -> list[Any]:
    """Every process's JSON value, on every process, in order of index."""
    if _run.client is None:
        return [value]
    place = f"round/{next(_run.calls)}"
    _put(f"{place}/{_run.host.index}", value)
    if _run.host.leader:
        _put(f"{place}/all", [_get(f"{place}/{index}") for index in range(_run.host.count)])
    return _get(f"{place}/all")


def shared(value: Any = None) -> Any:
    """The leader's JSON value, on every process. The leader does not wait for the others."""
    if _run.client is None:
        return value
    place = f"told/{next(_run.calls)}"
    if _run.host.leader:
        _put(place, value)
    return _get(place)


def barrier(name: str) -> None:
    """Wait until all processes are here. Raises RuntimeError where one waits at another barrier."""
    if _run.client is None:
        return
    names = gathered(name)
    if len(set(names)) > 1:
        raise RuntimeError(f"hosts wait at different barriers: {names}")


def all_end(step: int, wished: bool, in_flight: int = 0) -> bool:
    """Return whether all processes end after this one of the steps that they take together, since one of them
    wished to. Each asks after every step; nobody waits.

    Who wishes names the next step before it takes part in it. Nobody else ends that one without it, and so
    all find it named by then. in_flight: steps begun, this one among them, whose end a process has not seen
    when it asks: so many steps later it is, since others may have begun those, too.
    """
    if _run.client is None:
        return wished
    key = "rstar/last step"
    if wished:
        with contextlib.suppress(Exception):  # another one has named a step
            _run.client.key_value_set(key, str(step + 1 + in_flight))
    with contextlib.suppress(Exception):  # nobody has
        return int(_run.client.key_value_try_get(key)) <= step
    return False


def led(work: Callable[[], Any]) -> Any:
    """Have the leader alone do something, while the others wait; return its JSON result on every process, or
    raise its UserError there."""
    if _run.client is None:
        return work()
    answer = {}
    if _run.host.leader:
        try:
            answer = {"result": work()}
        except UserError as error:
            shared({"error": str(error)})
            raise
    answer = shared(answer)
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["result"]


def agree(what: Mapping[str, str]) -> None:
    """Raise UserError on every process where two hold different values, saying who differs in what."""
    every = gathered({"host": _named(), "what": dict(what)})
    keys = dict.fromkeys(key for one in every for key in one["what"])
    lines = [
        line
        for key in keys
        for line in differing(key, {one["host"]: one["what"].get(key, "none") for one in every})
    ]
    if lines:
        raise UserError(told(lines))


def _named() -> str:
    return f"host {_run.host.index} ({machine(_run.host.name)})"


def _put(key: str, value: Any) -> None:
    text, write = json.dumps(value), _run.client.key_value_set
    if len(text) > _PIECE:  # what is not there within one wait never comes
        pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
        for number, piece in enumerate(pieces):
            write(f"rstar/pieces/{key}/{number}", piece)
        text = f"#{len(pieces)}"  # no JSON begins so
    write(f"rstar/{key}", text)


def _get(key: str) -> Any:
    text = _wait(f"rstar/{key}")
    if text.startswith("#"):
        text = "".join(_wait(f"rstar/pieces/{key}/{number}") for number in range(int(text[1:])))
    return json.loads(text)


def _wait(key: str) -> str:
    while True:
        try:
            return _run.client.blocking_key_value_get(key, _WAIT_MS)
        except Exception as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
