"""A store in a folder of this machine, or of a file system that several machines mount."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from rstar_jax import records
from rstar_jax.errors import UserError

# The system's numbers where there are no links.
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}


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
