"""Signals as a wish to stop."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any


class Stopped(Exception):
    """The search was asked to stop."""


class Stop:
    """Ctrl-C, or SIGTERM, as a wish that a search heeds between two turns, when its tree is whole; a second
    one ends it at once. A context manager; signals that the process ignores stay ignored."""

    signal: int | None = None

    def __enter__(self) -> Stop:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._wish)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _wish(self, number: int, _: object) -> None:
        self.signal = number
        self.__exit__()
        print("stopping after what is under way; once more to leave at once", file=sys.stderr, flush=True)

    def heed(self) -> None:
        """Raises Stopped if there was a signal."""
        if self.signal is not None:
            raise Stopped

    def go_on(self, standing: str) -> None:
        """Re-raise a signal that came. standing: what there is to say then."""
        if self.signal is not None:
            try:
                signal.raise_signal(self.signal)
            except KeyboardInterrupt as error:
                raise type(error)(f"stopped; {standing}") from None
