"""The memory of results: the same program is run once, in this process and, with a file, after it."""

from __future__ import annotations

import collections
import hashlib
import json
import logging
import threading
from pathlib import Path
from typing import get_args

from rstar_jax.sandbox.result import ExecResult, ExecStatus

_log = logging.getLogger(__name__)
_IN_MEMORY = 64 << 20  # bytes
_DIGEST_CHARS = 32
_OVERHEAD = 300  # bytes that an entry takes besides its texts
_STATUSES = frozenset(get_args(ExecStatus))


def lasting(result: ExecResult) -> bool:
    """Return whether another run would end the same way.

    Not so where the machine had a part in it: the clock, a zygote that was lost, the kernel out of memory
    (nothing was raised).
    """
    starved = result.status == "memory" and not result.exception
    return not (result.lost or starved or result.status == "timeout_wall")


class Memo:
    """Results by the hash of all they depend on; for any number of threads.

    The latest 64 MB are in memory. path: a file for all of them, up to `max_mb`; nothing that happens to it
    is raised, it is warned about, and costs running programs again.
    """

    def __init__(self, path: Path | None = None, *, max_mb: float = 1024) -> None:
        self._lock = threading.Lock()
        self._results: collections.OrderedDict[bytes, ExecResult] = collections.OrderedDict()
        self._bytes = 0
        self._store = None
        if path is not None:
            try:
                from rstar_jax.sandbox.store import Store
            except ImportError as error:  # a Python built without sqlite
                _log.warning("%s: results of programs are not kept (%s).", path, error)
            else:
                self._store = Store(path, max_mb)

    def get(self, key: bytes) -> ExecResult | None:
        with self._lock:
            result = self._results.get(key)
            if result is not None:
                self._results.move_to_end(key)
                return result
        text = self._store.get(key) if self._store is not None else None
        result = _decode(key, text) if text is not None else None
        if result is not None:
            self.hold(key, result)
        return result

    def put(self, key: bytes, result: ExecResult) -> None:
        """Remember a result if it is a lasting one."""
        if not lasting(result):
            return
        self.hold(key, result)
        if self._store is not None:
            self._store.put(key, _encode(key, result))

    def hold(self, key: bytes, result: ExecResult) -> None:
        """Remember in memory alone."""
        with self._lock:
            if key in self._results:
                return
            self._results[key] = result
            self._bytes += _size(result)
            while self._bytes > _IN_MEMORY:
                _, oldest = self._results.popitem(last=False)
                self._bytes -= _size(oldest)

    def close(self) -> None:
        """Write what is not yet written. The file is opened again when needed."""
        if self._store is not None:
            self._store.close()

    def release(self) -> None:
        """For a fork of the caller: leaves the file to its parent."""
        if self._store is not None:
            self._store.release()


def _size(result: ExecResult) -> int:
    return len(result.stdout) + len(result.message) + _OVERHEAD


def _encode(key: bytes, result: ExecResult) -> str:
    """A row: its digest, then the result. A database looks after its pages, not after what is in them."""
    r = result
    text = json.dumps([r.status, r.stdout, r.exception, r.message, round(r.cpu_s, 6), round(r.wall_s, 6)])
    return _digest(key, text) + text


def _digest(key: bytes, text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_CHARS // 2, key=key[:64]).hexdigest()


def _decode(key: bytes, row: str) -> ExecResult | None:
    """The result of a row; None if it is not as it was written, or another program's."""
    text = row[_DIGEST_CHARS:]
    try:
        if row[:_DIGEST_CHARS] != _digest(key, text):
            return None
        status, stdout, exception, message, cpu_s, wall_s = json.loads(text)
    except (ValueError, TypeError):
        return None
    texts = all(isinstance(value, str) for value in (stdout, exception, message))
    if status not in _STATUSES or not texts or not all(isinstance(t, int | float) for t in (cpu_s, wall_s)):
        return None
    return ExecResult(status, stdout, exception, cpu_s, wall_s, message)
