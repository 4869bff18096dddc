"""Files that are whole or absent: JSON, checksums, quarantine; Parquet of dataclasses is in `parquet.py`.

Every write goes to a temporary neighbour, is synced and renamed, so that a kill or a full disk at any
moment leaves the old file or none. A file that cannot be read back is moved aside, never deleted.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from rstar_jax.errors import UserError

# Errors of the system that tell of what is not there. pyarrow's errors of content have no number.
_NOT_THERE = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR)

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
_URL = re.compile("[A-Za-z][A-Za-z0-9+.-]+:/")  # takes "gs://b/x" and what Path makes of it, "gs:/b/x"
_SIGNATURE = "sha256"  # of a JSON object, the last of its fields
MOST_TEXT = 256 * 2**20  # bytes of a text that is read whole; the largest, tokenizers, have some 40 million

_POINTER = b"version https://git-lfs.github.com/spec/"


class Damaged(UserError):
    """A file of ours does not hold what was written into it. `path` names it, `why` says how that shows.

    The message is for the run that makes the file; whoever only reads it words its own.
    """

    def __init__(self, path: Path, why: str):
        super().__init__(f"{path}: damaged ({why}). Move it away and run the same command to make it again.")
        self.path, self.why = path, why


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is synced and renamed onto `path`.

    Raises UserError where the disk is full or the folder not writable; nothing half-written stays.
    """
    if _URL.match(str(path)):
        raise UserError(f"{path}: a bucket's URL, a path of this machine expected here.")
    temporary = path.with_name(f".{path.name}.{process_name()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise writing_failed(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def process_name() -> str:
    """Name this process among those of all hosts: in containers the first ones have equal numbers."""
    return f"{os.uname().nodename}-{os.getpid()}"


def writing_failed(path: Path, error: OSError) -> UserError:
    """The message for a failed write, by cause."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"{path}: the disk is full. Nothing half-written was left; free some space and run the same "
            "command, it goes on where it was."
        )
    return UserError(f"{path}: cannot be written ({error.strerror or error}). Check the folder's rights.")


def sync(path: Path) -> None:
    """Have a file or a folder's names on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, with sorted keys left as given and a newline at the end."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads what write_json wrote. Raises Damaged where it is not JSON, UserError where it cannot be read."""
    require_file(path, MOST_TEXT)
    with damage(path):
        return json.loads(path.read_text(encoding="utf-8"))


def write_signed(path: Path, value: dict[str, Any]) -> None:
    """Writes an object as `write_json` does, with a last field `sha256` of the others."""
    write_json(path, {**value, _SIGNATURE: _signature(value)})


def read_signed(path: Path) -> dict[str, Any]:
    """Reads what write_signed wrote, without its signature; an object that has none is taken as it is.

    Raises Damaged where it is no object or not as it was written, UserError as `read_json`.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise Damaged(path, f"a {type(value).__name__}, not an object")
    if _SIGNATURE in value and value.pop(_SIGNATURE) != _signature(value):
        raise Damaged(path, "its checksum differs")
    return value


def _signature(value: dict[str, Any]) -> str:
    """Sign the values as a reader finds them: in the order of their keys, however they are spaced."""
    text = json.dumps(value, ensure_ascii=True)
    return hashlib.sha256(json.dumps(json.loads(text)).encode()).hexdigest()


def write_lines(path: Path, objects: Iterable[dict[str, Any]]) -> int:
    """Writes objects as JSON lines, atomically. Returns how many."""
    count = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for value in objects:
            file.write(json.dumps(value, ensure_ascii=False) + "\n")
            count += 1
    return count


@contextlib.contextmanager
def damage(path: Path) -> Iterator[None]:
    """Raise Damaged for a file that is not what it should be, UserError for what the system says."""
    try:
        yield
    except MemoryError as error:  # pyarrow's is one
        raise _reading_failed(path, "no memory for it", "free some") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno not in _NOT_THERE:
            raise _unreadable(path, error) from error
        raise Damaged(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says of a file that is read in the block into UserError: also that there is
    none."""
    try:
        yield
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise UserError(
                f"{path}: a file expected there ({error.strerror or error}). Put it back as it was and run "
                "the same command."
            ) from error
        raise _unreadable(path, error) from error


def require_file(path: Path, most: int | None = None) -> None:
    """Raises UserError for what is there and is no regular file: reading a pipe or a device may never end;
    and for a file of more than `most` bytes, which is not what it is called."""
    try:
        found = os.stat(path)
    except OSError:  # whoever reads it says why it cannot be
        return
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "something else")
        raise UserError(f"{path}: {kind}, a regular file expected. Copy the file itself there.")
    if most is not None and found.st_size > most:
        raise UserError(
            f"{path}: {found.st_size:,} bytes, {most:,} at most expected of such a file. Copy it again."
        )


def refuse_pointer(path: Path) -> None:
    """Raises UserError for a file that is git-lfs's note of where its content is, and not the content; and
    as `require_file`."""
    require_file(path)
    try:
        with open(path, "rb") as file:
            if file.read(len(_POINTER)) != _POINTER:
                return
    except OSError:  # whoever reads it says why it cannot be
        return
    raise UserError(
        f"{path}: a git-lfs pointer, a few lines that stand for the file. Get the files themselves: git lfs "
        "pull in that folder, or download them from where it comes from."
    )


def _unreadable(path: Path, error: OSError) -> UserError:
    todo = {errno.EACCES: "give yourself the right to read it", errno.EMFILE: "raise `ulimit -n`"}
    return _reading_failed(path, os.strerror(error.errno or 0), todo.get(error.errno or 0, "see to the disk"))


def _reading_failed(path: Path, why: str, what: str) -> UserError:
    return UserError(
        f"{path}: cannot be read ({why}). It stays where it is: {what} and run the same command."
    )


def quarantine(path: Path) -> Path:
    """Moves a damaged file or folder aside and returns its new place."""
    for n in range(1, 1000):
        aside = path.with_name(f"{path.name}.damaged-{n}")
        if not aside.exists():
            os.replace(path, aside)
            return aside
    raise UserError(f"{path}: 999 damaged copies lie beside it. Something is wrong with this disk.")


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises UserError where it is missing or cannot be read."""
    require_file(path)
    with reading(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
