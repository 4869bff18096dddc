"""The watch that each process of a run keeps over the others, in a thread: none waits for one that is gone.

    each look: put beat/i, and asked/i where this process was told to stop; read those of the others
        asked/j: host j was told to stop    -> so is this one, at once: all save what they have, together
        stop/j: host j has come to an end   -> so does this one, with the same status, `GRACE_S` later
        beat/j as it was `LOST_S` ago       -> host j is lost: this one ends with the status `LOST`
    a connection to another host breaks     -> one that ended by itself has told why before, so that is what
                                               counts where it is there within `GRACE_S` (`heed`)

JAX by itself lets a process wait for others' heartbeats and then aborts it, status 134, with a trace of its
own. That is left where the leader is lost, and with it the service that all this goes by.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from rstar_jax import stopping
from rstar_jax.stopping import Reason

LOOK_S = 2.0  # between two looks
GRACE_S = 3.0  # in which a host that fails by itself, as another did, says so itself
LOST_S = 60.0  # without a beat, after which a host is lost
PREEMPTED, LOST = 143, 75  # exit statuses: as after SIGTERM; sysexits.h's "try again"
_END_S = 10.0  # that an end in order waits at most for a look
_LEAVE_S = 15.0  # to end in order, where another one was told to: before its own time is over
_AGAIN = "the same command goes on where it was."
# Words of XLA's errors where the other end of a connection is gone.
_BROKEN = ("Gloo", "UNAVAILABLE", "Connection reset", "Connection closed", "heartbeat", "NCCL")


class HostLost(Exception):
    """A connection to another host broke: it was lost, or has ended before."""


def lost(error: BaseException) -> HostLost | None:
    """Tell what an error of XLA says of another host, if it or one that it was raised from does: a save may
    have failed by nothing else."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ValueError | RuntimeError) and any(word in str(cause) for word in _BROKEN):
            first = str(cause).partition("\n")[0][:200]
            return HostLost(f"another host was lost, or has ended ({first}); {_AGAIN}")
        cause = cause.__cause__
    return None


@dataclasses.dataclass
class Watch:
    """The thread's view. client: of the coordination service. index, count: this process among those of the
    run. is_leaving: whether this process has come to its end, and needs no watch."""

    client: Any
    index: int
    count: int
    is_leaving: Callable[[], bool]

    def __post_init__(self) -> None:
        self._beats = dict[str, tuple[str, float]]()  # by process: the last one, and when it was new
        self._told, self._looked = False, time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Keep the watch in a thread until this process leaves."""
        self._thread = threading.Thread(target=self._keep, name="hosts", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Keep no watch any more. A thread that comes back from compiled code once Python has ended aborts
        the process ("exception not rethrown"), so the client is left before that."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _keep(self) -> None:
        beat, found = 0, False
        while not self.is_leaving():
            try:
                beat += 1
                self._put("beat", beat)
                if stopping.asked() and stopping.reason() is None and not self._told:
                    self._put("asked", self.index)
                    self._told = True
                why = None if found else self._found()
            except Exception:  # the service is gone, and JAX ends this process
                return
            if why is not None:
                found = True  # the beats go on until this process has come to its end
                if not self.is_leaving() and not stopping.asked():
                    stopping.stop_myself(why)
            self._pause()

    def _pause(self) -> None:
        self._ended.wait(LOOK_S)

    def _found(self) -> Reason | None:
        for _, text in self._others("asked"):
            return _asked(text)
        if stops := self._others("stop"):
            time.sleep(GRACE_S)
            return _stopped(next(iter(self._causes()), stops[0][1]))
        now = time.monotonic()
        if now - self._looked > LOST_S / 2:  # suspended itself, it knows nothing of others
            self._beats.clear()
        self._looked = now
        for process, beat in self._others("beat"):
            if self._beats.get(process, ("", 0.0))[0] != beat:
                self._beats[process] = beat, now
        for process, (_, since) in self._beats.items():
            if now - since > LOST_S:
                said = f"host {process} has not been heard of for {LOST_S:.0f} s: it is lost; {_AGAIN}"
                return Reason(LOST, said, GRACE_S)
        return None

    def heed(self) -> None:
        """Have this process end for the reason of another host, now that the connection to it is lost; where
        there is none and none comes within `GRACE_S`, nothing happens. Never raises."""
        ends = time.monotonic() + GRACE_S
        while stopping.reason() is None and not stopping.asked():
            with contextlib.suppress(Exception):  # the service may be gone, too
                for _, text in self._others("asked"):
                    return stopping.settle(_asked(text))
                for text in self._causes():
                    return stopping.settle(_stopped(text))
            if time.monotonic() > ends:
                return
            time.sleep(0.1)

    def _causes(self) -> list[str]:
        """Return what those hosts have told that did not stop because of another one."""
        return [text for _, text in self._others("stop") if not json.loads(text).get("follows")]

    def _others(self, kind: str) -> list[tuple[str, str]]:
        found = self.client.key_value_dir_get(f"rstar/{kind}/")
        named = [(key.rsplit("/", 1)[1], text) for key, text in found]
        return [(process, text) for process, text in named if process != str(self.index)]

    def _put(self, kind: str, value: int) -> None:
        self.client.key_value_set(f"rstar/{kind}/{self.index}", str(value), allow_overwrite=True)


def _asked(index: str) -> Reason:
    return Reason(PREEMPTED, f"host {index} was told to stop, and with it this one; {_AGAIN}", _LEAVE_S)


def _stopped(text: str) -> Reason:
    """The reason that a host gives others. text: JSON of what it told (`hosts.stop`)."""
    one = json.loads(text)
    why = one["why"].removesuffix(f"; {_AGAIN}")
    said = f"{one['host']} has stopped ({why}), and with it this one; {_AGAIN}"
    return Reason(one["status"], said, _LEAVE_S)
