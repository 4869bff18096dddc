"""Being told to stop: as a wish that whoever can save something heeds in its own time, and with a reason."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any, NamedTuple


class Stopped(Exception):
    """The search was asked to stop."""


class Stop:
    """Signals as a wish that is heeded where what is under way is whole, as a search between two turns, or a
    training between two steps; a second one ends it at once. A context manager; signals that the process
    ignores stay ignored.

    numbers: which signals (Ctrl-C and SIGTERM). said: for the user, when one comes.
    """

    number: int | None = None  # of the signal that came

    def __init__(
        self,
        numbers: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM),
        said: str = "stopping after what is under way; once more to leave at once",
    ) -> None:
        self._numbers, self._said = numbers, said

    def __enter__(self) -> Stop:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in self._numbers:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._wish)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _wish(self, number: int, _: object) -> None:
        self.number = number
        self.__exit__()
        print(self._said, file=sys.stderr, flush=True)

    def heed(self) -> None:
        """Raises Stopped if there was a signal."""
        if self.number is not None:
            raise Stopped

    def go_on(self, standing: str) -> None:
        """Re-raise a signal that came. standing: what there is to say then."""
        if self.number is not None:
            handler = signal.getsignal(self.number)
            try:
                if callable(handler):
                    handler(self.number, None)
                else:
                    signal.raise_signal(self.number)
            except KeyboardInterrupt as error:
                raise type(error)(f"stopped; {standing}") from None


class Reason(NamedTuple):
    """A reason to stop. status: its exit status. text: for the user. grace_s: how long it may take
    to end in order."""

    status: int
    text: str
    grace_s: float


_reason: Reason | None = None
_asked = False


def note() -> None:
    """Remember that this process is asked to stop: for whoever hears of signals."""
    global _asked
    _asked = True


def asked() -> bool:
    """Tell whether this process was asked to stop, by a signal."""
    return _asked


def reason() -> Reason | None:
    """Say why this process has told itself to stop, if it has."""
    return _reason


def settle(why: Reason) -> None:
    """Have this process, which is about to end, do so for a reason. The first one counts."""
    global _reason
    if _reason is None:
        _reason = why


def stop_myself(why: Reason) -> None:
    """End this process as SIGTERM does, from any thread, with a reason of its own. The first one counts."""
    if _reason is None:
        settle(why)
        os.kill(os.getpid(), signal.SIGTERM)
