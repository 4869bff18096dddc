"""One line that says that work goes on: rewritten on a terminal, elsewhere printed where all else is silent.

It goes to a stream beside the results (standard error), so that these are the same with and without it. A
thread of its own draws it: models load, programs compile and long prompts are read in single calls, and that
is when somebody wonders whether anything happens.
"""

from __future__ import annotations

import collections
import os
import shutil
import threading
import time
from collections.abc import Callable
from typing import TextIO

from rstar_jax.report.progress import clock_text

REDRAW = 0.25  # seconds between two drawings
WINDOW = 10.0  # seconds over which the rate is taken
_ERASE = "\x1b[K"  # from the cursor, which stays at the line's start, to its end


class Status:
    """A context manager: it is shown until the block ends, and leaves a terminal's line empty.

    interval: seconds without a line of any kind after which one is printed where `out` is no terminal; None:
    never. clock: seconds, monotonic.

    To be set as things go on. doing: what is done before the first token. compiling: the program that is
    compiled now, or "". tokens: how many are sampled until now. note: how far it is.
    """

    def __init__(
        self,
        out: TextIO,
        *,
        interval: float | None = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out, self._interval, self._clock = out, interval, clock
        self._terminal = out.isatty() and os.environ.get("TERM") != "dumb"
        self.doing = self.compiling = self.note = ""
        self.tokens: Callable[[], int] = lambda: 0
        self._began = self._last = clock()  # when a line was printed last, by anybody
        self._samples: collections.deque[tuple[float, int]] = collections.deque()
        self._next_note = 0.0
        self._drawn = False
        self._lock = threading.RLock()  # a signal's handler may clear while the line is drawn
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Status:
        if self._terminal or self._interval is not None:
            self._thread = threading.Thread(target=self._run, name="status", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        self.clear()

    def is_due(self) -> bool:
        """Return, once in REDRAW seconds, that what takes a while to say is to be said anew."""
        now = self._clock()
        if now < self._next_note:
            return False
        self._next_note = now + REDRAW
        return True

    def compiles(self, program: str) -> None:
        """Say which program is compiled now; "": none any more."""
        self.compiling = program

    def clear(self) -> None:
        """Empty the line, for somebody who is about to print."""
        with self._lock:
            self._last = self._clock()
            if self._drawn:
                self._drawn = False
                self._write(_ERASE)

    def line(self) -> str:
        """Return what there is to say now."""
        now, count = self._clock(), self.tokens()
        self._samples.append((now, count))
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW:
            self._samples.popleft()
        first, before = self._samples[0]
        parts = [clock_text(now - self._began), self.note]
        if count:
            rate = (count - before) / (now - first) if now > first else 0.0
            parts += [f"{count:,} tokens", f"{rate:.0f} tokens/s"]
        parts.append(f"compiling: {self.compiling}" if self.compiling else "" if count else self.doing)
        return "  ".join(part for part in parts if part)

    def _run(self) -> None:
        while not self._end.wait(REDRAW):
            self.draw()

    def draw(self) -> None:
        """Show the line, if it is due. Called by the thread."""
        with self._lock:
            text = self.line()
            if self._terminal:
                columns = shutil.get_terminal_size().columns
                self._drawn = True
                self._write(f"{text[: columns - 1]}{_ERASE}\r")
            elif self._interval is not None and self._clock() - self._last >= self._interval:
                self._last = self._clock()
                self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):  # whoever read it is gone; the results are not
            self._end.set()
