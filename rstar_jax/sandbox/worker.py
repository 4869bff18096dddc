"""One zygote process seen from outside: how it is started, spoken to and ended."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from rstar_jax.errors import UserError
from rstar_jax.sandbox import bubblewrap, kinds, seccomp
from rstar_jax.sandbox.isolation import Isolation
from rstar_jax.sandbox.kinds import Kind
from rstar_jax.sandbox.result import ExecResult, ExecStatus, Limits

# Seconds for coming up, and for answering beyond the longest wall time.
START_S, GRACE_S = 120.0, 10.0
_ZYGOTE = Path(__file__).with_name("zygote.py")
_STATUSES = frozenset(get_args(ExecStatus))


class WorkerDied(Exception):
    """The zygote has ended, or sends what is no answer."""


@dataclasses.dataclass(eq=False)
class Job:
    """A snippet on its way. runs: answers it has had; lost: zygotes that died or stuck while it ran."""

    key: bytes
    code: str
    kind: Kind
    runs: int = 0
    lost: int = 0


@dataclasses.dataclass(frozen=True)
class Answer:
    """Answer of a zygote.

    starved: the host kept the snippet from running until its wall limit, or was out of memory.
    """

    result: ExecResult
    starved: bool


class Worker:
    """A zygote with its buffers.

    jobs: sent and not answered, in order; the first is the one that runs. layers: None until it is up.
    pace_s: what its last snippet took, on the clock.
    last_words: of one that has been stopped and was never up, the end of what it wrote.
    Raises UserError where bubblewrap is asked for and absent, or no process can be started.
    """

    def __init__(self, kind: Kind, limits: Limits, isolation: Isolation) -> None:
        self.kind: Kind = kind
        self.jobs: collections.deque[Job] = collections.deque()
        self.layers: dict[str, str] | None = None
        self.last_words = ""
        self.pace_s = math.inf
        self._incoming, self._outgoing = bytearray(), bytearray()
        self._patience = 4 * limits.wall_s + GRACE_S
        self._max_frame = int(1024 * limits.output_kb) + (1 << 14)  # besides the output numbers and names
        packages = kinds.packages() if kind == "heavy" else kinds.Packages({}, {}, ())
        settings = {
            "limits": dataclasses.asdict(limits),
            "packages": packages.modules,
            "places": packages.places,
            "hidden": kinds.hidden(),
            "modules": kinds.MODULES[kind],
            "isolation": dataclasses.asdict(isolation),
            "filters": seccomp.programs(),
        }
        command = [os.path.realpath(sys.executable), "-s", "-S", "-P", "-B", str(_ZYGOTE)]
        command.append(json.dumps(settings))
        self._bubblewrap = isolation.bubblewrap
        if self._bubblewrap:
            command = bubblewrap.wrap(command, packages.places, kinds.hidden())
        # Of the zygote's own words only the last of a failed start are wanted.
        self._stderr = os.memfd_create("zygote-stderr")
        try:
            self.process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=kinds.ENVIRONMENT,
                cwd="/",
                start_new_session=True,  # Ctrl-C is the caller's to handle
            )
        except OSError as error:
            self._close_stderr()
            raise UserError(
                f"{command[0]}: the sandbox cannot start it ({error.strerror}). Lower verify.workers or "
                "raise the limits on processes, descriptors or memory."
            ) from error
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.stdin, False)
        os.set_blocking(self.stdout, False)
        self._since = time.monotonic()

    @property
    def stuck(self) -> bool:
        """Return whether it has been silent for longer than any snippet may take."""
        if self.layers is None:
            return time.monotonic() - self._since > START_S
        return bool(self.jobs) and time.monotonic() - self._since > self._patience

    def excuse(self, seconds: float) -> None:
        """Take no account of some seconds of silence, in which nobody could listen."""
        self._since = min(self._since + seconds, time.monotonic())

    @property
    def full(self) -> bool:
        """Return whether part of a program waits for room in the pipe."""
        return bool(self._outgoing)

    def send(self, job: Job) -> None:
        """Give it a snippet. Raises WorkerDied."""
        if not self.jobs and self.layers is not None:
            self._since = time.monotonic()
        self.jobs.append(job)
        data = job.code.encode("utf-8", "surrogatepass")
        self._outgoing += struct.pack("!I", len(data)) + data
        self.flush()

    def flush(self) -> None:
        """Write what the pipe takes. Raises WorkerDied."""
        try:
            while self._outgoing:
                del self._outgoing[: os.write(self.stdin, self._outgoing)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            raise WorkerDied from None

    def receive(self) -> Iterator[tuple[Job, Answer]]:
        """The snippets that were answered, with their answers; to be taken to the end.

        Raises WorkerDied, also at what the zygote cannot have said by itself; UserError where it refuses to
        work.
        """
        try:
            data = os.read(self.stdout, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            raise WorkerDied
        self._since = time.monotonic()
        self._incoming += data
        while len(self._incoming) >= 4:
            (size,) = struct.unpack_from("!I", self._incoming)
            if size > self._max_frame:
                raise WorkerDied
            if len(self._incoming) < 4 + size:
                break
            frame = bytes(self._incoming[4 : 4 + size])
            del self._incoming[: 4 + size]
            try:
                if self.layers is None:
                    self._begin(*json.loads(frame))
                    continue
                answer = self._answer(frame)
            except (ValueError, TypeError):
                raise WorkerDied from None
            yield answer

    def _begin(self, word: str, value: Any) -> None:
        if word == "refused":
            raise UserError(str(value))
        if word != "ready" or not isinstance(value, dict):
            raise ValueError
        self.layers = {str(layer): str(text) for layer, text in value.items()}
        if self._bubblewrap:
            self.layers["bubblewrap"] = (
                "namespaces of its own, only the interpreter's files and /usr in sight"
            )
        self._close_stderr()

    def _answer(self, frame: bytes) -> tuple[Job, Answer]:
        head, _, payload = frame.partition(b"\n")
        status, cpu_s, wall_s, starved, report_bytes = json.loads(head)
        if status not in _STATUSES or not self.jobs:
            raise ValueError
        stdout = payload[report_bytes:].decode("utf-8", "replace")
        exception, message = _reported(status, payload[1:report_bytes])
        result = ExecResult(status, stdout, exception, float(cpu_s), float(wall_s), message)
        self.pace_s = result.wall_s
        return self.jobs.popleft(), Answer(result, bool(starved))

    def hang_up(self) -> None:
        """Close its commands: it kills its child and ends by itself, unless it is stuck or still loading."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def stop(self, deadline: float) -> None:
        """End the zygote and what it runs, by force after `deadline` (of time.monotonic).

        By force at once if it is stuck or still loading.
        """
        self.hang_up()
        if self.layers is None or self.stuck:
            deadline = 0.0
        pause = 0.0005
        while time.monotonic() < deadline and not self._ended():
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        # Not reaped yet: its id still stands for its process group, which holds bubblewrap's two as well.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.layers is None:
            self.last_words = self._last_words()
        self.release()

    def _ended(self) -> bool:
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self.process.pid, options) is not None
        except ChildProcessError:
            return True

    def _last_words(self) -> str:
        size = os.fstat(self._stderr).st_size
        text = os.pread(self._stderr, 2000, max(0, size - 2000)).decode("utf-8", "replace").strip()
        line = text.splitlines()[-1][-500:] if text else "it said nothing"
        return f"{line} (exit status {self.process.returncode})"

    def release(self) -> None:
        """Close the descriptors, once; of a fork of the caller, its copies."""
        self.hang_up()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._close_stderr()

    def _close_stderr(self) -> None:
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1


def _reported(status: str, report: bytes) -> tuple[str, str]:
    """The exception's name and message, as far as the snippet has let them be true."""
    if status == "memory" and report:
        return "MemoryError", ""
    if status != "exception":
        return "", ""
    name, _, message = report.decode("utf-8", "replace").partition("\n")
    return name[:100] if name.isidentifier() else "Exception", message[:200]
