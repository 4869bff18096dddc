"""A working directory in a bucket, open for a run: locked there, mirrored here, sent as it grows.

locked -> what an earlier start could not send is sent, the rest fetched -> the run -> all is sent -> free
                                                    each EVERY_S: a turn of the mirror, in a thread
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from rstar_jax import records, stores
from rstar_jax.errors import UserError
from rstar_jax.mirror.lock import Lock
from rstar_jax.mirror.places import alone, place_of
from rstar_jax.mirror.sync import Mirror
from rstar_jax.stores import BucketStore, Unreachable

EVERY_S = 2.0
# Seconds that sending may take: at a stage's end, at the run's, and where a signal ends it.
STAGE_S, END_S, SIGNAL_S = 600.0, 1800.0, 12.0

log = logging.getLogger(__name__)
_open = list["_Open"]()


@contextlib.contextmanager
def opened(url: str, *, index: int = 0, count: int = 1, reader: str = "") -> Iterator[Path]:
    """Yield the folder of this machine that stands for a bucket's while the block runs.

    index, count: of this process among those of the run; the first alone locks the bucket's folder. reader: a
    job that adds a file to what a run may be making at this moment, and locks nothing.

    Raises UserError where another run has the folder, where the bucket cannot be used, and at the end where
    something could not be sent: it stays here, and the next start on this machine sends it.
    """
    place = place_of("mirrors", url, reader or (str(index) if index else ""))
    folder = place / url.rpartition("/")[2]
    taken = f"--workdir={url}: another run of this machine is using this folder. Wait for it or stop it."
    store = BucketStore(url)
    with alone(place, taken), contextlib.ExitStack() as stack:
        lock = None
        if not index and not reader:
            lock = Lock(store, url, _id(place), _stop)
            lock.take()
            stack.callback(lock.release)
        for left_over in folder.rglob(".*.part"):  # of a killed process
            left_over.unlink(missing_ok=True)
        writes = (lambda: lock.sure) if lock else (lambda: True)
        one = _Open(Mirror(store, folder, place / ".ledger.jsonl", writes), url, lock, shared=count > 1)
        stack.callback(one.mirror.close)
        one.mirror.pull(start=True)
        stack.enter_context(stores.redirected(folder, url))
        with one:
            try:
                try:
                    yield folder
                except UserError as error:
                    one.finish(END_S, quietly=True)
                    text = str(error).replace(f"--workdir={folder}", f"--workdir={url}")
                    raise UserError(text) from error
                one.finish(END_S)
            except UserError:
                raise
            except BaseException:
                if lock is not None and lock.lost:
                    raise UserError(
                        f"--workdir={url}: another run has taken this folder, as this one was not heard of "
                        f"for too long. What it had not sent stays in {folder}."
                    ) from None
                one.leave(SIGNAL_S)
                raise


def push() -> None:
    """Have what was written until now in the bucket, if the working directory is in one.

    Raises UserError where the bucket refuses it. Where it does not answer, the run goes on, and so does the
    sending.
    """
    for one in _open:
        one.finish(STAGE_S, quietly=True)
        if one.refused is not None:
            raise one.refused


def pull() -> None:
    """Have what the run's other hosts have sent."""
    for one in _open:
        if one.shared:
            one.mirror.pull()


class _Open:
    """An open mirror and the thread that sends. refused: what the bucket last refused a turn for."""

    def __init__(self, mirror: Mirror, url: str, lock: Lock | None, shared: bool):
        self.mirror, self.lock, self.shared, self.refused = mirror, lock, shared, None
        self._where, self._said = f"{url} (mirrored in {mirror.folder})", ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._turns, name="mirror", daemon=True)

    def __enter__(self) -> None:
        _open.append(self)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        _open.remove(self)
        self._stop.set()

    def finish(self, patience_s: float, *, quietly: bool = False) -> None:
        """Send all that is there. quietly: say what could not be sent instead of raising it."""
        try:
            self.mirror.push(patience_s)
            self.refused = None
        except UserError as error:
            self.refused = None if isinstance(error, Unreachable) else error
            text = (
                f"{self._where}: {self.mirror.waiting()} files could not be sent yet. {error} They stay "
                "there; the same command on this machine sends them."
            )
            if not quietly:
                raise UserError(text) from error
            log.warning("%s", text)

    def leave(self, patience_s: float) -> None:
        """Send what can be sent in this time, and give back the lock: a process that is told to end has no
        time to wait for a bucket that does not answer."""

        def send() -> None:
            self.finish(patience_s, quietly=True)
            if self.lock is not None:
                self.lock.release()

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        sending.join(patience_s)
        if sending.is_alive():
            log.warning("%s: not all could be sent in %.0f s. The rest stays there.", self._where, patience_s)
            if self.lock is not None:
                self.lock.leave()

    def _turns(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                self.mirror.turn()
                self._said = ""
            except UserError as error:
                if str(error) != self._said:
                    self._said = str(error)
                    log.warning("%s: nothing is sent now, the run goes on. %s", self._where, error)


def _id(place: Path) -> str:
    """The mirror's own name, which its lock in the bucket bears."""
    path = place / ".id"
    if not path.exists():
        with records.replacing(path) as temporary:
            temporary.write_text(secrets.token_hex(8))
    return path.read_text()


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
