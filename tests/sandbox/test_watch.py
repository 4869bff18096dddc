"""What a snippet is charged with, and what is the host's doing."""

import os
import resource
import signal
import time

import pytest

from rstar_jax.sandbox import Limits, Sandbox, watch
from tests.sandbox.processes import soon

# Ends by itself, but for that must run.
WORK = "import time\nwhile time.process_time() < 0.4: pass\nprint('done')"


def test_time_in_which_the_host_stood_still_does_not_count(below):
    with Sandbox(workers=1, limits=Limits(cpu_s=5, wall_s=3)) as sandbox:
        queue = sandbox.queue()
        queue.submit([WORK])
        assert soon(lambda: len(below()) == 2)
        processes = below()
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(4)
        for pid in processes:  # the zygote first
            os.kill(pid, signal.SIGCONT)
        ((_, result),) = queue.poll(block=True)
        # On a host that hardly runs it afterwards either, nothing is found out: no verdict in any case.
        assert (result.status, result.stdout) == ("ok", "done\n") or result.lost


def test_a_snippet_that_was_stopped_from_outside_is_run_again(below):
    with Sandbox(workers=1, limits=Limits(cpu_s=5, wall_s=0.7)) as sandbox:
        (zygote,) = below()
        queue = sandbox.queue()
        queue.submit([WORK])
        assert soon(lambda: len(below()) == 2)
        (child,) = set(below()) - {zygote}
        os.kill(child, signal.SIGSTOP)
        ((_, result),) = queue.poll(block=True)
        assert (result.status, result.stdout) == ("ok", "done\n") or result.lost
        assert sandbox.snippets_run == 2


def test_a_sleeper_is_a_timeout_though_the_host_stood_still(below):
    with Sandbox(workers=1, limits=Limits(cpu_s=5, wall_s=1)) as sandbox:
        queue = sandbox.queue()
        queue.submit(["import time\ntime.sleep(100)"])
        assert soon(lambda: len(below()) == 2)
        processes = below()
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in processes:
                os.kill(pid, number)
            time.sleep(1.5 if number == signal.SIGSTOP else 0)
        ((_, result),) = queue.poll(block=True)
        assert (result.status, result.lost, sandbox.snippets_run) == ("timeout_wall", False, 1)


@pytest.mark.parametrize(
    "loop",
    [
        "import os\nwhile True: os.sched_yield()",
        "import time\nwhile True: time.sleep(0)",
        "import os\nwhile True: os.stat('/')",
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
    ],
)
def test_cpu_time_is_counted_exactly_however_it_is_spent(loop):
    with Sandbox(workers=1, limits=Limits(cpu_s=0.3, wall_s=5)) as sandbox:
        result = sandbox.run([loop])[0]
    assert (result.status, result.lost) == ("timeout_cpu", False)
    assert 0.3 <= result.cpu_s < 0.8  # the kernel's own limit has whole seconds


def test_a_program_below_its_limit_is_not_ended():
    with Sandbox(workers=1, limits=Limits(cpu_s=0.8, wall_s=20)) as sandbox:
        result = sandbox.run(["import time\nwhile time.process_time() < 0.6: pass\nprint('done')"])[0]
    assert (result.status, result.stdout) == ("ok", "done\n")


def test_the_clock_that_is_read_is_the_one_of_rusage():
    while time.process_time() < 0.1:
        pass
    before = resource.getrusage(resource.RUSAGE_SELF)
    told = watch.cpu_seconds(os.getpid())
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = [usage.ru_utime + usage.ru_stime for usage in (before, after)]
    assert used[0] - 1e-3 <= told <= used[1] + 1e-3
