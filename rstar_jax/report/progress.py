"""One live display on a terminal, a plain line every few seconds anywhere else.

No thread of its own: the display is redrawn by the updates, from whichever thread they come, at most four
times a second, so an update costs a clock reading. While the program is inside one long call the display
stands still.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

REDRAW = 0.25  # seconds between two drawings of the live display
WINDOW = 10.0  # seconds over which rates are taken

TimeLeft = Callable[[], float | None]  # estimates the seconds that are left; None: nothing tells yet


@dataclasses.dataclass
class _Stage:
    """A stage in progress; `samples` holds (time, trajectories, tokens) of about the last WINDOW seconds."""

    name: str
    total: int | None
    unit: str
    round: int | None
    began: float
    start: int
    done: int
    trajectories: int | None = None
    tokens: int | None = None
    note: str = ""
    doing: str = ""
    left: TimeLeft | None = None
    is_active: bool = False  # has announced that it does something
    samples: collections.deque[tuple[float, int, int]] = dataclasses.field(default_factory=collections.deque)


class Progress:
    """Shows what a run is doing. Also a context manager that leaves the terminal as it was.

    enabled: False prints nothing at all (every process of a run but the first).
    interval: seconds between two lines where `stream` is no terminal.
    stream: standard output as it is now unless given. clock: seconds, monotonic.
    """

    def __init__(
        self,
        enabled: bool = True,
        interval: float = 5.0,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._enabled, self._interval, self._clock = enabled, interval, clock
        self._stream = sys.stdout if stream is None else stream
        self._console = Console(file=self._stream, highlight=False)
        self._began = clock()
        self._stages: list[_Stage] = []
        self._live: Live | None = None
        self._lock = threading.RLock()
        self._next = 0.0  # when the next drawing or line is due
        self._next_sample = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._stages.clear()
        self._stop()

    @contextlib.contextmanager
    def stage(
        self, name: str, total: int | None = None, unit: str = "", round: int | None = None, *, done: int = 0
    ) -> Iterator[Progress]:
        """Show a stage until the block ends, then leave one line that sums it up.

        total: how many `unit`s it has, None where unknown. done: how many an earlier, interrupted run
        left done, so that the time left comes from this run's work alone. Stages may nest; the innermost
        is shown. A block that raises leaves a line that says so, and a terminal in order.
        """
        stage = _Stage(name, total, unit, round, self._clock(), done, done)
        self._stages.append(stage)
        self._next = self._clock() + (0.0 if self._terminal else self._interval)
        self._next_sample = 0.0
        try:
            self._draw()
            yield self
        except BaseException as error:
            self._finish(stage, f"stopped by {type(error).__name__}")
            raise
        else:
            self._finish(stage, "done")

    def update(
        self,
        done: int | None = None,
        *,
        earlier: int | None = None,
        total: int | None = None,
        trajectories: int | None = None,
        tokens: int | None = None,
        note: str = "",
        doing: str | None = None,
        left: TimeLeft | None = None,
    ) -> None:
        """Tell how far the innermost stage is; numbers are cumulative within the stage. Cheap to call often.

        What is None, or an empty note, stays as it was. earlier, total: what an interrupted run left done and
        how many there are, where that was not known when the stage began.
        doing: what takes its time now and tells nothing until it is done; it is shown at once, in a log the
        first of a stage. left: called where a line is shown; without it the mean pace tells.
        May be called from several threads.
        """
        with self._lock:
            if not self._stages:
                return
            stage, now = self._stages[-1], self._clock()
            stage.done, stage.note = stage.done if done is None else done, note or stage.note
            if doing is not None and doing != stage.doing:
                stage.doing = doing
                if doing and (self._terminal or not stage.is_active):
                    self._next, stage.is_active = now, True
            stage.start = stage.start if earlier is None else earlier
            stage.total = stage.total if total is None else total
            stage.trajectories = stage.trajectories if trajectories is None else trajectories
            stage.tokens = stage.tokens if tokens is None else tokens
            stage.left = stage.left if left is None else left
            if now >= self._next_sample:
                self._next_sample = now + REDRAW
                stage.samples.append((now, stage.trajectories or 0, stage.tokens or 0))
                while len(stage.samples) > 2 and stage.samples[1][0] <= now - WINDOW:
                    stage.samples.popleft()
            if now >= self._next:
                self._next = now + (REDRAW if self._terminal else self._interval)
                if self._terminal:
                    self._draw()
                else:
                    self._print(self._line(stage, now))

    def log(self, text: str) -> None:
        """Print a line above the display."""
        self._print(text)

    @property
    def current(self) -> str | None:
        """The innermost stage's name; None between stages."""
        return self._stages[-1].name if self._stages else None

    @property
    def _terminal(self) -> bool:
        return self._enabled and self._console.is_terminal

    def _print(self, text: str) -> None:
        if self._enabled:
            # soft_wrap: a log's lines are not broken at the width that a terminal happens to have
            self._console.print(Text(text), soft_wrap=True)
            self._stream.flush()

    def _draw(self) -> None:
        if not self._terminal:
            return
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
            # rich hides the cursor; a run that is killed outright could not show it again
            self._console.show_cursor(True)
        self._live.update(self._display(self._stages[-1], self._clock()), refresh=True)

    def _finish(self, stage: _Stage, how: str) -> None:
        if stage in self._stages:
            self._stages = self._stages[: self._stages.index(stage)]
        if not self._stages:
            self._stop()
        now = self._clock()
        ran = now - stage.began
        parts = [_title(stage), how, _count(stage), f"in {clock_text(ran)}"]
        parts += _rates(stage.trajectories, stage.tokens, ran)
        parts += [f"{clock_text(now - self._began)} elapsed", stage.note]
        self._print("  ".join(part for part in parts if part))

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _line(self, stage: _Stage, now: float) -> str:
        parts = [_title(stage), _count(stage), *self._pace(stage, now), stage.note, stage.doing]
        return "  ".join(part for part in parts if part)

    def _pace(self, stage: _Stage, now: float) -> list[str]:
        first = stage.samples[0] if stage.samples else (now, 0, 0)
        if now - first[0] < 1.0:  # too short a window: since the stage began
            first = (stage.began, 0, 0)
        trajectories = None if stage.trajectories is None else stage.trajectories - first[1]
        tokens = None if stage.tokens is None else stage.tokens - first[2]
        left = _time_left(stage, now)
        elapsed = f"{clock_text(now - self._began)} elapsed"
        return [*_rates(trajectories, tokens, now - first[0]), f"{left} left" if left else "", elapsed]

    def _display(self, stage: _Stage, now: float) -> RenderableType:
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(_title(stage), style="bold"),
            ProgressBar(total=stage.total, completed=stage.done, width=30, animation_time=now),
            Text(_count(stage)),
        )
        pace = "  ".join(part for part in (*self._pace(stage, now), stage.note, stage.doing) if part)
        return Group(head, Text("  " + pace, style="dim", no_wrap=True, overflow="ellipsis"))


def _title(stage: _Stage) -> str:
    return stage.name if stage.round is None else f"round {stage.round}  {stage.name}"


def _count(stage: _Stage) -> str:
    unit = f" {stage.unit}" if stage.unit else ""
    if stage.total is None:
        return f"{stage.done:,}{unit}" if stage.done else ""
    share = f"  {stage.done / stage.total:.0%}" if stage.total else ""
    return f"{stage.done:,}/{stage.total:,}{unit}{share}"


def _rates(trajectories: int | None, tokens: int | None, seconds: float) -> list[str]:
    if seconds <= 0:
        return []
    pairs = ((trajectories, "trajectories/s"), (tokens, "tokens/s"))
    return [f"{_number(count / seconds)} {unit}" for count, unit in pairs if count is not None]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _time_left(stage: _Stage, now: float) -> str:
    """The stage's own estimate; else by the mean pace since it began: items end in waves, so a short window
    would jump about. What is not done takes at least a second."""
    won, seconds = stage.done - stage.start, None
    if stage.total is None or stage.done >= stage.total:
        return ""
    if stage.left is not None:
        seconds = stage.left()
    elif won > 0 and now > stage.began:
        seconds = (stage.total - stage.done) * (now - stage.began) / won
    return "" if seconds is None else clock_text(max(1.0, seconds))


def clock_text(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
