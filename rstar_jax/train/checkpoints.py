"""Training state on disk: saved whole or not at all, checked when read, put aside when damaged.

Orbax writes and commits the arrays while the training goes on; all processes of a mesh save and restore
together, also onto another mesh or on other processes than saved. Each checkpoint also holds a checksum per
array, taken on the device (so that it needs no gathering from a sharded state), since a flipped byte in a
stored float is otherwise a valid float.
"""

from __future__ import annotations

import contextlib
import json
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath

from rstar_jax import distributed, stores
from rstar_jax.errors import UserError

log = logging.getLogger(__name__)

KEEP = 2  # the newest and, should it be damaged, the one before
DAMAGED = ".damaged"
_COMMITTED = "_CHECKPOINT_METADATA"  # the file that orbax writes into a folder that is whole


class Checkpoints:
    """The checkpoints of one training, in one folder of their own.

    `identity` says which training: a checkpoint of another one is refused, never continued from. Every
    process of a training calls each method alike.

    Of a working directory in gs:// each process writes its part there; of one in another bucket they are
    written on this machine, and its mirror sends them. Raises UserError for several processes and s3://.

    save -> writing, in threads of orbax -> on disk (`check` and `wait` raise what went wrong there)
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = _place(Path(folder).absolute())
        self.identity = identity
        self._manager: ocp.CheckpointManager | None = None
        self._writing: int | None = None  # the step whose save has not been seen on disk

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(max_to_keep=KEEP, cleanup_tmp_directories=True)
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        return self._manager

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Begin to save `state` (a tree of arrays) and `meta` (JSON) as the state after `step` steps.

        The arrays may be donated once this returns: orbax has copied them then or, on a CPU, looks at their
        memory, which JAX does not overwrite while somebody does. Raises UserError if the folder cannot be
        written to, or the save before this one was not.
        """
        self.wait()
        arrays = _named(state)
        record = {"identity": self.identity, "checksums": checksums(arrays), "meta": meta}
        record["arrays"] = _shapes(arrays)
        record["own"] = _checksum(record)
        args = ocp.args.Composite(state=ocp.args.StandardSave(arrays), meta=ocp.args.JsonSave(record))
        with self._told():
            self._writing = step
            self._open().save(step, args=args)

    def check(self) -> None:
        """Raise UserError if what is being written has failed already; never waits."""
        if self._writing is not None and self._manager is not None:
            with self._told():
                self._manager.check_for_errors()

    def wait(self) -> None:
        """Wait until what is being written is on disk. Raises UserError if it did not get there."""
        if self._writing is None or self._manager is None:
            return
        with self._told():
            self._manager.wait_until_finished()
            # Errors of its threads do not all come up (orbax issue 605): what counts is what is there.
            if not distributed.shared((self.folder / str(self._writing) / _COMMITTED).exists()):
                raise OSError(f"step {self._writing} was not written")
        self._writing = None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # tensorstore reports a full disk as a ValueError
            self._writing = None
            raise UserError(
                f"{self.folder}: the training state cannot be saved ({str(error)[-99:]}). Free some space or "
                "choose another workdir; the same command goes on from the last checkpoint."
            ) from error

    def restore(self, state: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """(step, state, meta) of the newest sound checkpoint, or None.

        state: a tree of arrays like the one to restore; shapes, dtypes and shardings are taken from it. A
        damaged checkpoint is logged, renamed to *.damaged, and the one before it tried. Raises UserError if
        the checkpoints are another training's.
        """
        there = self.folder.is_dir() and any(p.name.isdigit() for p in self.folder.iterdir())
        if not distributed.shared(there):
            return None
        # What the leader finds: another host's view of a shared folder may be older.
        while (step := distributed.shared(self._open().latest_step())) is not None:
            read, fault = None, ""
            try:
                read = self._read(step, _named(state))
            except UserError:
                raise
            except Exception as error:  # whatever a damaged file makes orbax, tensorstore or json raise
                # orbax leaves its other readers' errors to asyncio, which would print pages of them at exit
                logging.getLogger("asyncio").setLevel(logging.CRITICAL)
                reason = str(error).strip().splitlines()
                fault = f"{type(error).__name__}: {reason[0][:200] if reason else ''}"
            # What one process cannot read of its part, none goes on from. Checksums are of all parts.
            fault = next(filter(None, distributed.gathered(fault)), "")
            if read is not None and not fault:
                arrays, record = read
                wrong = [k for k, v in checksums(arrays).items() if record["checksums"].get(k) != v]
                if not wrong:
                    tree = jax.tree.structure(state)
                    return step, jax.tree.unflatten(tree, list(arrays.values())), record["meta"]
                fault = f"checksum of {', '.join(wrong[:3])} differs"
            self._quarantine(step, fault)
        return None

    def _read(self, step: int, like: dict[str, jax.Array]) -> tuple[dict[str, jax.Array], dict[str, Any]]:
        # By orbax's handlers: the manager's restore ends in a barrier, where the other processes would wait
        # for one that cannot read its part.
        place = self.folder / str(step)
        record = dict(ocp.JsonCheckpointHandler().restore(place / "meta"))
        if record.pop("own") != _checksum(record):
            raise ValueError("checksum of the record differs")
        stored, current = record["identity"], self.identity
        if stored != current:
            differing = ", ".join(
                f"{k} {stored.get(k)!r} there, {current.get(k)!r} here"
                for k in sorted(stored.keys() | current.keys())
                if stored.get(k) != current.get(k)
            )
            raise UserError(
                f"{self.folder}: holds checkpoints of another training ({differing}). Delete that folder or "
                "use a new workdir."
            )
        there, here = record["arrays"], _shapes(like)
        if there != here:
            name = next(k for k in sorted(there | here) if there.get(k) != here.get(k))
            raise UserError(
                f"{self.folder}: holds checkpoints of another model's training ({name}: {there.get(name)} "
                f"there, {here.get(name)} here). Delete that folder or use a new workdir."
            )
        abstract = {
            k: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=v.sharding) for k, v in sorted(like.items())
        }
        handler = ocp.StandardCheckpointHandler()
        read = handler.restore(place / "state", args=ocp.args.StandardRestore(abstract))
        return {k: read[k] for k in like}, record

    def forget_after(self, step: int) -> None:
        """Delete the checkpoints of later steps, which are to be done again."""
        if not distributed.shared(self.folder.is_dir()):
            return
        for later in distributed.shared([n for n in self._open().all_steps() if n > step]):
            self._open().delete(later)

    def _quarantine(self, step: int, fault: str) -> None:
        self.close()
        folder = self.folder / str(step)
        aside, again = self.folder / f"{step}{DAMAGED}", 1
        while aside.exists():
            aside, again = self.folder / f"{step}{DAMAGED}{again}", again + 1
        if distributed.here().leader:
            log.warning(
                "%s: damaged checkpoint (%s), moved to %s; training goes on from the one before, or from the "
                "beginning.",
                folder,
                fault,
                aside.name,
            )
            folder.rename(aside)
        distributed.barrier(f"{folder} moved")

    def close(self, alone: bool = False) -> None:
        """Wait for what is being written. Raises as `wait`. alone: the other processes may not come here, as
        this one has an error of its own; nothing is asked of them."""
        try:
            if not alone:
                self.wait()
        finally:
            if self._manager is not None:
                self._manager.close()
                self._manager = None


def _place(folder: Path) -> Any:
    """A folder's path as orbax takes them, of this machine or of Google's storage."""
    url = stores.remote(folder)
    if url is not None and stores.is_google(url):
        return epath.Path(url)
    if url is not None and jax.process_count() > 1:
        raise UserError(
            f"{url}: the training state of several hosts cannot be saved there. Train on one host "
            "(--config.stages=policy,ppm), or take a --workdir in gs:// or in a folder that all hosts mount."
        )
    return folder


def _named(state: Any) -> dict[str, jax.Array]:
    """The arrays of a tree by their paths, in the tree's order."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def _shapes(arrays: dict[str, jax.Array]) -> dict[str, str]:
    """The shape and number format of each array, such as "float32[2, 16]"."""
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def checksums(arrays: dict[str, jax.Array]) -> dict[str, int]:
    """A 32-bit sum of the bits of each array; any single changed element changes it."""
    return {k: int(v) for k, v in jax.device_get(_sums(arrays)).items()}


def digest(state: Any) -> int:
    """One number for what a tree of arrays holds."""
    return _checksum(checksums(_named(state)))


def _checksum(record: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(record, sort_keys=True).encode())


@jax.jit
def _sums(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {k: _sum(v) for k, v in arrays.items()}


def _sum(x: jax.Array) -> jax.Array:
    bits = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[x.dtype.itemsize]
    return jnp.sum(jax.lax.bitcast_convert_type(x, bits).astype(jnp.uint32), dtype=jnp.uint32)
