"""Signals, and how the process is left.

    running  --SIGINT or SIGTERM--> KeyboardInterrupt or Terminated is raised; `main` says where it stands
             --in vain, or while--> raised again, `_AGAIN_S` later
               compiled code is loaded
    stopping --another one--------> the process ends at once, with that one's status
    stopping --`GRACE_S` after-----> the process ends, whatever it does
               SIGTERM

In vain is where Python ignores exceptions: in destructors and in callbacks of the garbage collector. JAX has
such a callback, and it is the first Python code to run behind many a long call, in which a signal has waited.
Compiled code that is being loaded (jaxlib's, for one) may crash where the Python code that it calls raises.

Python runs handlers between two steps of its main thread alone, which may spend minutes in one call: a
compilation, a read from a disk that hangs, a collective that waits for a host. A thread of its own hears of
signals when they come and ends the process in time: what is whole is on disk by then, and the rest is what
kill -9 would lose.

Once `main` has returned, `leave` ends the process. Standard library only: this is there before all else.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import select
import signal
import sys
import threading
import time
import types
from typing import Any, NoReturn

from rstar_jax import stopping

# Seconds that a process has from SIGTERM on: clusters kill it 30 s after theirs, at the earliest.
GRACE_S = 20.0
# The same from a second signal on.
SECOND_S = 5.0
_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_AGAIN_S = 0.01


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a run as Ctrl-C does."""


def install() -> None:
    """Have SIGINT and SIGTERM end this process in order; those that it ignores stay ignored."""
    sys.unraisablehook = _raised_in_vain
    _have(_stop)
    _watch()


def status(signalled: KeyboardInterrupt) -> int:
    """The exit status of a process that a signal has stopped."""
    return _status(number(signalled))


def message(signalled: KeyboardInterrupt) -> str:
    """Text for the user."""
    if (why := stopping.reason()) is not None:
        return why.text
    how = "terminated" if isinstance(signalled, Terminated) else "stopped"
    return str(signalled) or f"{how}; the same command goes on where it was."


def say(signalled: KeyboardInterrupt) -> int:
    """Say that a run was stopped before it had begun; returns its exit status."""
    with contextlib.suppress(OSError):
        print(f"\n{message(signalled)}", file=sys.stderr, flush=True)
    return status(signalled)


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


def _watch() -> None:
    """Have a thread end this process where its main thread does not come to it."""
    heard, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)  # written to by the system's handler, at once
    # A fork would write its own signals into this pipe.
    os.register_at_fork(after_in_child=functools.partial(signal.set_wakeup_fd, -1))
    threading.Thread(target=_end_in_time, args=(heard,), name="signals", daemon=True).start()


def _end_in_time(heard: int) -> NoReturn:
    """Ends the process once its time is over. heard: a pipe, a byte in it for the number of each signal."""
    last, ends = 0, math.inf
    while (left := ends - time.monotonic()) > 0:
        if not select.select([heard], [], [], None if left == math.inf else left)[0]:
            continue
        for number in os.read(heard, 64):
            if number not in _NUMBERS:
                continue
            stopping.note()
            grace = SECOND_S if last else GRACE_S if number == signal.SIGTERM else math.inf
            if not last and (why := stopping.reason()) is not None:
                grace = why.grace_s
            last, ends = number, min(ends, time.monotonic() + grace)
    why = stopping.reason()
    text = why.text if why is not None else "terminated in the middle of something; the same command goes on."
    with contextlib.suppress(OSError):  # past Python's buffers, which may be locked
        os.write(2, f"\n{text}\n".encode())
    os._exit(_status(last))


def _status(number: int) -> int:
    why = stopping.reason()
    return why.status if why is not None else 128 + number


def _have(handler: signal._HANDLER) -> None:
    for number in _NUMBERS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _stop(number: int, frame: types.FrameType | None) -> None:
    if _loads(frame):
        return _stop_later(number)
    _have(_end)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _raised_in_vain(unraisable: Any) -> None:
    """Hook for exceptions that Python ignores: a signal's is raised again from a timer."""
    error = unraisable.exc_value
    if not isinstance(error, KeyboardInterrupt):
        return sys.__unraisablehook__(unraisable)
    _stop_later(number(error))


def _stop_later(number: int) -> None:
    signal.signal(signal.SIGALRM, lambda _, frame: _stop(number, frame))
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


def _loads(frame: types.FrameType | None) -> bool:
    """Tell if compiled code is being loaded beneath a frame."""
    while frame is not None:
        if frame.f_code.co_qualname.startswith("ExtensionFileLoader."):
            return True
        frame = frame.f_back
    return False


def number(signalled: KeyboardInterrupt) -> int:
    """The number of the signal that was raised."""
    return signal.SIGTERM if isinstance(signalled, Terminated) else signal.SIGINT


def _end(number: int, _: object) -> None:
    os._exit(_status(number))
