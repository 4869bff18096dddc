"""Compiled programs on disk, kept from run to run.

JAX looks a program up by what it computes, the options and version of the compiler, and the devices (of GPUs
their kind alone). So one folder, also one that many hosts share, serves every run of a user; what was used
longest ago goes when it is full. A bucket serves those of several machines; nothing goes from there. Of the
hosts of a run the first one writes, and all read.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import time
import zlib
from pathlib import Path
from typing import Any

import filelock
import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from rstar_jax import stores
from rstar_jax.errors import UserError

log = logging.getLogger(__name__)

# A decode step of 30 layers takes half a megabyte on a CPU, several on an accelerator; a run has a few dozen.
MOST_BYTES = 2 * 2**30
# Programs that took less are as soon made as found.
WORTH_SECONDS = 0.2
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_needed = set[int]()  # devices without which programs are not kept (`forgo_without`)


def default_folder() -> Path:
    """Name the folder of a user's compiled programs: under $XDG_CACHE_HOME, or ~/.cache.

    Each kind of processor has a folder of its own there, as homes are shared by machines: a program that was
    compiled for more instructions than a processor has does not run on it.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    root = given if given.is_absolute() else Path("~/.cache").expanduser()
    return root / "rstar_jax" / "compiled" / _processor()


def _processor() -> str:
    """Name this kind of processor."""
    kind = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kind = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    mark = hashlib.sha256(kind.encode()).hexdigest()[:8]
    return f"{platform.machine()}-{mark}"


def keep(folder: Path | str | None) -> None:
    """Keeps what this process compiles in a folder, or at a bucket's URL, and looks there first. None: the
    user's own (`default_folder`), unless JAX was told of one (JAX_COMPILATION_CACHE_DIR).

    JAX's own options are respected where they are set. A folder that cannot be written is said and not used.
    """
    told = jax.config.values.get("jax_compilation_cache_dir")
    if url := stores.url_of(str(folder or told or "")):
        return _keep_in_bucket(url)
    if folder is None and told:
        return
    folder = Path(folder) if folder is not None else None
    try:
        folder = default_folder() if folder is None else folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # what lies there is executed
        if os.environ.get("JAX_COMPILATION_CACHE_MAX_SIZE") != "-1":  # without a bound nothing is dated
            _mend(folder)
    except (OSError, RuntimeError) as error:
        log.warning("compiled programs are not kept: %s. Name another folder by --compiled=DIR.", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder.resolve()))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH_SECONDS)
    if "JAX_COMPILATION_CACHE_MAX_SIZE" not in os.environ:
        jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)


def _keep_in_bucket(url: str) -> None:
    """JAX writes each program there as one object, which is whole or absent, and never removes any: without a
    lock nobody could bound what lies there."""
    try:
        if url.startswith("memory:"):
            raise UserError(f"{url}: a folder, gs:// or s3:// expected, as other processes are to read it.")
        stores.require(url)
    except UserError as error:
        log.warning("compiled programs are not kept: %s Name another folder by --compiled=DIR.", error)
        jax.config.update("jax_compilation_cache_dir", None)
        return
    jax.config.update("jax_compilation_cache_dir", f"{url}/{_processor()}")
    jax.config.update("jax_compilation_cache_max_size", -1)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH_SECONDS)


def _mend(folder: Path) -> None:
    """Removes what a killed process was writing. JAX writes a program first and then when it was used; one
    without the latter may be half a program, and JAX would write nothing more beside it.

    A JAX whose cache has no bound, which is its default, never writes the latter: what it made here and is
    whole is dated.
    """
    with contextlib.suppress(filelock.Timeout), filelock.FileLock(folder / ".lockfile", timeout=10):
        for path in folder.glob("*-cache"):
            date = path.with_name(path.name.removesuffix("-cache") + "-atime")
            if date.exists():
                continue
            if _unpacks(path):
                date.write_bytes(time.time_ns().to_bytes(8, "little"))  # as JAX does
            else:
                path.unlink()


def _unpacks(path: Path) -> bool:
    """Return whether a compiled program is whole. One that is packed by zstandard, which is no requirement of
    ours, is not looked into."""
    data = path.read_bytes()
    if data.startswith(_ZSTANDARD):
        return False
    with contextlib.suppress(zlib.error):
        zlib.decompress(data)
        return True
    return False


def forgo(why: str) -> None:
    """From now on this process neither keeps compiled programs nor looks for any."""
    kept = jax.config.values.get("jax_compilation_cache_dir")
    if kept and jax.config.values.get("jax_enable_compilation_cache"):  # said once
        log.warning("compiled programs are not kept: %s.", why)
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()


def forgo_without(device: int, why: str) -> None:
    """From now on this process neither keeps nor looks for programs that this device, by its id, has no part
    in; those of all others are kept as before, each under its own set of devices."""
    try:
        from jax._src import compilation_cache as cache  # JAX has no public place for this

        key = cache.get_cache_key
    except (ImportError, AttributeError):
        forgo(why)
        return
    if device in _needed:
        return
    _needed.add(device)
    if jax.config.values.get("jax_compilation_cache_dir"):
        log.warning("compiled programs without device %d are not kept: %s.", device, why)

    def key_of(module: Any, devices: np.ndarray, *rest: Any) -> str | None:
        if all(one.id != device for one in devices.flat):
            return None  # as where JAX can make no key: compiled, and not kept
        return key(module, devices, *rest)

    cache.get_cache_key = key_of  # pyright: ignore[reportAttributeAccessIssue]
