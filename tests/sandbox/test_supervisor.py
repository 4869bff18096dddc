"""Submitting, waiting, interrupting, forking, closing: what the calling process may do with a sandbox."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rstar_jax.sandbox import Limits, Sandbox
from rstar_jax.sandbox.pool import Pool
from tests.sandbox.processes import descriptors, living, soon

SLEEP = "import time\ntime.sleep(60)"


@pytest.fixture
def opened(below):
    with Sandbox(workers=2, limits=Limits(cpu_s=1, wall_s=2)) as sandbox:
        yield sandbox


def everything(queue) -> dict[int, str]:
    """All that is outstanding, by ticket."""
    done = {}
    while arrived := queue.poll(block=True):
        done |= {ticket: result.stdout for ticket, result in arrived}
    return done


def test_submitted_snippets_run_while_the_caller_does_something_else(opened):
    queue = opened.queue()
    tickets = queue.submit([f"print({i})" for i in range(50)])
    assert len(set(tickets)) == 50
    assert soon(lambda: opened.snippets_run == 50)  # nobody has polled
    more = queue.submit(["print(7)", "x =", "print(7)"])
    done = everything(queue)
    assert done == dict(zip(tickets + more, [f"{i}\n" for i in range(50)] + ["7\n", "", "7\n"], strict=True))
    assert opened.snippets_run == 51  # print(7) was known
    assert queue.poll() == queue.poll(block=True) == []


def test_time_with_programs_to_run_is_kept_and_no_other(opened):
    opened.run(["print(-1)"])
    before = opened.busy_s
    queue = opened.queue()
    queue.submit([f"print({i})" for i in range(20)])
    assert soon(lambda: opened.snippets_run == 21)
    after = opened.busy_s
    assert 0 < before < after
    time.sleep(0.05)
    assert opened.busy_s == after  # nobody has fetched the results, but nothing runs
    queue.submit([SLEEP])
    assert soon(lambda: opened.busy_s > after)
    queue.cancel([20])
    stopped = opened.busy_s
    time.sleep(0.02)
    assert opened.busy_s == stopped


def test_poll_waits_for_the_first_result_and_no_longer(opened):
    queue = opened.queue()
    queue.submit(["import time\ntime.sleep(1.2)\nprint(1)", "print(2)"])
    start = time.monotonic()
    assert [r.stdout for _, r in queue.poll(block=True)] == ["2\n"]
    assert queue.poll() == []
    assert time.monotonic() - start < 1.2
    assert [r.stdout for _, r in queue.poll(block=True)] == ["1\n"]


def test_threads_share_a_sandbox_and_a_program_runs_once(opened):
    def work(thread: int) -> list[str]:
        own = [f"print({thread}, {i})" for i in range(10)]
        return [r.stdout for r in opened.run([*own, "import time\ntime.sleep(0.3)\nprint('shared')"])]

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(work, range(6)))
    assert found == [[*(f"{t} {i}\n" for i in range(10)), "shared\n"] for t in range(6)]
    assert opened.snippets_run == 61


def test_a_failure_of_the_thread_reaches_all_who_wait_and_is_over_then(opened, below, monkeypatch):
    turn, broken = Pool.turn, threading.Event()

    def fail(pool: Pool) -> None:
        if broken.is_set():
            raise OSError("the kernel is tired")
        turn(pool)

    monkeypatch.setattr(Pool, "turn", fail)
    queue = opened.queue()
    tickets = queue.submit([SLEEP])
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(opened.run, [f"{SLEEP}\nprint({i})"]) for i in range(3)]
        assert soon(lambda: len(below()) == 4)
        broken.set()
        for one in waiting:
            with pytest.raises(RuntimeError, match="the kernel is tired"):
                one.result(20)
    with pytest.raises(RuntimeError, match="the kernel is tired"):
        queue.poll(block=True)
    assert queue.poll(block=True) == [] and tickets
    broken.clear()
    assert opened.run(["print(1)"])[0].stdout == "1\n"


def test_an_interrupt_ends_what_it_waited_for_and_nothing_else():
    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Sandbox(workers=2, limits=Limits(wall_s=30)) as sandbox:
            queue = sandbox.queue()
            queue.submit(["import time\ntime.sleep(1.5)\nprint('submitted')"])
            start = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(KeyboardInterrupt):
                sandbox.run([f"{SLEEP}\nprint({i})" for i in range(5)])
            assert sandbox.run(["print(1)", "print(2)"])[1].stdout == "2\n"
            assert list(everything(queue).values()) == ["submitted\n"]
            assert time.monotonic() - start < 15  # the sleepers' slots were freed
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_closing_leaves_nothing(tmp_path, below, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = descriptors(), set(below()), threading.active_count()
    for _ in range(2):
        sandbox = Sandbox(workers=2, memo=tmp_path / "memo")
        sandbox.run([f"print({i})" for i in range(5)])
        sandbox.queue().submit([SLEEP])
        sandbox.close()
        sandbox.close()
        assert (descriptors(), set(below()), threading.active_count()) == before
        assert os.listdir(tmp_path) == ["memo"]
        assert sandbox.run(["print(1)"])[0].stdout == "1\n"  # it starts again
        del sandbox
        gc.collect()
        assert (descriptors(), set(below()), threading.active_count()) == before


def test_a_sandbox_that_is_dropped_closes_itself(below):
    before = descriptors()
    sandbox = Sandbox(workers=1)
    sandbox.run(["print(1)"])
    assert below()
    del sandbox
    gc.collect()
    assert soon(lambda: not below() and descriptors() == before)


def test_closing_ends_the_waiting_of_others(opened, below):
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(opened.run, [SLEEP])
        assert soon(lambda: len(below()) >= 2)
        opened.close()
        with pytest.raises(RuntimeError, match="closed"):
            waiting.result(10)


def script(body: str, **options) -> subprocess.Popen:
    code = f"import os, signal, sys\nfrom rstar_jax.sandbox import Sandbox\n{body}"
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_an_exit_without_closing_leaves_nothing_and_says_nothing():
    process = script(
        f"s = Sandbox(workers=2)\ns.queue().submit([{SLEEP!r}] * 3)\n"
        "from pathlib import Path\n"
        "print(*Path(f'/proc/self/task/{os.getpid()}/children').read_text().split())\n"
        "print(*[Path(f'/proc/self/task/{t}/children').read_text() for t in os.listdir('/proc/self/task')])"
    )
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    zygotes = [int(word) for word in out.split()]
    assert zygotes and not set(zygotes) & living().keys()


def test_nothing_outlives_a_killed_caller(tmp_path, below):
    process = script(
        f"s = Sandbox(workers=1)\ns.run(['print(1)'])\nprint('up', flush=True)\ns.run([{SLEEP!r}])",
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    assert soon(lambda: len(below()) >= 3)  # caller, zygote, child
    started = set(below())
    process.kill()
    process.communicate()
    assert soon(lambda: not started & living().keys())
    assert os.listdir(tmp_path) == []


def test_a_fork_of_the_caller_leaves_its_zygotes_alone_and_has_its_own():
    body = """
import threading, warnings
warnings.simplefilter("ignore")  # Python 3.12 warns of threads beside a fork
s = Sandbox(workers=1)
assert s.run(["print(1)"])[0].stdout == "1\\n"
q = s.queue()
ticket, = q.submit(["import time; time.sleep(0.5); print(2)"])
if os.fork() == 0:
    names = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
    assert not [name for name in names if "pipe:" in name or "event" in name], names
    s.close()
    assert q.poll(block=True) == []
    assert s.run(["print(3)"])[0].stdout == "3\\n"
    sys.exit(0)
pid, status = os.wait()
assert status == 0, status
assert [(t, r.stdout) for t, r in q.poll(block=True)] == [(ticket, "2\\n")]
assert s.snippets_run == 2
"""
    process = script(body)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
