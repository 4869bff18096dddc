"""The process that compares LaTeX expressions. A script, run by `algebra.py`, with one JSON argument.

Argument: {"paths": [...], "cpu_s": 3.0, "memory_mb": 2048}. Requests come on stdin and replies go to stdout,
one line of JSON each: ["reference", "prediction"] and then "same", "different", "unread" (the reference) or
"unknown". The first line is "ready", or says what is missing. A comparison may use `cpu_s` CPU seconds, in
which the first use of a symbol or function counts, and the process `memory_mb`; beyond the first its caller
ends the process, beyond the second it says "memory" and ends itself. Its caller replaces it.

The texts come from a model. They are parsed as LaTeX and never compiled: sympy's own parser, which evaluates
text, is taken out (`expressions.py`), and an audit hook refuses to compile text, to start processes, to open
sockets and to write. Where it was root and can, the process has become nobody, who may read the interpreter's
folders even where these are root's own; it may gain no rights, and may neither fork (where the kernel counts
its user's processes) nor write files. Where the kernel has Landlock, it can read nothing but the interpreter,
its libraries and the packages, and open no TCP connection; elsewhere, what nobody may read, and everything if
the interpreter is root's own. That is for mistakes in the parser, not a sandbox: there is no filter of system
calls.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import logging
import os
import resource
import signal
import sys
from typing import Any

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_PACKAGES = ("math_verify", "latex2sympy2_extended", "sympy", "mpmath", "antlr4")
# These make classes and functions by compiling text of their own, which holds nothing of an answer.
_MAY_COMPILE = {"collections", "dataclasses", "enum", "functools", "typing", "sympy.polys.monomials"}
_REFUSED = (
    "subprocess.",
    "socket.",
    "shutil.",
    "ftplib.",
    "smtplib.",
    "urllib.",
    "ctypes.",
    "pty.",
    "winreg.",
)
_REFUSED_OS = {
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.kill", "os.putenv"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.truncate", "os.link"),
    *("os.symlink", "os.unlink", "os.setxattr", "os.startfile"),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def guard(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: raises PermissionError for what parsing and comparing never need."""
    if event == "compile":
        source = arguments[0]
        if source is None or sys._getframe(1).f_globals.get("__name__") in _MAY_COMPILE:
            return
        # The import system compiles a module's file; text is compiled under a made-up name.
        if not str(arguments[1]).startswith("<"):
            return
    elif event == "open":
        if not (isinstance(arguments[2], int) and arguments[2] & _WRITING):
            return
    elif event not in _REFUSED_OS and not event.startswith(_REFUSED):
        return
    raise PermissionError(event)


def _beside(*names: str, folder: str = "") -> list[Any]:
    """Modules of this script's folder, or of one beside it."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), folder)
    sys.path.insert(0, path)
    modules = [importlib.import_module(name) for name in names]
    sys.path.remove(path)
    return modules


def _load(paths: list[str]) -> Any:
    """The comparison, its parser and its tables."""
    own_folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [*(path for path in sys.path if path != own_folder), *paths]
    (passing,) = _beside("passing")
    passing.install()
    (expressions,) = _beside("expressions")
    # The first uses build tables and load what is loaded late.
    for a, b in (
        (r"\sqrt{12}x+\frac{1}{2}", r"2\sqrt{3}x+0.5"),
        (r"x<2", r"(-\infty,2)"),
        (r"\sin^2 x+\ln 2", r"1+\ln 2-\cos^2 x"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\\sqrt{4}\end{pmatrix}"),
    ):
        expressions.compare(a, b)
    return expressions


def _give_up_rights(memory_mb: int) -> None:
    (layers,) = _beside("layers", folder="../sandbox")
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    sys.dont_write_bytecode = True
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # What may still be imported late; all else that is needed is loaded.
    readable = list(dict.fromkeys([os.path.dirname(os.__file__), *_package_folders()]))
    isolation = {"without": ()}
    ruleset, _ = layers._ruleset(readable, layers._landlock(isolation))
    layers._give_up_root(readable, confined=True, left_out=False)
    if ruleset >= 0:
        layers._check(layers._syscall(layers._RESTRICT_SELF, ruleset, 0), "landlock")
        os.close(ruleset)
    prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    memory = memory_mb << 20
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # a hard limit that is lower already
            resource.setrlimit(limit, (value, value))


def _package_folders() -> list[str]:
    return [os.path.dirname(os.path.dirname(str(sys.modules[name].__file__))) for name in _PACKAGES]


def main() -> None:
    settings = json.loads(sys.argv[1])
    logging.disable(logging.CRITICAL)
    answers, sys.stdout = sys.stdout, sys.stderr

    def reply(word: str) -> None:
        print(json.dumps(word), file=answers, flush=True)

    try:
        expressions = _load(settings["paths"])
        _give_up_rights(settings["memory_mb"])
    except Exception as error:
        return reply(f"{type(error).__name__}: {error}")
    sys.addaudithook(guard)
    reply("ready")
    for line in sys.stdin:
        reference, prediction = json.loads(line)
        # By ticks, which may be off by much: for where the caller, which counts exactly, is gone or stopped.
        signal.setitimer(signal.ITIMER_PROF, 10 * settings["cpu_s"] + 10)
        try:
            verdict = expressions.compare(reference, prediction)
        except (MemoryError, SystemError):
            return reply("memory")
        except Exception:
            verdict = "unknown"  # sympy met something that it cannot handle
        signal.setitimer(signal.ITIMER_PROF, 0)
        reply(verdict)


if __name__ == "__main__":
    main()
