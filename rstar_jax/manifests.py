"""Manifests, in which a stage of a run says what it wrote: reading them, and holding files to them.

    FOLDER/DONE.json        {"name", "result", "seconds", …, "outputs": {file: [bytes, SHA-256]}, "sha256"}

The last field is of the manifest itself (`records.write_signed`): a flipped bit makes no other result.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from rstar_jax import mirror, records
from rstar_jax.errors import UserError

MANIFEST = "DONE.json"
_KINDS: dict[str, Any] = {"name": str, "result": dict, "seconds": (int, float), "outputs": dict}
_FIELDS = {*_KINDS, "peak_mb", "compiled"}


def read(path: Path) -> dict[str, Any]:
    """A manifest. Raises Damaged where it is not one, or not as it was written."""
    manifest = records.read_signed(path)
    wrong = [k for k, kind in _KINDS.items() if not isinstance(manifest.get(k), kind)]
    if wrong:
        raise records.Damaged(path, f"not with a '{wrong[0]}' as a stage writes it")
    if unknown := sorted(manifest.keys() - _FIELDS):  # one that is not signed might have been
        raise records.Damaged(path, f"with a field '{unknown[0]}', which no stage writes")
    return manifest


def fingerprint(path: Path) -> list[Any]:
    """[bytes, SHA-256] of a file, as manifests hold it. Raises UserError as `records.digest`."""
    with records.reading(path):
        stat = os.stat(path)
    return [stat.st_size, _digest(path, (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns))]


@functools.lru_cache(maxsize=1 << 14)
def _digest(path: Path, version: tuple[int, ...]) -> str:
    """Digest one version of a file: weights of gigabytes are read once by a process, not by every stage."""
    return records.digest(path)


def agrees(path: Path, expected: Any) -> bool:
    """Tell if a file is the one that a manifest holds under `expected`. Raises UserError as `fingerprint`."""
    if isinstance(expected, list) and len(expected) == 2 and expected[1] == "":
        with records.reading(path):  # an older manifest, which has no more of files above 256 MiB
            return path.stat().st_size == expected[0]
    return fingerprint(path) == expected


def require_whole(folder: Path, but: Collection[str] = ()) -> None:
    """Refuse a folder, such as a model's, that a stage of a run made and that is not as it was made.

    A folder that no manifest beside it names passes. but: names of files that may differ. Raises UserError
    naming the file that is damaged, missing or changed.
    """
    folder = Path(os.path.abspath(folder))
    mirror.need(folder)
    path = folder.parent / MANIFEST
    if not path.is_file():
        return
    again = "Run that run's own command again, which makes it anew, or put the file back as it was."
    try:
        outputs = read(path)["outputs"]
    except records.Damaged as error:
        raise UserError(
            f"{path}: damaged ({error.why}), so that nobody can tell whether {folder} is whole. {again}"
        ) from error
    for name, expected in outputs.items():
        inside, file = name.partition("/")[0] == folder.name, folder.parent / name
        if not inside or file.name in but:
            continue
        if not file.is_file() or not agrees(file, expected):
            how = "damaged or changed" if file.is_file() else "missing"
            raise UserError(f"{file}: {how} since it was made, as {path} tells. {again}")
