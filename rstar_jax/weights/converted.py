"""A cache of converted weights: what was once read from a folder, kept as Orbax keeps arrays.

Restoring reads straight into the mesh, any mesh. A cache that is of other files, or damaged, is made again.
On a disk of its own machine it is slower than the folder itself (`benchmarks/loading.py`): it is for folders
on slow storage.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from rstar_jax import sharding
from rstar_jax.errors import UserError
from rstar_jax.models.params import ParamSpec
from rstar_jax.records import write_json
from rstar_jax.weights.weight_files import WeightFiles

log = logging.getLogger(__name__)

FORMAT = 1  # of what is written here: to be raised when it, or what parameters mean, changes
_CHUNK_BYTES = 64 * 2**20  # what is read for a slice is whole chunks
_CONCURRENT_GB = 1  # on the host, at a time
Params = dict[str, jax.Array]


def through_cache(
    cache: Path,
    files: WeightFiles,
    config: Any,
    specs: Mapping[str, ParamSpec],
    dtype: Any,
    mesh: Mesh | None,
    read: Callable[[], Params],
) -> Params:
    """The parameters from the cache, or those of `read`, which are then kept in it.

    cache: a folder for any number of models, which all processes of the mesh see. They count as the same
    while config, dtype and the names, sizes and times of the weight files do. Raises UserError where the
    cache cannot be written.
    """
    key = _key(files, config, dtype)
    name = hashlib.sha256(f"{files.folder.resolve()} {key['dtype']} {sorted(specs)}".encode()).hexdigest()
    folder = (cache / f"{files.folder.name}-{name[:16]}").absolute()
    record = folder / "record.json"
    if record.exists():
        try:
            return _restore(folder, key, specs, dtype, mesh)
        except Exception as error:  # whatever a damaged file makes orbax, tensorstore or json raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            log.warning("%s: converted weights not used (%s); they are made again.", folder, reason)
    params = read()
    first = jax.process_index() == 0
    try:
        if first:
            folder.mkdir(parents=True, exist_ok=True)
            record.unlink(missing_ok=True)  # what is there without it does not count
        save_args = {name: ocp.SaveArgs(chunk_byte_size=_CHUNK_BYTES) for name in params}
        with _checkpointer() as checkpointer:
            checkpointer.save(folder / "params", ocp.args.PyTreeSave(params, save_args), force=True)
        sums = checksums(params)
        if first:
            write_json(record, {"key": key, "checksums": sums})
    except (OSError, ValueError) as error:  # tensorstore reports a full disk as a ValueError
        raise UserError(
            f"{folder}: the converted weights cannot be kept ({str(error)[-99:]}). Free some space, or load "
            "without a cache."
        ) from error
    return params


def _key(files: WeightFiles, config: Any, dtype: Any) -> dict[str, Any]:
    found = {}
    for file in sorted({stored.file for stored in files.tensors.values()}):
        about = file.stat()
        found[file.name] = [about.st_size, about.st_mtime_ns]
    return {"format": FORMAT, "files": found, "config": repr(config), "dtype": jnp.dtype(dtype).name}


def _restore(
    folder: Path, key: dict[str, Any], specs: Mapping[str, ParamSpec], dtype: Any, mesh: Mesh | None
) -> Params:
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    if record["key"] != key:
        differing = [name for name, value in key.items() if record["key"].get(name) != value]
        raise ValueError(f"stale: made with other {', '.join(differing)}")
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    args = {
        name: ocp.ArrayRestoreArgs(
            sharding=sharding.on_mesh(spec.axes, spec.shape, mesh) or here,
            global_shape=spec.shape,
            dtype=jnp.dtype(dtype),
        )
        for name, spec in specs.items()
    }
    with _checkpointer() as checkpointer:
        params = checkpointer.restore(folder / "params", ocp.args.PyTreeRestore(restore_args=args))
    wrong = [name for name, value in checksums(params).items() if record["checksums"].get(name) != value]
    if wrong:
        raise ValueError(f"damaged: the checksum of {', '.join(wrong[:3])} differs")
    return {name: params[name] for name in specs}


def _checkpointer() -> ocp.Checkpointer:
    handler = ocp.PyTreeCheckpointHandler(
        save_concurrent_gb=_CONCURRENT_GB,
        restore_concurrent_gb=_CONCURRENT_GB,
        use_compression=False,  # weights are noise to it
    )
    return ocp.Checkpointer(handler)


def checksums(arrays: Mapping[str, jax.Array]) -> dict[str, int]:
    """A 32-bit sum of the bits of each array, whatever its sharding; one changed element changes it."""
    own = np.array([sum(map(_sum, _distinct(value))) % 2**32 for value in arrays.values()], np.uint32)
    if jax.process_count() > 1:
        own = multihost_utils.process_allgather(own).sum(axis=0, dtype=np.uint32)
    return dict(zip(arrays, own.tolist(), strict=True))


def _distinct(value: jax.Array) -> list[jax.Array]:
    return [shard.data for shard in value.addressable_shards if shard.replica_id == 0]


def _sum(x: jax.Array) -> int:
    if next(iter(x.devices())).platform != "cpu":
        return int(_sum_on_device(x))
    # XLA would write out every bit as 32 first.
    return int(np.asarray(x).view(f"u{x.dtype.itemsize}").sum(dtype=np.uint32))


@jax.jit
def _sum_on_device(x: jax.Array) -> jax.Array:
    bits = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[x.dtype.itemsize]
    return jnp.sum(jax.lax.bitcast_convert_type(x, bits), dtype=jnp.uint32)
