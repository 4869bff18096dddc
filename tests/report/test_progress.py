"""The display: rates, time left, few lines in a log, and a terminal left in order."""

import io
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from rstar_jax.report.progress import Progress, clock_text


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "CI"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def test_log_has_a_line_per_interval_with_rates_and_time_left():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(interval=5.0, stream=stream, clock=clock)
    with progress.stage("search", 100, "problems", 2):
        for i in range(2000):  # 20 seconds; 5 problems, 10 trajectories, 1,000 tokens a second
            clock.now += 0.01
            progress.update(i // 20, trajectories=i // 10, tokens=i * 10)
    lines = stream.getvalue().splitlines()
    assert 4 <= len(lines) <= 5
    assert lines[1].startswith("round 2  search  ")
    assert " problems  " in lines[1] and "/100 " in lines[1]
    rate = re.search(r"([\d.]+) trajectories/s  1,000 tokens/s", lines[1])
    assert rate and float(rate[1]) == pytest.approx(10, rel=0.02)
    assert "0:10 left  0:10 elapsed" in lines[1]
    assert lines[-1].startswith("round 2  search  done  99/100 problems  99%  in 0:20")


def test_what_takes_its_time_is_said_before_it_does():
    """On a terminal whenever it changes, in a log once a stage; and is gone when it is done."""
    clock, stream = Clock(), io.StringIO()
    progress = Progress(interval=5.0, stream=stream, clock=clock)
    with progress.stage("search", 10, "problems", 1):
        for doing in ("compiling: read", "", "compiling: decode", ""):
            clock.now += 0.1
            progress.update(doing=doing)
        clock.now += 5
        progress.update(tokens=10)
    first, later, end = stream.getvalue().splitlines()
    assert first.startswith("round 1  search  ") and first.endswith("elapsed  compiling: read")
    assert "compiling" not in later + end and "tokens/s" in later


def test_a_terminal_shows_at_once_what_takes_its_time(terminal):
    clock = Clock()
    with Progress(stream=terminal, clock=clock) as progress, progress.stage("search", 10, "problems", 1):
        for doing in ("compiling: read", "compiling: decode"):
            clock.now += 0.01
            progress.update(doing=doing)
            assert doing in terminal.getvalue()


def test_rates_follow_the_last_ten_seconds():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(interval=1.0, stream=stream, clock=clock)
    with progress.stage("search", None, "problems", None):
        tokens = 0
        for i in range(60):
            clock.now += 1.0
            tokens += 1000 if i < 30 else 10
            progress.update(i, tokens=tokens)
        assert stream.getvalue().splitlines()[-1].endswith("10.0 tokens/s  1:00 elapsed")


def test_time_left_counts_only_this_runs_work():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(interval=1.0, stream=stream, clock=clock)
    with progress.stage("search", 100, "problems", 1, done=80):
        clock.now += 10.0
        progress.update(90)
    assert "0:10 left" in stream.getvalue()


def test_time_left_of_a_resumed_training_counts_only_this_runs_steps():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(interval=1.0, stream=stream, clock=clock)
    with progress.stage("train the policy", None, "steps", 1):
        clock.now += 2
        progress.update(51, earlier=50, total=60)
    assert "51/60 steps  85%  0:18 left" in stream.getvalue()


def test_disabled_is_silent():
    stream = io.StringIO()
    progress = Progress(enabled=False, interval=0.0, stream=stream)
    with progress.stage("search", 3, "problems", 1):
        progress.update(1)
        progress.log("nothing")
    assert stream.getvalue() == ""


def test_update_outside_a_stage_is_ignored():
    Progress(stream=io.StringIO()).update(3)


def test_total_may_come_late():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(interval=1.0, stream=stream, clock=clock)
    with progress.stage("train the policy", None, "steps", 1):
        clock.now += 2
        progress.update(5, total=20)
    assert "5/20 steps  25%  0:06 left" in stream.getvalue()


def test_a_stage_may_tell_itself_what_is_left():
    """Asked when it is shown, and never told as nothing while something is not done."""
    clock, stream = Clock(), io.StringIO()
    progress = Progress(interval=1.0, stream=stream, clock=clock)
    with progress.stage("search", 100, "problems", 1):
        for done, left in ((98, 90.0), (99, 0.2), (99, None)):
            clock.now += 2
            progress.update(done, left=lambda left=left: left)
        clock.now += 2
        progress.update(100)
    first, second, third, fourth = stream.getvalue().splitlines()[:4]
    assert "98%  1:30 left" in first and "99%  0:01 left" in second
    assert " left" not in third + fourth


def test_the_last_of_many_take_a_second_at_least():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(interval=1.0, stream=stream, clock=clock)
    with progress.stage("train the policy", 1000, "steps", 1):
        clock.now += 2
        progress.update(999)
    assert "0:01 left" in stream.getvalue()


def test_threads_may_update():
    stream = io.StringIO()
    progress = Progress(interval=0.0, stream=stream)
    with progress.stage("search", 400, "problems", 1), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: progress.update(i, tokens=i), range(400)))
    assert len(stream.getvalue().splitlines()) == 401


def test_nested_stages_return_to_the_outer():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(interval=1.0, stream=stream, clock=clock)
    with progress.stage("outer", 10, "rounds"):
        with progress.stage("inner", 5, "steps"):
            progress.update(5)
        clock.now += 2
        progress.update(7)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("inner  done  5/5 steps")
    assert lines[1].startswith("outer  7/10 rounds")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_stage_leaves_the_terminal_in_order(terminal, error):
    clock = Clock()
    progress = Progress(stream=terminal, clock=clock)
    with pytest.raises(error), progress.stage("train", 10, "steps", 3):
        clock.now += 1
        progress.update(4, tokens=5000, note="[loss 0.5]")
        progress.log("a line above")
        raise error
    text = terminal.getvalue()
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # cursor shown last
    assert "[loss 0.5]" in text and "a line above" in text
    assert f"stopped by {error.__name__}" in text.splitlines()[-1]
    assert sys.stdout is not terminal


def test_terminal_is_redrawn_in_place_and_at_most_four_times_a_second(terminal):
    clock = Clock()
    progress = Progress(stream=terminal, clock=clock)
    with progress.stage("search", 1000, "problems", 1):
        for i in range(1000):
            clock.now += 0.001
            progress.update(i)
    assert terminal.getvalue().count("round 1  search") <= 8


def test_killed_run_leaves_the_cursor_shown():
    code = (
        "import os, sys, rich.console as c\n"
        "from rstar_jax.report.progress import Progress\n"
        "sys.stdout.isatty = lambda: True\n"
        "p = Progress()\n"
        "with p.stage('search', 10, 'problems', 1):\n"
        "    p.update(1); sys.stdout.flush(); os.kill(os.getpid(), 9)\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "TERM": "xterm", "PYTHONPATH": ":".join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == -9
    assert "\x1b[?25l" in done.stdout
    assert done.stdout.rfind("\x1b[?25h") > done.stdout.rfind("\x1b[?25l")


def test_clock_text():
    assert [clock_text(s) for s in (0, 61.4, 3600, 86399.7)] == ["0:00", "1:01", "1:00:00", "24:00:00"]
