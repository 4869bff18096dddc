"""A job's processes: they come together before it, agree on what it is, and leave together after it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import rstar_jax
from rstar_jax import distributed, stopping
from rstar_jax.distributed import DistributedConfig, environment
from rstar_jax.distributed.watch import LOST, HostLost, lost
from rstar_jax.errors import UserError
from rstar_jax.launch import signals
from rstar_jax.launch.configs import GROUP
from rstar_jax.launch.jobs import settings_of
from rstar_jax.settings import from_config

# Jobs that use no device: on a host of a pod they run there alone.
_ON_ONE_HOST = ("export", "prepare", "compare", "view", "report", "launch", "plan")
_PACKAGES = ("jax", "jaxlib", "libtpu", "flax", "optax", "orbax-checkpoint", "numpy", "pyarrow")
# They change what is compiled; programs of different kinds wait for each other for good.
_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "JAX_PLATFORMS")


@contextlib.contextmanager
def joined(job: str, config: ConfigDict) -> Iterator[None]:
    """Do a job with all its processes there; where one of them stops, tell the others.

    Raises UserError as `distributed.start`, and for several processes of a job that is one process's.
    """
    if GROUP not in {field.name for field in dataclasses.fields(settings_of(job))}:
        _require_alone(job)
        yield
        return
    given = config.to_dict()
    options = from_config(DistributedConfig, given.pop(GROUP, {}), where=f"config.{GROUP}")
    host = distributed.start(options, lambda: facts(given))
    if host.count > 1 and host.leader:
        print(f"{host.count} hosts; this one, {host.name.rsplit('-', 2)[0]}, writes and prints.", flush=True)
    with leaving_together():
        yield


@contextlib.contextmanager
def leaving_together() -> Iterator[None]:
    """Do what several processes do together; where one of them stops, it tells the others.

    Raises HostLost for an error of a connection to another one, but Terminated where that one, or a signal,
    has told why before.
    """
    try:
        yield
    except BaseException as error:
        why = _cause(error)
        text = signals.message(why) if isinstance(why, KeyboardInterrupt) else str(why)
        distributed.stop(text.partition("\n")[0] or type(error).__name__, _status(why))
        if why is not error:
            raise why from error
        raise
    distributed.finish()


def _cause(error: BaseException) -> BaseException:
    """Return why this process ends. A connection may break before its other end's reason is heard, or before
    this process has done what it was told to: neither is a lost host."""
    broken = lost(error) if distributed.here().count > 1 else None
    if broken is None:
        return error
    try:
        distributed.heed()
    except KeyboardInterrupt as signalled:
        return signalled
    return signals.Terminated() if stopping.asked() or stopping.reason() else broken


def _status(error: BaseException) -> int:
    """The exit status that the error will have."""
    if isinstance(error, KeyboardInterrupt):
        return signals.status(error)
    return LOST if isinstance(error, HostLost) else 2 if isinstance(error, UserError | OSError) else 1


def facts(options: Mapping[str, Any]) -> dict[str, str]:
    """All that processes of a run must have equal: code, packages, what compilers are told, options."""
    found = {"code": f"{rstar_jax.__version__} {_code_digest()[:12]}", "python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    found |= {f"${name}": os.environ[name] for name in _VARIABLES if name in os.environ}
    return found | dict(_flat("config", options))


def _flat(where: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(f"{where}.{key}", each)
    else:
        yield where, repr(value)


def _code_digest() -> str:
    """SHA-256 of the package's sources as they are, committed or not."""
    root, digest = Path(rstar_jax.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _require_alone(job: str) -> None:
    place = environment.find(DistributedConfig())
    if place is None or (place.how != environment.SLURM and job in _ON_ONE_HOST):
        return
    raise UserError(
        f"--config: a job '{job}' is one process's, and this is number {place.index} of {place.count} (as "
        f"{place.how} tells). Start it once (srun --ntasks=1, or a slice of one host)."
    )
