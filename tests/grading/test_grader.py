"""The processes behind grading: what they survive, what they refuse, and that nobody waits for ever."""

import os
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

from rstar_jax.errors import UserError
from rstar_jax.grading import algebra
from rstar_jax.grading.algebra import Allowance, Inquiry, Pool, Worker
from rstar_jax.grading.answer import Grader
from rstar_jax.sandbox.watch import cpu_seconds
from tests.grading.graders import ENDLESS, SQUARE_ROOT
from tests.sandbox.processes import soon


def test_order_is_kept_and_a_pair_is_judged_once(grader, monkeypatch):
    asked, ask = [], Pool.ask
    monkeypatch.setattr(Pool, "ask", lambda pool, *pair: (asked.append(pair), ask(pool, *pair))[1])
    pairs = [("x+3", "3+x"), ("5", "5.0"), ("x+3", "x+4"), ("x+3", "3+x"), *[("1", str(n)) for n in range(9)]]
    assert grader.grade(pairs) == ["right", "right", "wrong", "right", "wrong", "right", *["wrong"] * 7]
    assert len(asked) == 2
    assert grader.grade(pairs[:4]) == ["right", "right", "wrong", "right"]
    assert len(asked) == 2
    assert grader.grade([]) == []


def test_threads_may_share_a_grader(grader):
    found = {}

    def work(n):
        found[n] = grader.grade([(rf"\sqrt{{{n * n * 2}}}", rf"{k}\sqrt{{2}}") for k in (n, n + 1)])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2, 14)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: ["right", "wrong"] for n in range(2, 14)}


def test_what_takes_too_long_is_ungraded_and_its_neighbours_are_graded(grader):
    start = time.monotonic()
    assert grader.grade([(ENDLESS, "5"), SQUARE_ROOT, ("7", ENDLESS)]) == ["ungraded", "right", "ungraded"]
    assert time.monotonic() - start < 60
    assert grader.grade([(r"\sqrt{45}", r"3\sqrt{5}")]) == ["right"]


def test_what_cost_too_much_is_not_paid_for_twice(grader, monkeypatch):
    pair = (ENDLESS, "8")
    assert grader.grade([pair]) == ["ungraded"]
    monkeypatch.setattr(Pool, "ask", None)
    assert grader.grade([pair]) == ["ungraded"]


def test_a_lost_process_is_no_verdict_to_be_remembered(monkeypatch):
    with Grader(workers=1) as grader:
        read = algebra._line
        monkeypatch.setattr(algebra, "_line", lambda process, *_: (process.kill(), read(process, 30.0))[1])
        grader._pool._all[0]._start = lambda: pytest.fail("started once more")
        grader._pool._all[0]._process = subprocess.Popen(
            ["sleep", "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert grader.grade([SQUARE_ROOT]) == ["ungraded"]
        monkeypatch.undo()
        del grader._pool._all[0]._start
        assert grader.grade([SQUARE_ROOT]) == ["right"]


def test_a_frozen_process_is_replaced_and_asked_again(monkeypatch):
    """Frozen twice, once after it had used much of its CPU time: no verdict is lost."""
    worker = Worker(Allowance(wall_s=1.0))
    start, started = worker._start, []

    def start_frozen():
        process = start()
        monkeypatch.setattr(worker, "_allowance", Allowance(wall_s=60.0 if len(started) == 2 else 1.0))
        if len(started) < 2:
            os.kill(process.pid, signal.SIGSTOP)
        started.append(process.pid)
        return process

    monkeypatch.setattr(worker, "_start", start_frozen)
    monkeypatch.setattr(algebra, "cpu_seconds", lambda pid: 2.9 * (len(started) == 1))
    assert worker.compare(*SQUARE_ROOT) == "same"
    assert len(set(started)) == 3
    worker.stop()


def test_time_in_which_the_caller_stood_still_does_not_count(monkeypatch):
    with subprocess.Popen(["sh", "-c", "sleep 1; echo 5"], stdout=subprocess.PIPE, bufsize=0) as process:
        clock, jumps = time.monotonic, iter((0.0, 3600.0))
        monkeypatch.setattr(algebra.time, "monotonic", lambda: clock() + next(jumps, 3600.0))
        assert algebra._line(process, 30.0) == b"5\n"


def test_cpu_time_is_what_the_exact_clock_says(monkeypatch):
    """What ticks say of the same process ends nothing: by a clock that stands it never gets its time."""
    worker = Worker(Allowance(cpu_s=0.3, wall_s=60.0))
    assert worker.compare("5", ENDLESS) == "unknown"
    worker.stop()
    worker = Worker(Allowance(cpu_s=0.3, wall_s=0.5))
    monkeypatch.setattr(algebra, "cpu_seconds", lambda pid: 0.0)
    assert worker.compare("5", ENDLESS) == "lost"
    worker.stop()


def test_a_process_that_ticks_ended_is_asked_again(monkeypatch):
    worker = Worker(Allowance())
    start, started = worker._start, []

    def overcharged():
        process = start()
        started.append(process.pid)
        if len(started) == 1:
            os.kill(process.pid, signal.SIGSTOP)
            os.kill(process.pid, signal.SIGPROF)
            os.kill(process.pid, signal.SIGCONT)
        return process

    monkeypatch.setattr(worker, "_start", overcharged)
    assert worker.compare(*SQUARE_ROOT) == "same"
    assert len(started) == 2
    worker.stop()


def test_one_pair_may_cost_a_few_allowances():
    class FakePool:
        allowance = Allowance(cpu_s=1.0)
        asked = 0

        def ask(self, reference, prediction):
            self.asked += 1
            return "different", 0.9

    pool = FakePool()
    inquiry = Inquiry(pool)
    assert [inquiry.compare("x", "y") for _ in range(9)] == ["different"] * 4 + ["unknown"] * 5
    assert pool.asked == 4
    assert not inquiry.lost


def test_a_process_that_died_while_idle_costs_no_verdict(started):
    worker = Worker(Allowance())
    assert worker.compare(*SQUARE_ROOT) == "same"
    (pid,) = started()
    os.kill(pid, signal.SIGKILL)
    assert soon(lambda: not started())
    assert worker.compare(*SQUARE_ROOT) == "same"
    worker.stop()


_FORKING = r"""
import os, signal
from rstar_jax.grading.answer import Grader

def verdicts(k):
    return [grader.grade([(rf"\sqrt{{{n * n * k}}}", rf"{n}\sqrt{{{k}}}")])[0] for n in range(2, 20)]

with Grader(workers=2) as grader:
    assert verdicts(3) == ["right"] * 18
    pair = [(r"\sqrt{2}+1", r"\sqrt{3}+1"), (r"\sqrt{2}+2", r"\sqrt{3}+2")]  # two: by its threads
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        try:
            found = [grader.grade(pair), *(grader.grade([(f"x+{n}", f"{n + 1}+x")]) for n in range(40))]
            os.write(writer, b"well" if found == [["wrong"] * 2, *[["wrong"]] * 40] else b"wrong labels")
        finally:
            os._exit(0)
    os.close(writer)
    assert verdicts(5) == ["right"] * 18
    with open(reader, "rb") as pipe:
        assert pipe.read() == b"well"
    assert os.waitpid(pid, 0)[1] == 0
    assert verdicts(7) == ["right"] * 18
print("well")
"""


def test_a_fork_has_processes_of_its_own():
    """With algebra in both, at the same time: neither reads the other's replies.

    In a process of its own: this one may have JAX in it, whose threads do not survive a fork.
    """
    done = subprocess.run([sys.executable, "-c", _FORKING], capture_output=True, text=True, timeout=300)
    assert done.stdout == "well\n", done.stderr


def test_after_close_there_is_no_grading_and_no_process(started):
    grader = Grader(workers=2)
    assert grader.grade([SQUARE_ROOT]) == ["right"]
    grader.close()
    grader.close()
    for pairs in ([SQUARE_ROOT], [("x+1", "1+x")], [("x+1", "1+x"), ("x+2", "2+x")], []):
        with pytest.raises(RuntimeError, match="closed"):
            grader.grade(pairs)
    assert not started()


def test_a_pool_that_was_stopped_starts_nothing(started):
    pool = Pool(2, Allowance())
    assert pool.ask(*SQUARE_ROOT)[0] == "same" and started()
    pool.stop()
    with pytest.raises(RuntimeError):
        pool.ask("x", "y")
    assert not started()


def test_a_comparison_under_way_at_the_end_is_lost(started):
    worker = Worker(Allowance(cpu_s=60.0, wall_s=60.0))
    assert worker.compare(*SQUARE_ROOT) == "same"
    (pid,) = started()
    used = cpu_seconds(pid)
    found = []
    thread = threading.Thread(target=lambda: found.append(worker.compare("5", ENDLESS)))
    thread.start()
    assert soon(lambda: cpu_seconds(pid) > used + 0.01)
    worker.stop()
    thread.join(timeout=30)
    assert found == ["lost"]
    assert not started()
    assert worker.compare(*SQUARE_ROOT) == "lost"
    assert not started()


def test_a_stalled_host_is_asked_once_more(monkeypatch):
    worker = Worker(Allowance(cpu_s=2.0, wall_s=0.3))
    read, times = algebra._line, []

    def stalled(process, seconds, *_):
        if seconds == algebra._START_S:
            return read(process, seconds)
        times.append(process.pid)
        if len(times) == 1:  # what it may have answered before it stood still is not seen
            os.kill(process.pid, signal.SIGSTOP)
            return read(types.SimpleNamespace(pid=process.pid, stdout=nothing), seconds)
        return read(process, 30.0)

    monkeypatch.setattr(algebra, "_line", stalled)
    reader, writer = os.pipe()
    with open(reader) as nothing, open(writer, "w"):
        assert worker.compare(*SQUARE_ROOT) == "same"
    assert len(set(times)) == 2
    worker.stop()


def test_a_worker_that_cannot_start_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError, match="math-verify"):
        Pool(1, Allowance()).ask("x", "y")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Grader(workers=0), "workers: 0"),
        (lambda: Grader(grading="strickt"), "strickt"),
        (lambda: Allowance(cpu_s=0), "cpu_s: 0"),
    ],
)
def test_nonsense_is_refused(make, word):
    with pytest.raises(UserError, match=word):
        make()
