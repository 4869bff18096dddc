"""The caller's side of `symbolic.py`: processes that compare expressions and may hang, swell or die."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal, cast

from rstar_jax.errors import UserError
from rstar_jax.sandbox.watch import cpu_seconds

# "unknown": it cost more than it may, and would again. "lost": the process died, or stood still each time.
Verdict = Literal["same", "different", "unread", "unknown", "lost"]
_REPLIES = ("same", "different", "unread", "unknown", "memory")
_ALLOWANCES_PER_PAIR = 3
_SCRIPT = Path(__file__).with_name("symbolic.py")
_START_S = 120.0
_PATIENCE = (1, 2, 4)  # wall limits of a comparison's tries: a busy host needs more time, not more tries
_SLICE_S = 0.5
_SOONEST_S = 0.001  # between two looks at a CPU limit that is nearly reached


@dataclasses.dataclass(frozen=True)
class Allowance:
    """Limits of one comparison.

    cpu_s: CPU seconds. wall_s: seconds by the clock, without those in which the caller stood still, too; a
    comparison that has not had its CPU time by then is run again in another process, with twice the time.
    memory_mb: address space of the process that compares.
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
    """The clock ran out before the process had its CPU time: frozen, or kept waiting by a busy host."""


class _Spent(Exception):
    """The process has used its CPU time."""


class Worker:
    """One process: started when first asked, replaced when it dies or takes too long. One asks at a time.

    spent_s: CPU seconds of the last comparison.
    """

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._process: subprocess.Popen[bytes] | None = None
        self._busy = threading.Lock()
        self._ended = False
        self.spent_s = 0.0

    def compare(self, reference: str, prediction: str) -> Verdict:
        """UserError if no process can be started."""
        line = json.dumps([reference, prediction]).encode() + b"\n"
        with self._busy:
            self.spent_s = self._allowance.cpu_s
            for patience in _PATIENCE:
                try:
                    return self._ask(line, patience * self._allowance.wall_s)
                except _Stalled:
                    self._stop()
                except _Spent:
                    self._stop()
                    return "unknown"  # and would be again
                except (EOFError, OSError, ValueError):
                    # Its own timer ends it where this side, which counts exactly, could not look for long.
                    if self._stop() != -signal.SIGPROF:
                        return "lost"
                except BaseException:
                    self._stop()  # interrupted: an answer may still be under way
                    raise
        return "lost"

    def _ask(self, line: bytes, wall_s: float) -> Verdict:
        process = self._process
        if process is None or process.poll() is not None:
            self._stop()
            process = self._start()
        assert process.stdin is not None
        before = _cpu_s(process.pid)
        while line:
            line = line[os.write(process.stdin.fileno(), line) :]
        try:
            word = json.loads(_line(process, wall_s, before + self._allowance.cpu_s))
        except TimeoutError:
            raise _Stalled from None
        if word not in _REPLIES:
            raise EOFError
        self.spent_s = _cpu_s(process.pid) - before
        if word == "memory":
            self._stop()  # what is left of it is in no state to go on
            return "unknown"
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
            bufsize=0,
            cwd="/",
            env={"PYTHONUTF8": "1", "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
            start_new_session=True,
        )
        self._process = process
        if self._ended:
            raise EOFError
        try:
            word = json.loads(_line(process, _START_S))
        except TimeoutError:
            raise _Stalled from None
        except EOFError:
            word = "the process ended at once"
        if word != "ready":
            self._stop()
            raise UserError(
                f"grading: the process that compares expressions did not start ({word}). It needs "
                f"math-verify and sympy: install requirements.txt for {sys.executable}."
            )
        return process

    def _stop(self) -> int | None:
        """End the process, and say how it ended; the next comparison starts another."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        with contextlib.suppress(OSError):
            process.communicate()
        return process.returncode

    def stop(self) -> None:
        """End the process for good; a comparison under way is "lost"."""
        self._ended = True
        process = self._process
        if process is not None:
            process.kill()
        with self._busy:
            self._stop()

    def release(self) -> None:
        """In a fork of the caller: closes the copies of the descriptors and lets the process be."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            process.stdout.close()
            process.returncode = 0  # not this process's child


class Pool:
    """Workers for any number of threads: each comparison waits for one that is idle."""

    def __init__(self, workers: int, allowance: Allowance) -> None:
        self.allowance = allowance
        self._all = [Worker(allowance) for _ in range(workers)]
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in self._all:
            self._idle.put(worker)
        self._stopped = False

    def ask(self, reference: str, prediction: str) -> tuple[Verdict, float]:
        """The verdict, and the CPU seconds that it took. RuntimeError once the pool has been stopped."""
        worker = self._idle.get()
        try:
            if self._stopped:
                raise RuntimeError("grading: asked after its processes were ended")
            return worker.compare(reference, prediction), worker.spent_s
        finally:
            self._idle.put(worker)

    def stop(self) -> None:
        """End all processes for good; comparisons under way are "lost"."""
        self._stopped = True
        for worker in self._all:
            worker.stop()

    def release(self) -> None:
        """In a fork of the caller: lets the processes be its parent's."""
        for worker in self._all:
            worker.release()


class Inquiry:
    """The comparisons for one pair, which together may cost what a few of them may.

    lost: whether one came to nothing for a reason that is not the pair's.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._left_s = _ALLOWANCES_PER_PAIR * pool.allowance.cpu_s
        self.lost = False

    def compare(self, reference: str, prediction: str) -> Verdict:
        if self._left_s <= 0:
            return "unknown"
        verdict, spent_s = self._pool.ask(reference, prediction)
        self._left_s -= spent_s
        self.lost |= verdict == "lost"
        return verdict


def _line(process: subprocess.Popen[bytes], seconds: float, cpu_s: float = math.inf) -> bytes:
    """A line of the process's output. TimeoutError if it does not come in time, EOFError if it ended, _Spent
    once it has used `cpu_s` CPU seconds since its start.

    A host that stands still stops the caller's clock, too: of a gap in it no more counts than was waited for.
    """
    assert process.stdout is not None
    line, left = b"", seconds
    while not line.endswith(b"\n"):
        # On one core CPU time is not spent faster than time passes.
        spare = max(cpu_s - _cpu_s(process.pid), _SOONEST_S)
        begun, slice_s = time.monotonic(), min(_SLICE_S, max(left, 0.0), spare)
        ready = select.select([process.stdout], [], [], slice_s)[0]
        left -= min(time.monotonic() - begun, 2 * _SLICE_S)
        if ready:
            piece = os.read(process.stdout.fileno(), 1 << 16)
            if not piece:
                raise EOFError
            line += piece
        elif _cpu_s(process.pid) >= cpu_s:
            raise _Spent
        elif left <= 0:
            raise TimeoutError
    return line


def _cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, by the kernel's exact clock; infinite where it is gone."""
    try:
        return cpu_seconds(pid)
    except OSError:
        return math.inf
