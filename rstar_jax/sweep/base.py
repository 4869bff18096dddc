"""The base's evaluation, made once for all points that would make the same one.

`base/evaluate` is the base model's greedy solutions of the held-out problems. `OPTIONS` are those that it
depends on; tests hold this to what the stage reads. Its trees name the run's seed, by which greedy solutions
are the same: a copy for another seed names that one. Equal but for roundings, as of a resumed run: the cache,
which other searches may want larger, shapes what the device computes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from rstar_jax import manifests, parquet, records
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.evolve.stage_table import Stage
from rstar_jax.evolve.stages import Workdir
from rstar_jax.settings import to_dict
from rstar_jax.types import Tree

OPTIONS = (
    *("policy.init", "policy.dtype", "policy.cache"),
    # Held-out problems, but those whose prompt, as any policy of the run is asked, fills the context.
    *("problems.heldout", "problems.seed", "problems.bad", "problems.columns", "problems.corrections"),
    *("policy.bootstrap", "rounds", "search.prompt"),
    *("search.max_depth", "search.batch", "search.shard"),
    *("verify", "decode"),
)
_FOLDER = Stage.folder("base", 1)
_INPUTS = ("policy.init", "policy.bootstrap", "problems.heldout")  # of those that a run claims
_ROWS = 256  # trees in memory


def key(settings: Any) -> str | None:
    """Name the evaluation of the base that a run makes: equal where it is; None where it makes none."""
    if not isinstance(settings, RunSettings) or 1 not in settings.rounds:
        return None
    if settings.stages and "base" not in settings.stages:
        return None
    options = to_dict(settings)
    read = {
        name: functools.reduce(lambda group, key: group[key], name.split("."), options) for name in OPTIONS
    }
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


def is_made(folder: Path) -> bool:
    """Tell whether the base is evaluated in a run's folder."""
    return (folder / _FOLDER / manifests.MANIFEST).is_file()


def has_begun(folder: Path) -> bool:
    """Tell whether a run has begun with its base's evaluation, or has it."""
    return (folder / _FOLDER).exists()


def share(made: Path, folder: Path, settings: RunSettings) -> bool:
    """Put the evaluation of the base that one run's folder holds into another's, which is claimed with that.

    Whole or absent. Returns False, and does nothing, where a file is not as its stage wrote it. Raises
    UserError as `Workdir` does.
    """
    try:
        manifest = manifests.read(made / _FOLDER / manifests.MANIFEST)
        inputs = records.read_signed(made / "inputs.json")
        files = {made / _FOLDER / name: expected for name, expected in manifest["outputs"].items()}
        if not all(file.is_file() and manifests.agrees(file, expected) for file, expected in files.items()):
            return False
    except records.Damaged:
        return False
    with Workdir(folder, settings) as work:
        target = folder / _FOLDER
        target.parent.mkdir(exist_ok=True)
        for left in target.parent.glob(f".{target.name}.new-*"):
            shutil.rmtree(left)
        temporary = target.parent / f".{target.name}.new-{os.getpid()}"
        temporary.mkdir()
        for file in files:
            _copy(file, temporary / file.name, settings.seed)
        outputs = {file.name: manifests.fingerprint(temporary / file.name) for file in files}
        records.write_signed(temporary / manifests.MANIFEST, {**manifest, "outputs": outputs})
        os.replace(temporary, target)
        records.sync(target.parent)
        work.claim_inputs({name: inputs[name] for name in _INPUTS if name in inputs})
    return True


def _copy(file: Path, target: Path, seed: int) -> None:
    """Copy a file of trees, whose seed becomes `seed`."""

    def tables():
        for table in parquet.read_tables(file, Tree, _ROWS):
            place = table.schema.get_field_index("seed")
            column = pa.array([seed] * len(table), table.schema.field(place).type)
            yield table.set_column(place, table.schema.field(place), column)

    first = next(parquet.read_tables(file, Tree, 1))
    parquet.write_tables(target, first.schema, tables())
