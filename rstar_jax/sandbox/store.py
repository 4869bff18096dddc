"""Results on disk: one SQLite file that survives kills, may be shared, and is never a reason to stop."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from pathlib import Path

from rstar_jax.errors import UserError

_log = logging.getLogger(__name__)
_EVERY_S = 0.5  # what a kill may cost
_BUSY_S, _PAUSE_S, _MAX_BUSY = 1.0, 5.0, 20  # patience with another process's lock
_MAX_MOVED = 3  # damaged files that are moved aside before it is thought to be the disk
_MARK = 0x72537461  # "rSta": tells our files from other databases
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_abandoned: list[object] = []


class Store:
    """Texts by key, written by a thread of its own in batches and read by any.

    The file is opened when first needed. Damaged, it is moved aside to NAME.damaged-1 and a new one begun;
    that it cannot be read or written is warned about once and then borne. After `max_mb` nothing is added. It
    is written ahead (WAL), which is for the processes of one machine.
    """

    def __init__(self, path: Path, max_mb: float) -> None:
        self._path, self._max_bytes = path, int(max_mb * 2**20)
        self._changed = threading.Condition()  # guards all that follows
        self._pending: dict[bytes, str] = {}
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None  # the thread's, made and used without the lock
        self._thread: threading.Thread | None = None
        self._file: tuple[int, int] | None = None  # device and number of the file that is open
        self._damage: sqlite3.Error | None = None
        self._closing = self._unreadable = self._unwritable = self._warned = False
        self._read_again = 0.0
        self._times_busy = self._moved = 0

    def get(self, key: bytes) -> str | None:
        """The text, or None: also where the file has trouble."""
        with self._changed:
            text = self._pending.get(key)
            if text is not None or self._unreadable or self._damage or time.monotonic() < self._read_again:
                return text
            try:
                if self._reader is None:
                    self._reader = self._opened()
                row = self._reader.execute("SELECT value FROM results WHERE key = ?", (key,)).fetchone()
            except (sqlite3.Error, OSError) as error:
                self._reading_failed(error)
                return None
            return row[0] if row and isinstance(row[0], str) else None

    def put(self, key: bytes, text: str) -> None:
        """Have a text written within the next second."""
        with self._changed:
            if not self._unwritable:
                self._pending[key] = text
                self._rouse()

    def close(self) -> None:
        """Write what is pending and close the file; it is opened again if needed."""
        with self._changed:
            thread, self._closing = self._thread, True
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        with self._changed:
            self._closing = False
            self._close_reader()

    def release(self) -> None:
        """For a fork: a connection may be neither used nor closed by two processes."""
        _abandoned.append((self._reader, self._writer))

    def _rouse(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._write_on, name="sandbox memo", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads
                self._stop_writing(str(error))
            else:
                self._thread = thread
        else:
            self._changed.notify_all()

    def _opened(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            if connection.execute("PRAGMA application_id").fetchone()[0] != _MARK:
                self._begin(connection)
            connection.execute("PRAGMA synchronous = NORMAL")  # a kill loses nothing, a power cut a little
            connection.execute("SELECT value FROM results WHERE key = ''").fetchone()
            stat = os.stat(self._path)
            self._file = (stat.st_dev, stat.st_ino)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin(self, connection: sqlite3.Connection) -> None:
        if connection.execute("SELECT count(*) FROM sqlite_master WHERE name != 'results'").fetchone()[0]:
            raise OSError("it is a database of something else")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, value TEXT)")
        connection.execute(f"PRAGMA application_id = {_MARK}")
        connection.execute("COMMIT")

    def _write_on(self) -> None:
        """The thread: collects for half a second, writes, and so on until the store is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._damage or self._closing)
                self._changed.wait_for(lambda: self._damage or self._closing, timeout=_EVERY_S)
                damage, closing = self._damage, self._closing
                batch = dict(self._pending)
            try:
                if damage is not None:
                    self._move_aside(damage)
                self._write(batch)
            except (sqlite3.Error, OSError) as error:
                self._writing_failed(error, last=closing)
            else:
                with self._changed:
                    self._times_busy = 0
                    for key in batch:
                        self._pending.pop(key, None)
            with self._changed:
                if closing and not self._pending and not self._damage:
                    self._close_writer()
                    self._thread = None
                    return

    def _write(self, batch: dict[bytes, str]) -> None:
        if not batch:
            return
        if self._writer is None:
            self._writer = self._opened()
        (pages,) = self._writer.execute("PRAGMA page_count").fetchone()
        (page,) = self._writer.execute("PRAGMA page_size").fetchone()
        room = self._max_bytes - pages * page
        rows = []
        for key, text in batch.items():
            room -= len(text) + 100
            if room < 0:
                self._stop_writing(f"it holds the {self._max_bytes >> 20} MB that it may")
                break
            rows.append((key, text))
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            self._writer.executemany("INSERT OR IGNORE INTO results VALUES (?, ?)", rows)
            self._writer.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            raise

    def _reading_failed(self, error: Exception) -> None:
        code = _code(error)
        if code in _DAMAGED:
            self._damage = error if isinstance(error, sqlite3.Error) else None
            self._close_reader()
            self._rouse()
        elif code in _LOCKED:
            self._read_again = time.monotonic() + _PAUSE_S
        else:
            self._unreadable = True
            self._warn(str(error))

    def _writing_failed(self, error: Exception, *, last: bool) -> None:
        code = _code(error)
        with self._changed:
            if code in _DAMAGED and self._damage is None and isinstance(error, sqlite3.Error):
                self._damage = error  # the next turn moves it aside
            elif code in _LOCKED and self._times_busy < _MAX_BUSY and not last:
                self._times_busy += 1
            elif code in _LOCKED and last:
                self._pending.clear()
                self._warn(str(error))
            else:
                self._damage = None
                self._stop_writing(str(error))

    def _stop_writing(self, why: str) -> None:
        with self._changed:
            self._unwritable = True
            self._pending.clear()
            self._warn(why)

    def _move_aside(self, damage: sqlite3.Error) -> None:
        """Quarantine the file, unless another process has done so already."""
        from rstar_jax import records  # it loads much that nobody needs before this

        with self._changed:
            self._close_reader()
            self._close_writer()
            self._damage = None
            self._moved += 1
            if self._moved > _MAX_MOVED:
                self._unreadable = True
                raise OSError(f"damaged again and again: {damage}")
            try:
                stat = os.stat(self._path)
                if self._file in (None, (stat.st_dev, stat.st_ino)):
                    aside = records.quarantine(self._path)
                    for end in ("-wal", "-shm"):
                        with contextlib.suppress(OSError):
                            os.replace(f"{self._path}{end}", f"{aside}{end}")
                    _log.warning(
                        "%s: damaged (%s), moved to %s; a new one is begun.", self._path, damage, aside
                    )
            except FileNotFoundError:
                pass
            except UserError as error:
                raise OSError(str(error)) from error
            finally:
                self._file = None

    def _close_reader(self) -> None:
        if self._reader is not None:
            with contextlib.suppress(sqlite3.Error):
                self._reader.close()
            self._reader = None

    def _close_writer(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("%s: results of programs are not kept any more (%s).", self._path, why)


def _code(error: Exception) -> int:
    """SQLite's primary result code; -1 of another error."""
    return getattr(error, "sqlite_errorcode", -1) & 0xFF if isinstance(error, sqlite3.Error) else -1
