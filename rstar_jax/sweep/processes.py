"""Points at work, each in a process of its own.

waiting --start--> at work --exit status 0--------> done     a status on disk: never run again
                           --another one----------> failed   told; run again by the next start alone
                           --a signal of others---> waiting, once; then failed
a signal to the sweep is handed on to all; a sweep that is killed outright takes them with it (`tied.py`)
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from rstar_jax import records
from rstar_jax.errors import UserError
from rstar_jax.sweep.grid import Point

_PATIENCE_S = 30.0  # for points to end in order
_TAIL = 4096  # bytes of a log that are looked at
_OF_SIGNALS = (130, 143)  # exit statuses of a run that a signal has stopped in order


@dataclasses.dataclass(frozen=True)
class Places:
    """Files of a sweep's points. root: the sweep's folder."""

    root: Path

    @property
    def points(self) -> Path:
        return self.root / "points"

    def folder(self, point: Point) -> Path:
        """The point's own --workdir."""
        return self.points / point.name

    def log(self, point: Point) -> Path:
        """Return what it printed, all its starts one after the other."""
        return self.points / f"{point.name}.log"

    def status(self, point: Point) -> Path:
        return self.points / f"{point.name}.json"


@dataclasses.dataclass(frozen=True)
class Status:
    """A point's end. status: "done" or "failed". seconds: of all its starts. why: of a failed one."""

    status: str
    exit: int
    seconds: float
    why: str = ""


def read_status(path: Path) -> Status | None:
    """Tell how a point ended; None where it has not, or nobody can tell."""
    if not path.is_file():
        return None
    try:
        return Status(**records.read_signed(path))
    except (records.Damaged, TypeError):
        records.quarantine(path)
        return None


@dataclasses.dataclass
class Process:
    """A point at work."""

    point: Point
    popen: subprocess.Popen[bytes]
    log: BinaryIO
    began: float

    def end(self) -> None:
        """Let go of a process that has ended."""
        self.log.close()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


def start(point: Point, command: Sequence[str], log: Path) -> Process:
    """Start a point. Raises UserError where its log cannot be written, or no process can be had."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = open(log, "ab")  # noqa: SIM115
        file.write(f"$ {shlex.join(command)}\n".encode(errors="surrogateescape"))
        file.flush()
    except OSError as error:
        raise records.writing_failed(log, error) from error
    tied = [sys.executable, "-m", "rstar_jax.sweep.tied", str(os.getpid()), *command]
    try:
        # A session of its own: Ctrl-C in a terminal reaches it through the sweep alone, once.
        popen = subprocess.Popen(
            tied, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    except OSError as error:
        file.close()
        raise UserError(f"{point.name}: no process could be started ({error.strerror}).") from error
    return Process(point, popen, file, time.monotonic())


def is_of_signal(status: int) -> bool:
    """Tell whether a process ended by a signal, in order or at once."""
    return status < 0 or status in _OF_SIGNALS


def why(log: Path, status: int) -> str:
    """Say why a point failed: the last word of its last start in the log, and its exit status."""
    told = "killed by signal" if status < 0 else "exit status"
    try:
        with open(log, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        lines = []
    begun = max((place for place, line in enumerate(lines) if line.startswith("$ ")), default=-1)
    said = [line.strip() for line in lines[begun + 1 :] if line.strip()]
    errors = [place for place, line in enumerate(said) if line.startswith("error: ")]
    last = " ".join(said[errors[-1] :]) if errors else said[-1] if said else "it said nothing"
    return f"{last} ({told} {abs(status)})"


def stop(processes: Sequence[Process], number: int) -> None:
    """Hand a signal on to all, and wait until they have ended; those that take too long are killed."""
    for process in processes:
        process.popen.send_signal(number)
    until = time.monotonic() + _PATIENCE_S
    for process in processes:
        try:
            process.popen.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()
        process.end()
