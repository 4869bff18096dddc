"""The caller's side of `symbolic.py`: processes that compare expressions and may hang, swell or die."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal, cast

from rstar_jax.errors import UserError

Verdict = Literal["same", "different", "unread", "unknown"]
_VERDICTS = ("same", "different", "unread", "unknown")
_SCRIPT = Path(__file__).with_name("symbolic.py")
_START_S = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Allowance:
    """What one comparison may cost.

    cpu_s: CPU seconds. wall_s: seconds by the clock; a comparison that has used little CPU by then was kept
    waiting by a busy host and is run once more. memory_mb: address space of the process that compares.
    """

    cpu_s: float = 3.0
    wall_s: float = 12.0
    memory_mb: int = 2048

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise UserError(f"{field.name}: {value!r} given, more than 0 is needed")


class _Stalled(Exception):
    """The clock ran out while the process hardly ran."""


class Worker:
    """One process: started when first asked, replaced when it dies or takes too long. One asks at a time."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._process: subprocess.Popen[bytes] | None = None

    def compare(self, reference: str, prediction: str) -> Verdict:
        """ "unknown" if it was not found out within the allowance. UserError if no process can be started."""
        line = json.dumps([reference, prediction]).encode() + b"\n"
        for _ in range(2):
            try:
                return self._ask(line)
            except _Stalled:
                self.stop()
            except (EOFError, OSError, ValueError):
                self.stop()
                break
            except BaseException:
                self.stop()  # interrupted: an answer may still be under way
                raise
        return "unknown"

    def _ask(self, line: bytes) -> Verdict:
        process = self._process or self._start()
        assert process.stdin is not None
        before = _cpu_s(process.pid)
        process.stdin.write(line)
        process.stdin.flush()
        try:
            word = json.loads(_line(process, self._allowance.wall_s))
        except TimeoutError:
            used = _cpu_s(process.pid) - before
            raise (_Stalled if used < self._allowance.cpu_s / 2 else EOFError) from None
        if word not in _VERDICTS:
            raise EOFError
        return cast("Verdict", word)

    def _start(self) -> subprocess.Popen[bytes]:
        settings = {
            "paths": [path for path in sys.path if path and os.path.isdir(path)],
            "cpu_s": self._allowance.cpu_s,
            "memory_mb": self._allowance.memory_mb,
        }
        process = subprocess.Popen(
            [sys.executable, "-s", "-S", "-P", str(_SCRIPT), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PYTHONUTF8": "1", "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
            start_new_session=True,
        )
        self._process = process
        try:
            word = json.loads(_line(process, _START_S))
        except TimeoutError:
            raise _Stalled from None
        except EOFError:
            word = "the process ended at once"
        if word != "ready":
            self.stop()
            raise UserError(
                f"grading: the process that compares expressions did not start ({word}). It needs "
                f"math-verify and sympy: install requirements.txt for {sys.executable}."
            )
        return process

    def stop(self) -> None:
        """Ends the process; the next comparison starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(OSError):
                process.communicate()


class Pool:
    """Workers for any number of threads: each comparison waits for one that is idle."""

    def __init__(self, workers: int, allowance: Allowance) -> None:
        self._all = [Worker(allowance) for _ in range(workers)]
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in self._all:
            self._idle.put(worker)

    def compare(self, reference: str, prediction: str) -> Verdict:
        worker = self._idle.get()
        try:
            return worker.compare(reference, prediction)
        finally:
            self._idle.put(worker)

    def stop(self) -> None:
        """Ends all processes; comparisons under way become "unknown"."""
        for worker in self._all:
            worker.stop()


def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """A line of the process's output. TimeoutError if it does not come in time, EOFError if it ended."""
    assert process.stdout is not None
    line, deadline = b"", time.monotonic() + seconds
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise TimeoutError
        piece = os.read(process.stdout.fileno(), 1 << 16)
        if not piece:
            raise EOFError
        line += piece
    return line


def _cpu_s(pid: int) -> float:
    """CPU seconds that a process has used; infinite where that cannot be read."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        return float("inf")
    return (int(fields[11]) + int(fields[12])) / _TICKS
