"""Sets that tensorflow-datasets prepared, by name or by folder, opened for reading by index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rstar_jax import manifests
from rstar_jax.data.specification import SourcePart
from rstar_jax.errors import UserError
from rstar_jax.settings import home_expanded

# Rows of a file of a set that is prepared here. Reading one takes time by how many its file has: among 8,192
# a tenth of what it takes among 100,000.
SHARD = 8192
_INFO = "dataset_info.json"
_DEPTHS = ("*", "*/*", "*/*/*")  # NAME, VERSION and perhaps CONFIG between a folder and the set in it


def open_prepared(part: SourcePart, option: str) -> Sequence[dict[str, Any]]:
    """Open the set that `tfds:NAME/SPLIT` names: NAME as tensorflow-datasets knows it, the set's own folder,
    or a folder with no other set in it, such as the working directory that prepared it.

    Raises UserError naming the option where there is no such set, or where it is not as it was prepared.
    """
    import tensorflow_datasets as tfds  # takes a quarter of a second

    folder = home_expanded(Path(part.name), option)
    try:
        if folder.is_dir():
            folder = folder_of(folder)
            manifests.require_whole(folder)
            builder: Any = tfds.builder_from_directory(str(folder))
            return builder.as_data_source(split=part.split)
        found: Any = tfds.data_source(part.name, split=part.split)
        return found
    except UserError as error:
        raise UserError(f"{option}: '{part.text}': {error}") from error
    except Exception as error:  # of many kinds: of names, splits, files
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{option}: '{part.text}' cannot be loaded by tensorflow-datasets ({type(error).__name__}: "
            f"{why[0]}). tfds:NAME/SPLIT expected, NAME of a prepared set or its folder."
        ) from error


def folder_of(folder: Path) -> Path:
    """Find the set in a folder, which may be the folder itself. Raises UserError unless there is one."""
    if (folder / _INFO).is_file():
        return folder
    found = [
        path.parent
        for depth in _DEPTHS
        for path in sorted(folder.glob(f"{depth}/{_INFO}"))
        # What is still being written lies in hidden folders, or in those that tensorflow-datasets names so.
        if not any(name.startswith((".", "incomplete.")) for name in path.relative_to(folder).parts)
    ]
    if len(found) != 1:
        told = f" ({', '.join(map(str, found[:3]))})" if found else ""
        raise UserError(
            f"{folder} holds {len(found)} prepared sets{told}, one expected. Name the folder that holds "
            f"{_INFO}, or prepare it (--config=prepare_problems)."
        )
    return found[0]
