"""What the processes of a run tell each other, through the key-value store of JAX's coordination service.

    process i                                   leader (process 0)
    put round/N/i          -- gathered -->      read all of round/N/, put round/N/all
    wait for round/N/all   <-----------         all go on
    wait for told/N        <-- shared ---       put told/N, goes on at once

Each call is numbered, so every process must make the same calls in the same order. No device takes part, and
a wait is many short ones, so that signals are heeded in between. The first failure of any process ends the
waits of all others (`stop`). With one process nothing waits and JAX is not touched.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import secrets
import socket
from collections.abc import Mapping
from typing import Any

from rstar_jax.distributed import environment
from rstar_jax.distributed.config import DistributedConfig
from rstar_jax.errors import UserError

_WAIT_MS = 1000  # until signals are heeded again


@dataclasses.dataclass(frozen=True)
class Host:
    """A process among those of a run. name: no other process has it, also none of an earlier start."""

    index: int = 0
    count: int = 1
    name: str = ""

    @property
    def leader(self) -> bool:
        """Whether it writes and prints what there is one of."""
        return self.index == 0


@dataclasses.dataclass
class _Run:
    """This process's view of the run."""

    host: Host
    client: Any = None  # of the coordination service; None: one process alone
    calls: itertools.count[int] = dataclasses.field(default_factory=itertools.count)


def _unique_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


_run = _Run(Host(name=_unique_name()))


def here() -> Host:
    """This process; before `start`, and without others, the only one."""
    return _run.host


def start(config: DistributedConfig) -> Host:
    """Join the other processes of a run, if there are any, before a device is touched.

    Raises UserError where the options do not suffice or the others do not come up in time.
    """
    place = environment.find(config)
    if place is None or place.count == 1 or _run.client is not None:
        return _run.host
    import jax

    # Its handler of SIGTERM would take the place of ours.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        place.coordinator,
        place.count,
        place.index,
        cluster_detection_method="deactivate",
        initialization_timeout=round(config.timeout_s),
    )
    from jax._src import distributed

    _run.client = distributed.global_state.client
    _run.host = Host(place.index, place.count, _unique_name())
    return _run.host


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


def agree(what: Mapping[str, str]) -> None:
    """Raise UserError on every process where two hold different values, saying who differs in what."""
    every = gathered({"name": _run.host.name, "what": dict(what)})
    lines = [line for key in what for line in _differing(key, every)]
    if lines:
        raise UserError(
            "the hosts of this run differ:\n  "
            + "\n  ".join(lines)
            + "\nStart all of them with the same command, code and files."
        )


def _differing(key: str, every: list[dict[str, Any]]) -> list[str]:
    by_value: dict[str, list[str]] = {}
    for index, one in enumerate(every):
        value = one["what"].get(key, "nothing")
        by_value.setdefault(value, []).append(f"{index} ({one['name'].rsplit('-', 2)[0]})")
    if len(by_value) == 1:
        return []
    return [f"{key}: {value} on host {', '.join(hosts)}" for value, hosts in by_value.items()]


def _put(key: str, value: Any) -> None:
    _run.client.key_value_set(f"rstar/{key}", json.dumps(value))


def _get(key: str) -> Any:
    while True:
        try:
            return json.loads(_run.client.blocking_key_value_get(f"rstar/{key}", _WAIT_MS))
        except Exception as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
