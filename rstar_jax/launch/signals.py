"""Signals, and how the process is left.

    running  --SIGINT or SIGTERM--> KeyboardInterrupt or Terminated is raised; `main` says where it stands
    stopping --another one--------> the process ends at once, with that one's status

Once `main` has returned, `leave` ends the process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import NoReturn

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a run as Ctrl-C does."""


def install() -> None:
    """Have SIGINT and SIGTERM end this process in order; those that it ignores stay ignored."""
    _have(_stop)


def leave(status: int) -> NoReturn:
    """End the process with this exit status.

    A run that was stopped may leave JAX compiling in a thread of its own, which nothing can cancel or wait
    for. The interpreter's end destroys JAX's client under that thread: a crash or a deadlock, in either case
    another exit status. So only a run that came to its end is left that way; its processes end by themselves
    when their pipes close.
    """
    _have(_end)
    if not status:
        sys.exit()
    for output in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            output.flush()
    os._exit(status)


def _have(handler: signal._HANDLER) -> None:
    for number in _NUMBERS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _stop(number: int, _: object) -> None:
    _have(_end)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _end(number: int, _: object) -> None:
    os._exit(128 + number)
