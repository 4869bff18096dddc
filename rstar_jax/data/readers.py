"""Rows of every kind of source, one by one, each with its place. A kind is a row of READERS."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from rstar_jax.data.known import named
from rstar_jax.data.prepared import open_prepared
from rstar_jax.data.specification import SourcePart
from rstar_jax.data.tables import OnBad, Place, is_parquet, read_objects
from rstar_jax.errors import UserError
from rstar_jax.manifests import MANIFEST
from rstar_jax.settings import home_expanded
from rstar_jax.stores import url_of

Rows = Iterator[tuple[Place, dict[str, Any]]]

_EXPECTED = "id, question and answer"
_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet")
_BATCH = 1024  # rows that are held at once
# What stands beside rows: a stage's manifest, and what the library datasets, its hub and tensorflow-datasets
# say of a set.
_NO_ROWS = (
    *(
        MANIFEST,
        "dataset_info.json",
        "dataset_infos.json",
        "dataset_dict.json",
        "state.json",
        "features.json",
    ),
)


def _file(part: SourcePart, option: str, on_bad: OnBad) -> Rows:
    path = home_expanded(Path(part.name), option)
    try:
        folder, there = bool(part.name) and path.is_dir(), bool(part.name) and path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        folder = there = False
    if folder and part.kind == "file":
        for file in files_of(path, option):
            yield from read_objects(file, _EXPECTED, on_bad)
        return
    if folder:
        raise UserError(
            f"{option}: '{part.text}' given, a folder, which is named without its kind: FOLDER, or, before "
            "others, FOLDER+jsonl:FILE."
        )
    if not there:
        raise UserError(
            f"{option}: '{part.text}' given, a number of suite problems or a file of them that "
            "exists expected (JSON lines, a JSON array or Parquet), or another source: suite:, jsonl:, "
            "parquet:, hf: or tfds:."
        )
    if part.kind != "file" and is_parquet(path) != (part.kind == "parquet"):
        raise UserError(f"{option}: '{part.text}' given, but the file is of another kind. Name it alone.")
    yield from read_objects(path, _EXPECTED, on_bad)


def files_of(path: Path, option: str) -> list[Path]:
    """The files of rows in a folder, by the numbers in their names; of a file itself. Raises UserError naming
    the option where a folder has none."""
    if not path.is_dir():
        return [path]
    found = (file for file in path.rglob("*") if file.name.endswith(_ENDINGS) and file.name not in _NO_ROWS)
    if not (files := sorted(found, key=_in_order)):
        raise UserError(f"{option}: '{path}' given, a folder without {', '.join(_ENDINGS)} files.")
    return files


def _in_order(path: Path) -> list[str | int]:
    """A key by which algebra/2.json comes before algebra/10.json."""
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", str(path))]


def _hub(part: SourcePart, option: str, on_bad: OnBad) -> Rows:
    """A set of the hub, or of a folder of this machine, by the library `datasets`."""
    del on_bad  # its rows are whole
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"{option}: '{part.text}' is read by the library datasets, which is not installed: "
            "pip install 'rstar-jax[hub]', or give a file of it (jsonl:, parquet:)."
        ) from error
    known = named(part.name)
    configs = (part.config,) if part.config else known[1].configs if known else ()
    url = url_of(part.name)
    folder = home_expanded(Path(part.name), option) if url else Path(part.name).expanduser()
    number = 0
    for config in configs or (None,):
        try:
            if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
                found = datasets.load_from_disk(str(folder))
                found = found[part.split] if isinstance(found, datasets.DatasetDict) else found
            else:
                found = datasets.load_dataset(
                    str(folder) if folder.exists() else part.name, config, split=part.split
                )
        except Exception as error:
            raise _not_loaded(part, option, error) from error
        batches = iter(cast(Any, found).with_format("arrow").iter(batch_size=_BATCH))
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:
                raise _not_loaded(part, option, error) from error
            if batch is None:
                break
            for row in batch.to_pylist():
                number += 1
                yield Place(part.text, "row", number), row


def _not_loaded(part: SourcePart, option: str, error: Exception) -> UserError:
    """Name what the library raises, which is of many kinds: of the network, of builders, of their files."""
    why = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(
        f"{option}: '{part.text}' cannot be loaded by datasets ({type(error).__name__}: {why[0]}). "
        "hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT expected, NAME of a set of the hub or a folder."
    )


def _prepared(part: SourcePart, option: str, on_bad: OnBad) -> Rows:
    """A set that tensorflow-datasets prepared, as `tfds.data_source` gives it."""
    del on_bad
    found = open_prepared(part, option)
    for number in range(len(found)):
        place = Place(part.text, "row", number + 1)
        try:
            row = {key: _plain(value) for key, value in found[number].items()}
        except Exception as error:  # the library's own, of several kinds
            raise UserError(f"{place}: cannot be read ({error}). Prepare the set again.") from error
        yield place, row


def _plain(value: Any) -> Any:
    """Text and numbers of numpy's as Python's own."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return [_plain(item) for item in value] if isinstance(value, list) else value


READERS: dict[str, Callable[[SourcePart, str, OnBad], Rows]] = {
    "file": _file,
    "jsonl": _file,
    "parquet": _file,
    "hf": _hub,
    "tfds": _prepared,
}
