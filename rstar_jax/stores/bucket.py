"""A store in a bucket, by fsspec: requests that are made again, and sentences for those that fail."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rstar_jax.errors import UserError
from rstar_jax.stores.urls import SCHEMES

T = TypeVar("T")

_TRIES, _FIRST_WAIT_S = 6, 0.5  # a quarter of a minute in all, beside what each takes
_SMALL = 8 << 20  # bytes of a file that is sent in one request
# The system's numbers for requests that will fail however often they are made.
_FINAL = {errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR}
# Packages whose exceptions are those of a connection, unless they are known to be final.
_CONNECTIONS = ("aiobotocore", "aiohttp", "botocore", "gcsfs", "google", "requests", "urllib3")

_one_at_a_time = threading.Lock()  # fsspec's memory looks first, then writes


class Unreachable(UserError):
    """A bucket did not answer, however often it was asked: it may do so later."""


class BucketStore:
    """A store in a bucket, by fsspec. root: its URL, without a slash at the end."""

    def __init__(self, root: str):
        self.root, self.tries = root, _TRIES
        self.files = _filesystem(root.partition("://")[0])
        self._path = self.files._strip_protocol(root)

    def path(self, name: str) -> str:
        """An object's name as fsspec wants it."""
        return f"{self._path}/{name}" if name else self._path

    def create(self, name: str, data: bytes) -> bool:
        def create() -> bool:
            try:
                with _one_at_a_time if self.root.startswith("memory:") else contextlib.nullcontext():
                    self.files.pipe_file(self.path(name), data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if "recondition" in str(error):  # S3's 412, as servers other than Amazon's word it
                    return False
                raise
            return True

        return self.ask(name, create)

    def write(self, name: str, data: bytes) -> None:
        self.ask(name, lambda: self.files.pipe_file(self.path(name), data))

    def read(self, name: str) -> bytes | None:
        return self.ask(name, lambda: self.files.cat_file(self.path(name)), absent=None)

    def names(self, prefix: str = "") -> list[str]:
        return sorted(name for name in self.listing(prefix))

    def remove(self, name: str) -> None:
        self.ask(name, lambda: self.files.rm_file(self.path(name)), absent=None)

    def listing(self, prefix: str = "") -> dict[str, dict[str, Any]]:
        """Return what fsspec tells of each object whose name begins so, by name."""
        folder, _, begin = prefix.rpartition("/")
        # The beginning goes with the request: beside one file there may be a million. Memory passes over it.
        request = functools.partial(self.files.find, self.path(folder), detail=True, prefix=begin)
        found = self.ask(prefix, request, absent={})
        start = len(self._path) + 1
        return {path[start:]: info for path, info in found.items() if path[start:].startswith(prefix)}

    def info(self, name: str) -> dict[str, Any]:
        """Return what fsspec tells of an object. Raises UserError where there is none."""
        return self.ask(name, lambda: self.files.info(self.path(name)))

    def put(self, file: Path, name: str) -> dict[str, Any]:
        """Write a file of this machine, of any size; returns what fsspec then tells of the object. Raises
        FileNotFoundError where the file has gone."""
        if file.stat().st_size <= _SMALL:
            self.write(name, file.read_bytes())
        else:
            try:
                self.ask(name, lambda: self.files.put_file(str(file), self.path(name)))
            except UserError as error:
                if not file.exists():
                    raise FileNotFoundError(str(file)) from error
                raise
        return self.info(name)

    def get(self, name: str, file: Path) -> None:
        """Read an object of any size into a file of this machine."""
        self.ask(name, lambda: self.files.get_file(self.path(name), str(file)))

    def ask(self, name: str, request: Callable[[], T], **absent: Any) -> T:
        """Make a request, again where it failed for a while. absent: what to return where nothing has the
        name; without it that is an error, as of a missing bucket."""
        for attempt in range(self.tries):
            try:
                return request()
            except Exception as error:
                if absent and isinstance(error, FileNotFoundError):
                    return absent["absent"]
                if (final := self._final(name, error)) is not None:
                    raise final from error
                if not isinstance(error, OSError) and not _is_of(error, *_CONNECTIONS):
                    raise
                if attempt >= self.tries - 1:
                    raise Unreachable(
                        f"{self._url(name)}: no answer ({_first_line(error)}), asked {attempt + 1} times. "
                        "See to the network and run the same command."
                    ) from error
            time.sleep(_FIRST_WAIT_S * 2**attempt * random.uniform(0.5, 1))
        raise AssertionError

    def _url(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def _final(self, name: str, error: Exception) -> UserError | None:
        """The sentence for an error that no further try can mend; None for others."""
        scheme, rest = self.root.split("://")
        bucket = f"{scheme}://{rest.partition('/')[0]}"
        code, why = getattr(error, "code", None), _first_line(error)
        login = SCHEMES[scheme][2]
        if type(error).__name__ in ("NoCredentialsError", "DefaultCredentialsError", "RefreshError"):
            return UserError(f"{bucket}: no credentials were found on this machine. Get some: {login}.")
        if code in (401, "401") or "Anonymous caller" in str(error):
            return UserError(f"{bucket}: no credentials that it takes ({why}). Get some: {login}.")
        if isinstance(error, PermissionError) or code in (403, "403") or str(error).startswith("Forbidden"):
            return UserError(
                f"{self._url(name)}: no right to do this there ({why}). Rights to list, read, write and "
                f"delete objects of {bucket} expected: ask whoever owns it for them, or name another bucket."
            )
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return UserError(f"{self._url(name)}: this machine's disk is full. Free some space.")
        if isinstance(error, FileNotFoundError):
            return UserError(
                f"{self._url(name)}: no bucket {bucket}, or nothing there. Create it, or correct the name."
            )
        if isinstance(error, ValueError) or getattr(error, "errno", None) in _FINAL:
            return UserError(f"{self._url(name)}: refused ({why}). Correct the name.")
        return None


@functools.cache
def _filesystem(scheme: str) -> Any:
    import fsspec  # which loads a package for the scheme

    # It would ask for each bucket's kind by another service, and warn of every request without it.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    protocol, extra, _ = SCHEMES[scheme]
    try:
        return fsspec.filesystem(protocol, use_listings_cache=False)
    except ImportError as error:
        raise UserError(
            f"{scheme}://: the package for it is not installed. Install it: pip install 'rstar-jax[{extra}]'."
        ) from error


def _is_of(error: Exception, *packages: str) -> bool:
    """Tell if an exception's class, or one that it derives from, is of one of these packages."""
    return any(kind.__module__.partition(".")[0] in packages for kind in type(error).__mro__)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
