"""The process that forks a child per snippet. A script: a bare interpreter runs it, with one JSON argument.

Argument: {"limits": {...}, "isolation": {...}, "filters": {...}, "paths": [...], "modules": [...]}. Commands
come on stdin and results go to stdout, each behind its length (4 bytes, big endian). The first word is JSON:
["ready", layers], or ["refused", why] and the end. A command is a program in UTF-8. A result is a line of
JSON, [status, cpu_s, wall_s, starved, bytes of the report], then report and output as the snippet wrote them.

The zygote never compiles or runs a snippet and never reads what one says. It wipes both, because what is in
its memory is in its next child's. It ends when stdin does, and its child with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import re
import select
import signal
import struct
import sys
import time
from collections.abc import Sequence
from typing import Any

_TICK_S = 0.002  # how often a child is looked after where the kernel cannot announce its end (before 5.3)
_READ = 1 << 16
_PATIENCE = 3.0  # wall limits that a snippet gets on top if at the first it was not asleep
# The first compile() of a process builds the types of the syntax tree: 1.5 ms, which each child would pay.
_WARM_UP = """
import math
def f(n, *rest):
    return sum(i ** 2 % 7 for i in range(n) if i > 1) / 2
xs = [f(k) for k in (1, 2)]
d = {"a": xs[0]}
for k, v in d.items():
    if v >= 1.5 and not k:
        break
while len(xs) < 3:
    xs.append(math.sqrt(4))
text = f"{xs[-1]:.2f}" + "b".join(map(str, xs))
try:
    1 / 0
except ZeroDivisionError:
    pass
"""
# Where no file can be opened a snippet has what is loaded before: the standard library but for what opens
# windows or speaks when it is imported, its submodules that others load late, and all of sympy.
_UNWANTED = frozenset(
    ("antigravity", "idlelib", "lib2to3", "test", "this", "tkinter", "turtle", "turtledemo")
)
_SUBMODULES = (
    *("concurrent.futures.process", "concurrent.futures.thread", "email.mime.text", "encodings.idna"),
    *("encodings.latin_1", "encodings.utf_16", "encodings.utf_32", "encodings.utf_7", "http.client"),
    *("http.server", "importlib.metadata", "importlib.resources", "json.tool", "logging.handlers"),
    *("multiprocessing.dummy", "multiprocessing.managers", "multiprocessing.pool"),
    *("multiprocessing.popen_fork", "multiprocessing.queues", "multiprocessing.shared_memory"),
    *("multiprocessing.synchronize", "os.path", "unittest.mock", "urllib.error", "urllib.request"),
    *("xml.dom.minidom", "xml.etree.ElementTree"),
)
_NEEDLESS = re.compile(r"\.(tests|benchmarks|testing|conftest|pygletplot|parsing|interactive|this)\b")


class _Ended(Exception):
    """The supervisor has closed the commands."""


class Zygote:
    """One child at a time: fork, watch, judge."""

    layers: Any  # made last, as they measure what is mapped and close what could be opened

    def __init__(self, child: Any, commands: int, results: int, limits: dict[str, Any]) -> None:
        self.child, self.limits = child, limits
        self.commands, self.results = commands, results
        self.program, self.report = bytearray(_READ), bytearray(child.MAX_REPORT)
        self.output = bytearray(int(limits["output_kb"] * 1024) + 1)
        try:
            self.children_fd = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY)
        except OSError:
            self.children_fd = -1  # a kernel without this list

    def serve(self) -> None:
        while True:
            size = self._receive()
            self._run(size)

    def _run(self, size: int) -> None:
        """Runs the program of so many bytes, and sends its result."""
        out_read, out_write = os.pipe()
        report_read, report_write = os.pipe()
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            program = memoryview(self.program)[:size]
            self.child.run(program, out_write, report_write, self.layers.put_on, self.layers.ruleset)
        self.program[:size] = bytes(size)  # also what is given back: the heap keeps it
        if size > _READ:
            self.program = bytearray(_READ)
        os.close(out_write)
        os.close(report_write)
        try:
            got, killed, starved = self._watch(pid, out_read, start)
            # Not reaped yet: its id still stands for its process group.
            self._kill(-pid)
            _, ended, usage = os.wait4(pid, 0)
            self._kill_orphans()
            wall = time.monotonic() - start
            got = _read(out_read, self.output, got)
            told = _read(report_read, self.report, 0)
        finally:
            os.close(out_read)
            os.close(report_read)
        if got == len(self.output):
            got, killed = got - 1, killed or "output_limit"
        if os.WIFEXITED(ended) and not killed and not told:
            raise RuntimeError("a child could not put on its layers")
        cpu = usage.ru_utime + usage.ru_stime
        status = killed or self._verdict(ended, cpu)
        # Nobody but the kernel, out of memory, sends this: whose memory it was is not known.
        starved = starved or (status == "memory" and os.WIFSIGNALED(ended))
        head = json.dumps([status, cpu, wall, starved, told]).encode() + b"\n"
        self._send(head, memoryview(self.report)[:told], memoryview(self.output)[:got])
        self.report[:told], self.output[: got + 1] = bytes(told), bytes(got + 1)

    def _watch(self, pid: int, out: int, start: float) -> tuple[int, str, bool]:
        """Reads the child's output until it ends or must be ended: (bytes, why it was killed, starved)."""
        poll = select.poll()
        poll.register(out, select.POLLIN)
        poll.register(self.commands, 0)
        try:
            ending = os.pidfd_open(pid)
        except OSError:
            ending = -1
        else:
            poll.register(ending, select.POLLIN)
        output, got, patience = memoryview(self.output), 0, _PATIENCE * self.limits["wall_s"]
        deadline = start + self.limits["wall_s"]
        try:
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    # A child that sleeps waits of its own will; one that wanted to run was kept from it by a
                    # busy host, and is left to its CPU limit for a while.
                    starved = _wanted_to_run(pid, time.monotonic() - start)
                    if starved and patience:
                        deadline += patience
                        patience = 0.0
                        continue
                    self._kill(pid)
                    return got, "timeout_wall", starved
                for fd, event in poll.poll(1000 * (left if ending >= 0 else min(left, _TICK_S))):
                    if fd == self.commands:
                        self._kill(-pid)
                        self._kill(pid)
                        raise _Ended
                    if fd == ending:
                        return got, "", False
                    if event & select.POLLIN:
                        got += os.readv(out, [output[got:]])
                        if got == len(output):
                            self._kill(pid)
                            return got, "output_limit", False
                    else:
                        poll.unregister(out)  # the child closed it
                if ending < 0 and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                    return got, "", False
        finally:
            if ending >= 0:
                os.close(ending)

    def _verdict(self, ended: int, cpu: float) -> str:
        """The status, from how the kernel says that the child ended."""
        if os.WIFSIGNALED(ended):
            number = os.WTERMSIG(ended)
            # No snippet can send SIGXCPU; but the kernel's clock for it and the CPU time told here differ, so
            # that of the SIGKILLs, which are the CPU limit's or for want of memory, the half is asked for.
            if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu > self.limits["cpu_s"] / 2):
                return "timeout_cpu"
            return "memory" if number == signal.SIGKILL else "signal"
        return self.child.STATUSES.get(os.WEXITSTATUS(ended), "exit")

    def _kill_orphans(self) -> None:
        """Kills what a snippet left behind: orphans of a child become children of the zygote."""
        while True:
            if self.children_fd < 0:
                return
            pids = [int(word) for word in os.pread(self.children_fd, _READ, 0).split()]
            if not pids:
                return
            for pid in pids:
                self._kill(pid)
                os.waitpid(pid, 0)

    @staticmethod
    def _kill(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)

    def _receive(self) -> int:
        """Puts the next program into `self.program` and returns its size."""
        head = bytearray(4)
        self._fill(memoryview(head))
        (size,) = struct.unpack("!I", head)
        if size > len(self.program):
            self.program = bytearray(size)
        self._fill(memoryview(self.program)[:size])
        return size

    def _fill(self, room: memoryview) -> None:
        while room:
            got = os.readv(self.commands, [room])
            if not got:
                raise _Ended
            room = room[got:]

    def say(self, word: str, what: Any) -> None:
        """The first word."""
        self._send(json.dumps([word, what]).encode())

    def _send(self, *parts: bytes | memoryview) -> None:
        parts = (struct.pack("!I", sum(map(len, parts))), *parts)
        sent = os.writev(self.results, parts)  # at once, so that the caller wakes up once
        for part in parts:
            left = memoryview(part)[sent:]
            sent = max(0, sent - len(part))
            while left:
                left = left[os.write(self.results, left) :]


def _wanted_to_run(pid: int, seconds: float) -> bool:
    """Whether a process does not sleep now and has not slept for most of so many seconds."""
    with open(f"/proc/{pid}/stat") as stat:
        if stat.read().rpartition(")")[2].split()[0] == "S":
            return False
    try:
        with open(f"/proc/{pid}/schedstat") as schedstat:
            ran, waited, _ = map(int, schedstat.read().split())
    except (OSError, ValueError):
        return True  # a kernel that does not tell
    return (ran + waited) / 1e9 > seconds / 2


def _read(fd: int, buffer: bytearray, got: int) -> int:
    """Adds what is in a pipe now to a buffer that holds `got` bytes, as far as it goes; returns their sum."""
    os.set_blocking(fd, False)
    room = memoryview(buffer)
    with contextlib.suppress(BlockingIOError):
        while got < len(buffer) and (more := os.readv(fd, [room[got:]])):
            got += more
    return got


def _load(name: str) -> Any:
    """A module beside this one, which no snippet can then import."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    module = importlib.import_module(name)
    sys.path.pop(0)
    del sys.modules[name]
    return module


def _import(names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(ImportError):  # not installed: a snippet that wants it gets the same
            importlib.import_module(name)


def _below(package: str) -> list[str]:
    """The modules of a package that it may load late."""
    if package not in sys.modules:
        return []
    found = pkgutil.walk_packages(sys.modules[package].__path__, f"{package}.", onerror=lambda _: None)
    return [name for name in (module.name for module in found) if not _NEEDLESS.search(name)]


def _warm(settings: dict[str, Any]) -> None:
    """Loads what snippets use, and fills what they would each fill again."""
    _import(settings["modules"])
    if "sympy" in sys.modules:
        importlib.import_module("sympy").solve("x**2 - 3*x + 2")  # fills caches that every child then shares
    if "numpy" in sys.modules:
        importlib.import_module("numpy").random.seed(0)
    exec(compile(_WARM_UP, "<warm up>", "exec"), {})


def main() -> None:
    settings = json.loads(sys.argv[1])
    commands, results = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    os.close(null)
    gc.disable()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # where memory is out, a snippet goes before its caller does
    child, made = _load("child"), _load("layers")
    sys.path.extend(settings["paths"])
    sys.argv = ["<step>"]
    sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.__stdout__ = sys.stdout
    _warm(settings)
    if not made.may_open(settings["isolation"]):
        _import(sorted(sys.stdlib_module_names - _UNWANTED))
        _import((*_SUBMODULES, *_below("sympy")))
    zygote = Zygote(child, commands, results, settings["limits"])
    layers = made.Layers(settings["limits"], settings["isolation"], settings["filters"], settings["paths"])
    zygote.layers = layers
    report = layers.test()
    if report["seccomp"].startswith("missing") and not settings["isolation"]["allow_unsafe"]:
        why = report["seccomp"].removeprefix("missing: ")
        zygote.say(
            "refused",
            f"the sandbox has no system call filter (seccomp: {why}), so code that a model wrote could do "
            "whatever this user can. Run where the kernel allows seccomp filters (a container: with its "
            "default profile), or accept the risk with --config.verify.sandbox.allow_unsafe=True.",
        )
        os._exit(1)
    zygote.say("ready", report)
    sys.stdout.flush()  # whatever a module said while it was loaded is no snippet's output
    gc.collect()
    gc.freeze()
    with contextlib.suppress(_Ended, BrokenPipeError):
        zygote.serve()
    os._exit(0)


if __name__ == "__main__":
    main()
