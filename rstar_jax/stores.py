"""Small objects under one root, in a local folder or a bucket: whole or absent, and created by one alone.

    store("runs/mine/round1/search")    a folder of this machine, or one that several mount
    store("gs://bucket/runs/mine")      Google Cloud Storage; needs `pip install 'rstar-jax[gs]'`
    store("s3://bucket/runs/mine")      S3, and what speaks as it does; needs `pip install 'rstar-jax[s3]'`
    store("memory://runs/mine")         of this process, for tests

A bucket knows no rename and no lock. What it knows: an object is there as it was written or not at all, and
it can be written on condition that nothing has that name (GCS: ifGenerationMatch=0, S3: If-None-Match).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import random
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rstar_jax import records
from rstar_jax.errors import UserError

T = TypeVar("T")

# By scheme: what fsspec calls it, the extra that brings its package, and how one gets credentials.
_GOOGLE = ("gs", "gs", "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS=KEY.json")
_AMAZON = ("s3", "s3", "aws configure, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
SCHEMES = {"gs": _GOOGLE, "gcs": _GOOGLE, "s3": _AMAZON, "s3a": _AMAZON, "memory": ("memory", "", "")}
# Takes "gs://bucket/x" and "gs:/bucket/x", which Path makes of it; takes no "C:\x", "hf:name" and "a/b:/c".
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")

_TRIES, _FIRST_WAIT_S = 6, 0.5  # a quarter of a minute in all, beside what each takes
_SMALL = 8 << 20  # bytes of a file that is sent in one request
# The system's numbers for requests that will fail however often they are made.
_FINAL = {errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR}
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}
# Packages whose exceptions are those of a connection, unless they are known to be final.
_CONNECTIONS = ("aiobotocore", "aiohttp", "botocore", "gcsfs", "google", "requests", "urllib3")

_one_at_a_time = threading.Lock()  # fsspec's memory looks first, then writes
_redirected: dict[Path, str] = {}  # folders that mirror a bucket -> its URL


class Unreachable(UserError):
    """A bucket did not answer, however often it was asked: it may do so later."""


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


def is_google(url: str) -> bool:
    """Tell if a URL is of Google Cloud Storage, in which orbax saves by itself."""
    return SCHEMES[url.partition("://")[0]] is _GOOGLE


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


def url_of(path: str | Path) -> str | None:
    """The URL that a path means, with the two slashes that Path makes one of; None for a local path.

    Raises UserError for an unknown scheme, and for a URL without a bucket.
    """
    found = _URL.match(str(path))
    if not found:
        return None
    scheme, rest = found[1].lower(), str(path)[found.end() :].strip("/")
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise UserError(f"{found[1]}://{rest}: a local path or a URL expected that begins with {known}.")
    if not rest:
        raise UserError(f"{scheme}://: no bucket named. {scheme}://BUCKET/FOLDER expected.")
    if any(part in ("", ".", "..") for part in rest.split("/")):
        raise UserError(f"{scheme}://{rest}: names without '.', '..' and '//' expected between its slashes.")
    return f"{scheme}://{rest}"


class FolderStore:
    """A store in a folder of this machine, or of a file system that several machines mount."""

    def __init__(self, root: Path):
        self._root = root

    def create(self, name: str, data: bytes) -> bool:
        path = self._root / name
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{records.process_name()}.{threading.get_ident()}.part")
            try:
                temporary.write_bytes(data)
                with _linking(path, data):
                    os.link(temporary, path)  # whole, and refused where there is one
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
        return True

    def write(self, name: str, data: bytes) -> None:
        with records.replacing(self._root / name) as temporary:
            temporary.write_bytes(data)

    def read(self, name: str) -> bytes | None:
        path = self._root / name
        try:
            with records.reading(path):
                return path.read_bytes() if path.is_file() else None
        except UserError as error:
            if isinstance(error.__cause__, FileNotFoundError):  # removed meanwhile
                return None
            raise

    def names(self, prefix: str = "") -> list[str]:
        under = self._root / prefix.rpartition("/")[0]
        found = [
            (Path(folder) / name).relative_to(self._root).as_posix()
            for folder, _, names in os.walk(under)  # which passes over folders that others remove meanwhile
            for name in names
        ]
        hidden = re.compile(r"(^|.*/)\.[^/]*\.part")
        return sorted(name for name in found if name.startswith(prefix) and not hidden.fullmatch(name))

    def remove(self, name: str) -> None:
        path = self._root / name
        with _writing(path):
            path.unlink(missing_ok=True)


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
        """What fsspec tells of each object whose name begins so, by name."""
        folder, _, begin = prefix.rpartition("/")
        # The beginning goes with the request: beside one file there may be a million. Memory passes over it.
        request = functools.partial(self.files.find, self.path(folder), detail=True, prefix=begin)
        found = self.ask(prefix, request, absent={})
        start = len(self._path) + 1
        return {path[start:]: info for path, info in found.items() if path[start:].startswith(prefix)}

    def info(self, name: str) -> dict[str, Any]:
        """What fsspec tells of an object. Raises UserError where there is none."""
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


@contextlib.contextmanager
def _linking(path: Path, data: bytes) -> Iterator[None]:
    """Write the file itself where there are no links, as in a mounted bucket."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with path.open("xb") as file:
            file.write(data)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise records.writing_failed(path, error) from error


def _is_of(error: Exception, *packages: str) -> bool:
    """Tell if an exception's class, or one that it derives from, is of one of these packages."""
    return any(kind.__module__.partition(".")[0] in packages for kind in type(error).__mro__)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
