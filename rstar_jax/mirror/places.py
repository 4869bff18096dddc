"""Places of this machine that stand for a bucket's folder; one process has each at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from rstar_jax import records
from rstar_jax.errors import UserError


def place_of(kind: str, url: str, name: str = "") -> Path:
    """The place of a URL, under $XDG_CACHE_HOME or ~/.cache: a folder with its lock, its ledger and, by
    the last of the URL's names, its files. name: one of several for it."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    root = given if given.is_absolute() else Path("~/.cache").expanduser()
    shown = re.sub(r"[^\w.-]+", "-", url.partition("://")[2])[-60:]
    mark = hashlib.sha256(f"{url}\0{name}".encode()).hexdigest()[:12]
    return root / "rstar_jax" / kind / f"{shown}-{mark}"


@contextlib.contextmanager
def alone(place: Path, taken: str = "") -> Iterator[None]:
    """Hold a place's lock among the processes of this machine, and make it.

    taken: what to tell where another holds it; empty: wait for it. Raises UserError.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise records.writing_failed(place, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if taken else 0))
    except BlockingIOError as error:
        os.close(descriptor)
        raise UserError(taken) from error
    try:
        yield
    finally:
        os.close(descriptor)
