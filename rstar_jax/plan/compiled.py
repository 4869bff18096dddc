"""Programs compiled ahead of time, one at a time, each in a process of its own, and kept.

    WORKDIR/programs/KEY.json      what the compiler said of one, with its request

A crash of the compiler, or one that is not installed, is a sentence. What was compiled before, by equal code
and versions, is read; so a plan that was killed goes on where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import rstar_jax
from rstar_jax import records
from rstar_jax.plan.hlo import Collective

# Rooms whose code is in the programs.
_ROOMS = (
    *("models", "kernels", "transforms", "engine", "train"),
    *("losses.py", "sharding.py", "plan/programs.py"),
)
# Takes "Used 23.65G of 15.75G hbm" and "temporaries (39.83G) exceeds available HBM (15.75G)".
_USED = re.compile(r"([\d.]+[KMGT])\)? (?:of|exceeds available HBM) \(?([\d.]+[KMGT])")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Uncompiled(Exception):
    """Nothing can be compiled here, or the compiler has failed at this: the sentence that says why."""


@dataclasses.dataclass(frozen=True)
class Compiled:
    """The compiler's word of a program, in bytes of one device.

    arguments: what it is given; temporaries: what it needs besides; collectives: by kind. kernels: of ours
    that it calls. seconds: that it took. refused: why it fits no device, in the compiler's own words, with
    `used` of `limit` bytes; else "".
    """

    arguments: int = 0
    temporaries: int = 0
    peak: int = 0
    collectives: Mapping[str, Collective] = dataclasses.field(default_factory=dict)
    kernels: int = 0
    seconds: float = 0.0
    refused: str = ""
    used: float = 0.0
    limit: float = 0.0

    @property
    def total(self) -> int:
        """Bytes that it needs while it runs."""
        return max(self.peak, self.arguments + self.temporaries)

    @property
    def sent(self) -> int:
        """Bytes that a device sends to others."""
        return sum(each.sent for each in self.collectives.values())


def unavailable() -> str:
    """Say why nothing can be compiled for TPUs here; "" where it can."""
    wanted = _wanted()
    how = f"pip install '{wanted}'"
    if importlib.util.find_spec("libtpu") is None and not os.environ.get("TPU_LIBRARY_PATH"):
        return f"libtpu is not installed, which compiles for TPUs without one ({how})"
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found = importlib.metadata.version("libtpu")
        series = wanted.partition("==")[2].removesuffix("*")
        if series and not found.startswith(series) and not os.environ.get("TPU_LIBRARY_PATH"):
            return (
                f"libtpu {found} is installed, and jax {importlib.metadata.version('jax')} goes with another "
                f"({how})"
            )
    return ""


def _wanted() -> str:
    """The libtpu that the installed jax names, as pip takes it."""
    for requirement in importlib.metadata.requires("jax") or ():
        if requirement.startswith("libtpu"):
            return requirement.partition(";")[0].strip()
    return "libtpu"


class Compiler:
    """Compiles requests (`programs.py`), or remembers them. folder: where. say: is told what is done.
    made: how many were compiled."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self._say = folder, say
        self.made = 0
        self._seconds = 0.0
        self._versions: dict[str, str] | None = None

    def __call__(self, request: Mapping[str, Any], what: str) -> Compiled:
        """Compile one; what: its name for people. Raises Uncompiled with a sentence."""
        known = self.folder / f"{self._key(request)}.json"
        if known.exists():
            with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
                return _read(json.loads(known.read_text())["said"])
        if why := unavailable():
            raise Uncompiled(why)
        so_far = f" ({self.made} done, {self._seconds / self.made:.0f} s each)" if self.made else ""
        self._say(f"compiling {what} ...{so_far}")
        began = time.monotonic()
        said = _asked(request)
        self._seconds += time.monotonic() - began
        if "failed" in said:
            raise Uncompiled(f"{what}: the compiler failed: {said['failed']}")
        self.made += 1
        found = _read(said)
        told = found.refused[:200] or f"{found.arguments / 2**30:.2f} GiB and {found.temporaries / 2**30:.2f}"
        self._say(f"  {told}")
        records.write_json(known, {"request": dict(request), "said": said, **self._made_by()})
        return found

    def _key(self, request: Mapping[str, Any]) -> str:
        text = json.dumps([dict(request), self._made_by()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _made_by(self) -> dict[str, str]:
        if self._versions is None:
            root = Path(rstar_jax.__file__).parent
            code = hashlib.sha256()
            for room in _ROOMS:
                path = root / room
                for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                    code.update(file.read_bytes())
            self._versions = {"code": code.hexdigest()[:16]}
            for package in ("jax", "libtpu"):
                with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                    self._versions[package] = importlib.metadata.version(package)
        return self._versions


def _asked(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the child says. Its input stays open for as long as this waits."""
    command = [sys.executable, "-m", "rstar_jax.plan.compile_one"]
    root = str(Path(rstar_jax.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
        )
        try:
            assert child.stdin and child.stdout
            child.stdin.write(json.dumps(dict(request)) + "\n")
            child.stdin.flush()
            out = child.stdout.read()
            child.wait()
        finally:
            child.kill()
            child.wait()
        errors.seek(0)
        err = errors.read()
    with contextlib.suppress(ValueError, IndexError):
        found = json.loads(out.strip().splitlines()[-1])
        if isinstance(found, dict):
            return found
    last = next((line for line in reversed(err.splitlines()) if line.strip()), "it said nothing")
    return {"failed": f"its process ended with status {child.returncode} ({last.strip()[:300]})"}


def _read(said: Mapping[str, Any]) -> Compiled:
    if refused := said.get("refused", ""):
        used, limit = (
            [float(n[:-1]) * _UNITS[n[-1]] for n in found.groups()]
            if (found := _USED.search(refused))
            else (0.0, 0.0)
        )
        return Compiled(refused=refused, used=used, limit=limit)
    by_kind = {kind: Collective(*each) for kind, each in said["collectives"].items()}
    arguments, temporaries, peak, kernels = (
        int(said[name]) for name in ("arguments", "temporaries", "peak", "kernels")
    )
    return Compiled(arguments, temporaries, peak, by_kind, kernels, float(said["seconds"]))
