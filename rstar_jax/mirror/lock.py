"""The lock on a folder in a bucket: one run at a time, and one that died does not keep others out for long.

    free --create .lock/000001--> held --its last beat is LEASE_S old--> another may create .lock/000002
                                  |  ^
                                  write it again every BEAT_S: the same, with the next `beat`

The object with the highest number counts. Whoever finds one watches it: if it changes, its run lives and this
one is refused; if it does not for LEASE_S of this machine's clock, it is dead and the next number is created,
which one of several does. So clocks need not agree. Whoever finds a higher number than its own, or its own
gone, has lost the lock and writes nothing more.
"""

from __future__ import annotations

import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.stores import Store, Unreachable

BEAT_S, LEASE_S = 5.0, 40.0
PREFIX = ".lock/"

log = logging.getLogger(__name__)


class Lock:
    """A lock that this process holds, or has lost.

    where: the folder, for messages. mirror: an id of the folder here that mirrors it: a lock with the same id
    is of a process that is gone, as two never open one mirror. on_lost: called once, from another thread.
    """

    def __init__(self, store: Store, where: str, mirror: str, on_lost: Callable[[], None]):
        self.lost = False
        self._store, self._where, self._on_lost = store, where, on_lost
        self._me = {"run": secrets.token_hex(8), "mirror": mirror, "host": socket.gethostname()}
        self._name, self._beat, self._sure = "", 0, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beats, name="bucket lock", daemon=True)

    def take(self) -> None:
        """Take the lock; raises UserError where another run holds it, or the store cannot hold locks."""
        names = self._names()
        while names and not self._is_dead(names[-1]):  # gone, by now: another may have come instead
            names = self._names()
        began, number = time.monotonic(), int(names[-1].removeprefix(PREFIX)) + 1 if names else 1
        self._name = f"{PREFIX}{number:06d}"
        if not self._store.create(self._name, self._text()) and not self._is_mine(self._name):
            raise self._refusal(self._name)
        if self._store.create(self._name, self._text()):
            raise UserError(
                f"{self._where}: this store writes over what it was to create (no If-None-Match), so that "
                "nothing would keep two runs apart there. Take another store, or a local --workdir."
            )
        for name in names:
            self._store.remove(name)
        self._sure = began
        self._thread.start()

    @property
    def sure(self) -> bool:
        """Tell whether nobody can have taken the lock over meanwhile."""
        return not self.lost and time.monotonic() - self._sure < LEASE_S - 2 * BEAT_S

    def release(self) -> None:
        """Give the lock back, if it is still held."""
        self._stop.set()
        name, self._name = self._name, ""
        if name and not self.lost:
            self._thread.join()
            self._store.remove(name)

    def leave(self) -> None:
        """Leave the lock to its end: others find it dead."""
        self._stop.set()
        self._name = ""

    def _names(self) -> list[str]:
        found = self._store.names(PREFIX)
        return [name for name in found if name.removeprefix(PREFIX).isdecimal()]  # no folder's mark

    def _is_dead(self, name: str) -> bool:
        """Tell whether its run is dead, and not ended in order; raises UserError where it lives."""
        first = self._store.read(name)
        if first is None:
            return False
        if _holder(first).get("mirror") == self._me["mirror"]:
            return True
        log.warning(
            "%s: locked by a run on %s. Waiting %.0f s to see whether it lives.",
            *(self._where, _holder(first).get("host"), LEASE_S),
        )
        until = time.monotonic() + LEASE_S
        while time.monotonic() < until:
            time.sleep(min(BEAT_S, LEASE_S / 4))
            now = self._store.read(name)
            if now is None:
                return False
            if now != first:
                raise self._refusal(name)
        return True

    def _refusal(self, name: str) -> UserError:
        host = _holder(self._store.read(name) or b"").get("host", "another machine")
        return UserError(
            f"--workdir={self._where}: a run on {host} is using this folder. Wait for it, stop it, or choose "
            "another --workdir."
        )

    def _is_mine(self, name: str) -> bool:
        return _holder(self._store.read(name) or b"").get("run") == self._me["run"]

    def _text(self) -> bytes:
        return json.dumps({**self._me, "beat": self._beat}).encode()

    def _beats(self) -> None:
        mine = self._name
        while not self._stop.wait(BEAT_S):
            try:
                began = time.monotonic()
                names = self._names()
                if not names or names[-1] != mine or not self._is_mine(mine):
                    self.lost = True
                    return self._on_lost()
                self._beat += 1
                self._store.write(mine, self._text())
                self._sure = began
            except Unreachable:
                continue  # `sure` says so, once it is long ago
            except UserError as error:
                log.warning("%s", error)


def _holder(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
