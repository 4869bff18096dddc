"""The line that says that work goes on: it is there when all else is silent, and never in the way."""

import io
import threading
import time

import pytest

from rstar_jax.report.status import Status


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_it_counts_tokens_and_tells_what_is_compiled():
    clock = Clock()
    status = Status(io.StringIO(), clock=clock)
    status.doing = "loading"
    assert status.line() == "0:00  loading"
    status.compiles("decode")
    assert status.line() == "0:00  compiling: decode"
    clock.now, status.tokens = 104.0, lambda: 200
    status.compiles("")
    assert status.line() == "0:04  200 tokens  50 tokens/s"
    for _ in range(40):  # the rate is that of the last ten seconds
        clock.now += 1
        status.line()
    status.note = "rollout 2, 5 steps"
    assert status.line() == "0:44  rollout 2, 5 steps  200 tokens  0 tokens/s"


def test_a_log_has_a_line_only_where_nothing_else_was_said():
    clock, out = Clock(), io.StringIO()
    status = Status(out, interval=10.0, clock=clock)
    status.doing = "loading"
    for _ in range(100):
        clock.now += 0.25
        status.draw()
    assert out.getvalue() == "0:10  loading\n0:20  loading\n"
    status.clear()  # somebody prints
    for _ in range(39):
        clock.now += 0.25
        status.draw()
    assert out.getvalue().count("\n") == 2


def test_a_terminal_is_left_empty_for_who_prints(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    out = Terminal()
    status = Status(out, clock=Clock())
    status.doing = "x" * 50
    status.draw()
    assert out.getvalue() == "0:00  " + "x" * 13 + "\x1b[K\r"  # the cursor at the line's start
    status.clear()
    status.clear()
    assert out.getvalue().endswith("\r\x1b[K") and out.getvalue().count("\x1b[K") == 2
    monkeypatch.setenv("TERM", "dumb")
    plain = Terminal()
    Status(plain, interval=None, clock=Clock()).draw()
    assert plain.getvalue() == ""


@pytest.mark.parametrize("interval", [0.0, None])
def test_it_is_drawn_while_its_program_is_in_one_long_call(interval):
    out, before = io.StringIO(), threading.active_count()
    with Status(out, interval=interval) as status:
        status.doing = "loading"
        until = time.monotonic() + 20
        while not out.getvalue() and time.monotonic() < until and interval is not None:
            time.sleep(0.01)
    assert threading.active_count() == before
    assert ("loading" in out.getvalue()) == (interval is not None)


def test_a_reader_that_is_gone_ends_the_line_and_nothing_else():
    out = io.StringIO()
    with Status(out, interval=0.0) as status:
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "status")
        out.close()
        status.draw()
        thread.join(timeout=20)
        assert not thread.is_alive()
