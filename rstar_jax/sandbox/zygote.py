"""The process that forks a child per snippet. A script: a bare interpreter runs it, with one JSON argument.

Argument: {"limits": {...}, "isolation": {...}, "filters": {...}, "packages": {name: file}, "places": [...],
"hidden": [...], "modules": [...]}. Commands come on stdin and results go to stdout, each behind its length (4
bytes, big endian). The first word is JSON: ["ready", layers], or ["refused", why] and the end. A command is a
program in UTF-8. A result is a line of JSON, [status, cpu_s, wall_s, starved, bytes of the report], then
report and output as the snippet wrote them.

The zygote never compiles or runs a snippet and never reads what one says. It wipes both, because what is in
its memory is in its next child's. It ends when stdin does, and its child with it.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.util
import json
import os
import pkgutil
import random
import re
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

_READ = 1 << 16
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
    *("concurrent.futures.process", "concurrent.futures.thread", "email.mime.text", "http.client"),
    *("http.server", "importlib.metadata", "importlib.resources", "json.tool", "logging.handlers"),
    *("multiprocessing.dummy", "multiprocessing.managers", "multiprocessing.pool"),
    *("multiprocessing.popen_fork", "multiprocessing.queues", "multiprocessing.shared_memory"),
    *("multiprocessing.synchronize", "os.path", "unittest.mock", "urllib.error", "urllib.request"),
    *("xml.dom.minidom", "xml.etree.ElementTree"),
)
_NEEDLESS = re.compile(r"\.(tests|benchmarks|testing|conftest|pygletplot|parsing|interactive|this)\b")


class Zygote:
    """One child at a time: fork, watch, judge."""

    layers: Any  # made last, as they measure what is mapped and close what could be opened

    def __init__(self, child: Any, watch: Any, commands: int, results: int, limits: dict[str, Any]) -> None:
        self.child, self.watch, self.limits = child, watch, limits
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
        """Run the program of so many bytes, and send its result."""
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
            watched = self.watch.watch(
                pid, out_read, self.commands, memoryview(self.output), self.limits, start
            )
            got, killed, starved, stalled = watched
            # Not reaped yet: its id still stands for its process group.
            self.watch.kill(-pid)
            _, ended, usage = os.wait4(pid, 0)
            self._kill_orphans()
            wall = time.monotonic() - start - stalled
            got = _read(out_read, self.output, got)
            reported = _read(report_read, self.report, 0)
        finally:
            os.close(out_read)
            os.close(report_read)
        if got == len(self.output):
            got, killed = got - 1, killed or "output_limit"
        if os.WIFEXITED(ended) and not killed and not reported:
            raise RuntimeError("a child could not put on its layers")
        cpu = usage.ru_utime + usage.ru_stime
        status = killed or self._verdict(ended, cpu)
        # Nobody but the kernel sends these: out of memory, whose is not known; or counting too many ticks.
        by_kernel = os.WIFSIGNALED(ended) and not killed
        starved = starved or (
            by_kernel and status in ("memory", "timeout_cpu") and cpu < self.limits["cpu_s"]
        )
        head = json.dumps([status, cpu, wall, starved, reported]).encode() + b"\n"
        self._send(head, memoryview(self.report)[:reported], memoryview(self.output)[:got])
        self.report[:reported], self.output[: got + 1] = bytes(reported), bytes(got + 1)

    def _verdict(self, ended: int, cpu: float) -> str:
        """The status, from how the kernel says that the child ended."""
        if cpu >= self.limits["cpu_s"]:
            return "timeout_cpu"  # also where it ended before the next look
        if os.WIFSIGNALED(ended):
            number = os.WTERMSIG(ended)
            # No snippet can send SIGXCPU or SIGKILL.
            if number == signal.SIGXCPU:
                return "timeout_cpu"
            return "memory" if number == signal.SIGKILL else "signal"
        return self.child.STATUSES.get(os.WEXITSTATUS(ended), "exit")

    def _kill_orphans(self) -> None:
        """Kill what a snippet left behind: orphans of a child become children of the zygote."""
        while True:
            if self.children_fd < 0:
                return
            pids = [int(word) for word in os.pread(self.children_fd, _READ, 0).split()]
            if not pids:
                return
            for pid in pids:
                self.watch.kill(pid)
                os.waitpid(pid, 0)

    def _receive(self) -> int:
        """Put the next program into `self.program` and return its size."""
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
                raise self.watch.Ended
            room = room[got:]

    def say(self, word: str, value: Any) -> None:
        """The first word."""
        self._send(json.dumps([word, value]).encode())

    def _send(self, *parts: bytes | memoryview) -> None:
        parts = (struct.pack("!I", sum(map(len, parts))), *parts)
        sent = os.writev(self.results, parts)  # at once, so that the caller wakes up once
        for part in parts:
            unsent = memoryview(part)[sent:]
            sent = max(0, sent - len(part))
            while unsent:
                unsent = unsent[os.write(self.results, unsent) :]


def _read(fd: int, buffer: bytearray, got: int) -> int:
    """Add what is in a pipe now to a buffer that holds `got` bytes, as far as it goes; return their sum."""
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


class _Packages:
    """Finds what snippets may import beside the standard library, {name: file}, and nothing else."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        file = self.files.get(name)
        if file is None:
            return None
        inside = [os.path.dirname(file)] if os.path.basename(file) == "__init__.py" else None
        return importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside)


def _settle_chance() -> Callable[[int], int]:
    """Have generators that are given no seed take one from a fixed sequence; returns where it comes from.

    A program's output is remembered, so it is the same in every child of every zygote. For secrets, and what
    asks the system itself, that is not so.
    """
    plain, entropy = random.Random.seed, random.Random(0).getrandbits

    @functools.wraps(plain)
    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        plain(self, entropy(256) if a is None else a, version)

    random.Random.seed = seed
    random.seed = random._inst.seed
    return entropy


def _warm(settings: dict[str, Any]) -> None:
    """Load what snippets use, and fill what they would each fill again."""
    entropy = _settle_chance()  # before packages make generators of their own
    _import(settings["modules"])
    if "sympy" in sys.modules:
        importlib.import_module("sympy").solve("x**2 - 3*x + 2")  # fills caches that every child then shares
    if "numpy" in sys.modules:
        numpy = importlib.import_module("numpy")
        numpy.random.bit_generator.randbits = entropy
        numpy.random.seed(0)
    exec(compile(_WARM_UP, "<warm up>", "exec"), {})


def main() -> None:
    settings = json.loads(sys.argv[1])
    commands, results = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    gc.disable()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # where memory is out, a snippet goes before its caller does
    child, watch, layers = _load("child"), _load("watch"), _load("layers")
    sys.meta_path.append(_Packages(settings["packages"]))
    # Nothing changes on disk for a snippet, which may not list every folder that it may read a file of.
    importlib.invalidate_caches = lambda: None
    sys.argv = ["<step>"]
    # What is opened on a pipe, as a child's output is one, is not taken for a file with a position in it.
    reader, writer = os.pipe()
    os.dup2(writer, 1)
    sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.__stdout__ = sys.stdout
    os.dup2(null, 1)
    for fd in (null, reader, writer):
        os.close(fd)
    _warm(settings)
    if not layers.may_open(settings["isolation"]):
        _import(sorted(sys.stdlib_module_names - _UNWANTED))
        _import((*_SUBMODULES, *_below("encodings"), *_below("sympy")))
    zygote = Zygote(child, watch, commands, results, settings["limits"])
    zygote.layers = layers.Layers(
        settings["limits"], settings["isolation"], settings["filters"], settings["places"], settings["hidden"]
    )
    report = zygote.layers.test()
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
    with contextlib.suppress(watch.Ended, BrokenPipeError):
        zygote.serve()
    os._exit(0)


if __name__ == "__main__":
    main()
