"""The calling process's side of the sandbox: zygotes, queues, retries and the memory of results."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import selectors
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rstar_jax.errors import UserError
from rstar_jax.verify.sandbox import seccomp, source
from rstar_jax.verify.sandbox.isolation import Isolation
from rstar_jax.verify.sandbox.result import ExecResult, Limits

Kind = Literal["light", "heavy"]
# Light zygotes serve code that imports the standard library alone: a fork of a small process is cheap, and
# each module's mappings make it dearer, so only the usual ones are loaded ahead.
# The heavy ones' list names what the packages would otherwise load lazily, in every child again.
MODULES: dict[Kind, tuple[str, ...]] = {
    "light": (
        *("math", "fractions", "random", "itertools", "functools", "collections", "heapq", "bisect"),
        *("string", "re", "datetime"),
    ),
    "heavy": (
        *("math", "cmath", "fractions", "decimal", "statistics", "itertools", "functools", "collections"),
        *("datetime", "calendar", "typing", "dataclasses", "numpy", "numpy.random", "numpy.linalg"),
        *("numpy.polynomial", "numpy.fft", "sympy", "sympy.ntheory", "sympy.geometry", "sympy.abc"),
        *("sympy.combinatorics", "sympy.stats", "sympy.solvers.diophantine", "sympy.matrices", "mpmath"),
    ),
}
_PACKAGES = ("numpy", "sympy", "mpmath")
_AHEAD = 2  # snippets a zygote has been sent: one runs, the other waits in its pipe
_START_S, _GRACE_S = 120.0, 10.0
_REMEMBERED_BYTES = 64 << 20
_ZYGOTE = Path(__file__).with_name("zygote.py")


@dataclasses.dataclass
class _Job:
    key: bytes
    code: str
    kind: Kind
    runs: int = 0
    lost: int = 0
    result: ExecResult | None = None


class _Worker:
    """One zygote process with its buffers. jobs: sent and not answered, the first is the one that runs."""

    def __init__(self, kind: Kind, limits: Limits, cwd: str) -> None:
        self.kind: Kind = kind
        self.jobs: collections.deque[_Job] = collections.deque()
        self.incoming, self.outgoing = bytearray(), bytearray()
        self.patience = 4 * limits.wall_s + _GRACE_S
        self.ready = False
        settings = {
            "limits": dataclasses.asdict(limits),
            "isolation": dataclasses.asdict(Isolation()),
            "filters": seccomp.programs(),
            "paths": _package_paths() if kind == "heavy" else [],
            "modules": MODULES[kind],
        }
        # A fixed hash seed makes set order, and so output, the same in every zygote; -I would ignore it.
        environment = {
            "PYTHONHASHSEED": "0",
            "PYTHONUTF8": "1",
            "LANG": "C.UTF-8",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "HOME": cwd,
            "TMPDIR": cwd,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-s", "-S", "-P", "-B", str(_ZYGOTE), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=cwd,
            start_new_session=True,  # Ctrl-C is the caller's to handle
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.stdin, False)
        os.set_blocking(self.stdout, False)
        self.since = time.monotonic()

    def send(self, job: _Job) -> None:
        if not self.jobs:
            self.since = time.monotonic()
        self.jobs.append(job)
        data = json.dumps([0, job.code]).encode()
        self.outgoing += struct.pack("!I", len(data)) + data
        self.flush()

    def flush(self) -> None:
        try:
            while self.outgoing:
                del self.outgoing[: os.write(self.stdin, self.outgoing)]
        except BlockingIOError:
            pass

    def receive(self) -> list[list[Any]]:
        """The results that have come; raises EOFError if the zygote has died."""
        try:
            data = os.read(self.stdout, 1 << 20)
        except BlockingIOError:
            return []
        if not data:
            raise EOFError
        self.since = time.monotonic()
        self.incoming += data
        messages = []
        while len(self.incoming) >= 4:
            (size,) = struct.unpack_from("!I", self.incoming)
            if len(self.incoming) < 4 + size:
                break
            messages.append(json.loads(self.incoming[4 : 4 + size]))
            del self.incoming[: 4 + size]
        return messages

    @property
    def stuck(self) -> bool:
        if not self.jobs:
            return False
        return time.monotonic() - self.since > (self.patience if self.ready else _START_S)

    def stop(self) -> None:
        """Ends the zygote: closing its stdin makes it kill its child; then it is killed itself."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=1.0 if self.ready else 0.05)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Sandbox:
    """Runs snippets in `workers` processes at a time; see the package for what it protects against.

    Results are remembered: the same program (comments aside) is run once. Zygotes start when first needed.
    Not for several threads at once: calls wait for each other. Raises UserError off Linux.
    """

    def __init__(self, workers: int = 2, limits: Limits | None = None) -> None:
        if not sys.platform.startswith("linux"):
            raise UserError(f"the sandbox needs Linux (limits, /proc), this is {sys.platform}.")
        if workers < 1:
            raise UserError(f"sandbox workers: {workers} given, at least 1 expected.")
        self.workers, self.limits = workers, limits or Limits()
        self.snippets_run = 0
        self._lock = threading.Lock()
        self._pool: dict[Kind, list[_Worker]] = {"light": [], "heavy": []}
        self._queues: dict[Kind, collections.deque[_Job]] = {
            "light": collections.deque(),
            "heavy": collections.deque(),
        }
        self._selector = selectors.DefaultSelector()
        self._memory: collections.OrderedDict[bytes, ExecResult] = collections.OrderedDict()
        self._memory_bytes = 0
        self._cwd: str | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, codes: Sequence[str]) -> list[ExecResult]:
        """Runs every snippet on its own and returns their results in order."""
        with self._lock:
            jobs: dict[bytes, _Job] = {}
            keys, known = [], {}
            for code in codes:
                code = source.normalise(code)
                key = hashlib.blake2b(code.encode("utf-8", "surrogatepass"), digest_size=16).digest()
                keys.append(key)
                if key in known or key in jobs:
                    continue
                result = self._memory.get(key) or _without_running(code)
                if result is not None:
                    self._remember(key, result)
                    known[key] = result
                else:
                    kind: Kind = "heavy" if source.needs_packages(code) else "light"
                    jobs[key] = _Job(key, code, kind)
                    self._queues[kind].append(jobs[key])
            try:
                while any(self._queues.values()) or any(w.jobs for pool in self._pool.values() for w in pool):
                    self._pump()
            except BaseException:
                # Interrupted anywhere, a worker may hold half a frame or a snippet nobody waits for.
                self._stop_all()
                raise
            return [known.get(key) or self._result_of(jobs[key]) for key in keys]

    def close(self) -> None:
        """Ends every process of the sandbox; a later `run` starts new ones."""
        with self._lock:
            self._stop_all()
            if self._cwd is not None:
                shutil.rmtree(self._cwd, ignore_errors=True)
                self._cwd = None

    def _pump(self) -> None:
        """Hands out snippets and takes in what has come; waits at most a second for it."""
        for kind, queue in self._queues.items():
            pool = self._pool[kind]
            while queue:
                worker = min(pool, key=lambda w: len(w.jobs), default=None)
                if (worker is None or worker.jobs) and len(pool) < self.workers:
                    worker = self._start(kind)
                if worker is None or len(worker.jobs) >= _AHEAD:
                    break
                job = queue.popleft()
                try:
                    worker.send(job)
                except BrokenPipeError:
                    self._replace(worker)
        busy = self._busy()
        # A program larger than the pipe is written piece by piece as the zygote reads it.
        patience = 0.002 if any(worker.outgoing for worker in busy) else 1.0 if busy else 0.0
        for key, _ in self._selector.select(timeout=patience):
            worker = key.data
            try:
                for message in worker.receive():
                    self._take(worker, message)
                worker.flush()
            except (EOFError, BrokenPipeError):
                self._replace(worker)
        for worker in self._busy():
            worker.flush()
            if worker.stuck:
                self._replace(worker)

    def _busy(self) -> list[_Worker]:
        return [worker for pool in self._pool.values() for worker in pool if worker.jobs]

    def _take(self, worker: _Worker, message: list[Any]) -> None:
        if message[0] == "refused":
            raise UserError(str(message[1]))
        if message[0] == "ready":
            worker.ready = True
            return
        job = worker.jobs.popleft()
        _, status, stdout, exception, _, cpu, wall, starved = message
        job.runs += 1
        self.snippets_run += 1
        if status == "timeout_wall" and starved and cpu < self.limits.cpu_s / 2 and job.runs == 1:
            self._queues[job.kind].append(job)  # the host was stalled, and that must not become a label
            return
        job.result = ExecResult(status, stdout, exception, cpu, wall)
        if status != "timeout_wall":
            self._remember(job.key, job.result)

    def _replace(self, worker: _Worker) -> None:
        """Drops a dead or stuck zygote. What it ran is run again once; what waited in its pipe, always."""
        self._selector.unregister(worker.stdout)
        self._pool[worker.kind].remove(worker)
        worker.stop()
        if worker.jobs:
            first = worker.jobs.popleft()
            first.lost += 1
            if first.lost > 1:
                first.result = ExecResult("signal")
            else:
                worker.jobs.appendleft(first)
        self._queues[worker.kind].extendleft(reversed(worker.jobs))

    def _start(self, kind: Kind) -> _Worker:
        if self._cwd is None:
            self._cwd = tempfile.mkdtemp(prefix="rstar-sandbox-")
        worker = _Worker(kind, self.limits, self._cwd)
        self._pool[kind].append(worker)
        self._selector.register(worker.stdout, selectors.EVENT_READ, worker)
        return worker

    def _stop_all(self) -> None:
        for pool in self._pool.values():
            for worker in pool:
                self._selector.unregister(worker.stdout)
                worker.stop()
            pool.clear()
        for queue in self._queues.values():
            queue.clear()

    def _remember(self, key: bytes, result: ExecResult) -> None:
        if key not in self._memory:
            self._memory[key] = result
            self._memory_bytes += len(result.stdout) + 200
            while self._memory_bytes > _REMEMBERED_BYTES:
                _, oldest = self._memory.popitem(last=False)
                self._memory_bytes -= len(oldest.stdout) + 200

    @staticmethod
    def _result_of(job: _Job) -> ExecResult:
        assert job.result is not None
        return job.result


def _without_running(code: str) -> ExecResult | None:
    error = source.syntax_error(code)
    return ExecResult("exception", exception=error) if error else None


def _package_paths() -> list[str]:
    """Where the scientific packages are installed."""
    found = (importlib.util.find_spec(name) for name in _PACKAGES)
    places = (str(Path(spec.origin).parent.parent) for spec in found if spec is not None and spec.origin)
    return list(dict.fromkeys(places))
