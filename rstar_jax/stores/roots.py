"""The store that a path or a URL means, and what is done with all of one."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from rstar_jax.errors import UserError
from rstar_jax.stores.bucket import BucketStore
from rstar_jax.stores.folder import FolderStore
from rstar_jax.stores.urls import url_of

_redirected: dict[Path, str] = {}  # folders that mirror a bucket -> its URL


class Store(Protocol):
    """Objects by name ("claims/trees-00012.000003"), small enough to be held in memory.

    All raise UserError where the store cannot be read or written, Unreachable where it does not answer.
    """

    def create(self, name: str, data: bytes) -> bool:
        """Write an object that nobody has written; returns False, and writes nothing, if it is there.

        A bucket's answer may be lost and the request be made again, so that False may mean one's own
        object: whoever must know writes who they are into it, and reads it.
        """
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write an object, in the place of what has its name."""
        ...

    def read(self, name: str) -> bytes | None:
        """Read an object; None if it is not there."""
        ...

    def names(self, prefix: str = "") -> list[str]:
        """List the names that begin so, sorted."""
        ...

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        ...


def store(root: str | Path) -> Store:
    """Open the store at a folder's path or a bucket's URL; a mirror's folder is its bucket's.

    Raises UserError for a scheme that is not known and for a missing extra.
    """
    if (url := url_of(root)) is not None:
        return BucketStore(url)
    folder = Path(os.path.abspath(root))
    for mirror, url in _redirected.items():
        if folder.is_relative_to(mirror):
            return BucketStore(f"{url}/{folder.relative_to(mirror).as_posix()}".removesuffix("/."))
    return FolderStore(folder)


def require(url: str) -> None:
    """Raise UserError where objects of a bucket cannot be listed, written, read and removed."""
    store, name = BucketStore(url), f".probe-{secrets.token_hex(8)}"
    store.write(name, b"1")
    found = store.names(name), store.read(name)
    store.remove(name)
    if found != ([name], b"1"):
        raise UserError(f"{url}: what is written there is not found at once, which is needed. Take another.")


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, of a mirror also in its bucket: files there that this machine
    does not have."""
    shutil.rmtree(folder, ignore_errors=True)
    if isinstance(there := store(folder), BucketStore):
        for name in there.names():
            there.remove(name)


def remote(folder: Path) -> str | None:
    """The URL that a mirror's folder stands for; None for a folder that is in none."""
    there = store(folder)
    return there.root if isinstance(there, BucketStore) else None


@contextlib.contextmanager
def redirected(folder: Path, url: str) -> Iterator[None]:
    """Have `store` of a folder, or of one in it, be the bucket's at `url` while the block runs."""
    folder = Path(os.path.abspath(folder))
    _redirected[folder] = url
    try:
        yield
    finally:
        del _redirected[folder]
