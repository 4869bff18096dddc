"""The layers around a snippet, made by the zygote and put on by each child; and the test that they hold.

Standard library only, and nothing of this project: it is loaded by the zygote, a bare interpreter.

`Layers(...)` does once what all children inherit: no new privileges, root given up, not dumpable, few
descriptors, no file data, no core. `put_on()` is each child's: a session of its own, death with the zygote,
limits, Landlock, and the system call filter (`seccomp.py`) last, as it forbids to make the others.
"""

from __future__ import annotations

import ctypes
import errno
import json
import math
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_SECCOMP = 1, 4, 8, 22
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 36, 38, 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_CAP_DAC_READ_SEARCH, _CAPABILITY_VERSION_3 = 2, 0x20080522
_NOBODY = 65534
_MAX_FILES = 64
# Where an interpreter and its packages find shared libraries and time zones.
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo")
_LIBRARY_CACHE = "/etc/ld.so.cache"

_libc = ctypes.CDLL(None, use_errno=True)
_prctl, _syscall = _libc.prctl, _libc.syscall
_setrlimit, _setsid, _getppid, _close = resource.setrlimit, os.setsid, os.getppid, os.close


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def _check(result: int, call: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{call}: {os.strerror(ctypes.get_errno())}")
    return result


class Layers:
    """Layers that hold around every snippet of this zygote.

    limits: the fields of `Limits`. isolation: the fields of `Isolation`. filters: `seccomp.programs()`.
    places: folders and files of packages, readable besides the standard library; hidden: folders that are
    not, though they may lie within it. Raises OSError only for what no kernel in use lacks.
    """

    def __init__(
        self,
        limits: dict[str, Any],
        isolation: dict[str, Any],
        filters: dict[str, str],
        places: list[str],
        hidden: list[str],
    ) -> None:
        self.zygote = os.getpid()
        # By ticks, which may be off by much: for where the watcher, which counts exactly, is stopped.
        self.cpu_s = 10 * math.ceil(limits["cpu_s"]) + 10
        with open("/proc/self/statm") as statm:
            mapped = int(statm.read().split()[0]) * os.sysconf("SC_PAGESIZE")
        self.memory = mapped + int(limits["memory_mb"] * 2**20)
        self.report: dict[str, str] = {}
        _check(_prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        self.report["no_new_privs"] = "on"
        folders = [path for path in sys.path if os.path.isdir(path)]
        self.ruleset, self.report["landlock"] = _ruleset([*folders, *places], _landlock(isolation), hidden)
        self.opens = may_open(isolation)
        self.report["user"] = _give_up_root(
            [*folders, *filter(os.path.isdir, places)],
            confined=self.opens,
            left_out="user" in isolation["without"],
        )
        if "seccomp" in isolation["without"]:
            filters = {}
        program = bytes.fromhex(filters.get("open" if self.opens else "closed", ""))
        self._instructions = ctypes.create_string_buffer(program, max(1, len(program)))
        self._filter = (
            _FilterProgram(len(program) // 8, ctypes.cast(self._instructions, ctypes.c_void_p))
            if program
            else None
        )
        # Changing the user has reset this and the parent-death signal.
        _check(_prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "not dumpable")
        self.report["not_dumpable"] = "on"
        # The zygote becomes the parent of its orphaned descendants, so that it can find and kill them.
        _check(_prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "subreaper")
        _setrlimit(resource.RLIMIT_CORE, (0, 0))
        _setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        _setrlimit(resource.RLIMIT_NOFILE, (_MAX_FILES, _MAX_FILES))

    def put_on(self) -> None:
        """Shut the calling child in, for good. Raises OSError if a layer that held at start does not."""
        _setsid()
        _check(_prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "parent-death signal")
        if _getppid() != self.zygote:
            raise OSError("the zygote is gone")
        _setrlimit(resource.RLIMIT_CPU, (self.cpu_s, self.cpu_s + 1))
        _setrlimit(resource.RLIMIT_AS, (self.memory, self.memory))
        _setrlimit(resource.RLIMIT_NPROC, (0, 0))
        if self.ruleset >= 0:
            _check(_syscall(_RESTRICT_SELF, self.ruleset, 0), "landlock")
            _close(self.ruleset)
        if self._filter is not None:
            filter_program = ctypes.byref(self._filter)
            _check(_prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filter_program, 0, 0), "seccomp")

    def test(self) -> dict[str, str]:
        """The report, completed with what a child of this zygote, shut in, could and could not do."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                self.put_on()
                os.write(writer, json.dumps(_tried(_FORBIDDEN)).encode())
            except OSError as error:
                os.write(writer, json.dumps({"nothing, as the layers failed": str(error)}).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, "rb") as pipe:
            allowed: dict[str, str] = json.loads(pipe.read() or b'{"nothing, as the test died": ""}')
        os.waitpid(pid, 0)
        elsewhere = allowed.pop(_ELSEWHERE, None)
        if self._filter is None:
            self.report["seccomp"] = "missing: left out, or none for this machine's architecture"
        elif allowed:
            self.report["seccomp"] = f"missing: it does not block {', '.join(allowed)}"
        else:
            self.report["seccomp"] = f"blocks {', '.join(name for name in _FORBIDDEN if name != _ELSEWHERE)}"
        self.report["limits"] = "CPU, address space, processes, descriptors, file size, core"
        if not self.opens:
            self.report["files"] = "none can be opened"
        elif elsewhere is not None:
            self.report["files"] = "missing: files beside the interpreter's can be opened"
        else:
            self.report["files"] = "only the interpreter's and its libraries' can be opened, for reading"
        return self.report


def may_open(isolation: dict[str, Any]) -> bool:
    """Return whether snippets may open files: only where something confines that to the interpreter's."""
    return isolation["bubblewrap"] or _landlock(isolation) > 0


def _landlock(isolation: dict[str, Any]) -> int:
    """The version of Landlock to use, 0 if none."""
    return 0 if "landlock" in isolation["without"] else max(0, _syscall(_CREATE_RULESET, None, 0, 1))


def _ruleset(readable: list[str], version: int, hidden: Sequence[str] = ()) -> tuple[int, str]:
    """A Landlock ruleset (or -1) that allows reading below some folders, but for hidden ones within, and
    nothing else; and what to say."""
    if not version:
        return -1, "missing: left out, or not in this kernel (5.13 and later may have it)"
    files = (1 << (13 + (version >= 2) + (version >= 3))) - 1 | (1 << 15 if version >= 5 else 0)
    network, scope = (0b11 if version >= 4 else 0), (0b11 if version >= 6 else 0)
    attributes = struct.pack("=QQQ", files, network, scope)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _check(_syscall(_CREATE_RULESET, attributes, len(attributes), 0), "landlock")
    roots = (*readable, f"{sys.base_prefix}/lib", *_LIBRARIES, _LIBRARY_CACHE)
    for path in dict.fromkeys(place for root in roots for place in _around(os.path.realpath(root), hidden)):
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # not on this machine
        access = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)
        _check(_syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", access, place), 0), "landlock")
        os.close(place)
    return ruleset, f"ABI {version}"


def _around(place: str, hidden: Sequence[str]) -> Iterator[str]:
    """A place or, where something within is hidden, what lies around that: whatever Landlock allows of a
    folder holds for all below it. A link within leads to what is allowed by itself, or is not to be."""
    if place in hidden:
        return
    if not any(folder.startswith(f"{place}/") for folder in hidden):
        yield place
        return
    for name in sorted(os.listdir(place)):
        if not os.path.islink(path := os.path.join(place, name)):
            yield from _around(path, hidden)


def _give_up_root(readable: list[str], *, confined: bool, left_out: bool) -> str:
    """Become nobody, for good; return what to say of it.

    Where nobody may not read the interpreter (a root user's own, in /root), the one capability to read is
    kept, provided that Landlock or a name space confines reading to it.
    """
    if os.geteuid() != 0:
        return f"uid {os.geteuid()}, not root"
    if left_out:
        return "missing: left out, root"
    public = all(_public(path) for path in readable)
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        _prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError as error:
        return f"missing: root could not be given up ({error.strerror})"
    kept = 0 if public or not confined else 1 << _CAP_DAC_READ_SEARCH
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    if kept and _libc.capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0)) == 0:
        return f"uid {_NOBODY}, root given up but for reading the interpreter's folders"
    _check(_libc.capset(header, bytes(24)), "capset")
    return f"uid {_NOBODY}, root given up"


def _public(path: str) -> bool:
    """Return whether everybody may read a folder, as far as the permissions of the way to it tell."""
    while os.stat(path).st_mode & 0o005 == 0o005:
        if path == "/":
            return True
        path = os.path.dirname(os.path.abspath(path))
    return False


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)
    os.wait()


_ELSEWHERE = "files elsewhere"
# What the self-test tries; each either raises OSError or returns a negative number if it is blocked by
# EPERM (a foreign file: also by EACCES). Arguments are such that it would do no harm.
_FORBIDDEN: dict[str, Callable[[], Any]] = {
    "sockets": lambda: _libc.socket(1, 1, 0),
    "processes": _fork,
    "programs": lambda: os.execve("/", ["/"], {}),
    "signals": lambda: os.kill(os.getpid(), 0),
    "tracing": lambda: _libc.ptrace(0, 0, 0, 0),
    "memory files": lambda: _libc.memfd_create(b"", 0),
    "io_uring": lambda: _syscall(425, 0, 0),
    "opening for writing": lambda: os.open("/dev/null", os.O_WRONLY),
    "higher limits": lambda: _setrlimit(resource.RLIMIT_CORE, (0, 0)),
    _ELSEWHERE: lambda: os.open("/", os.O_RDONLY | os.O_DIRECTORY),
}


def _tried(actions: dict[str, Callable[[], Any]]) -> dict[str, str]:
    """Those that were not blocked, with what came of them."""
    allowed = {}
    for name, action in actions.items():
        ctypes.set_errno(0)
        try:
            result = action()
            error = ctypes.get_errno() if isinstance(result, int) and result < 0 else 0
        except ValueError:
            error = errno.EPERM  # how setrlimit says it
        except OSError as failure:
            error = failure.errno or 0
        if error != errno.EPERM and not (name == _ELSEWHERE and error == errno.EACCES):
            allowed[name] = os.strerror(error)
    return allowed
