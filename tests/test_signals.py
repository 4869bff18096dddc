"""Signals that come while JAX compiles, as a run meets them: exit statuses, and nothing but what is said."""

import signal
import subprocess
import sys
import time

import pytest

# A program that takes long to compile, which JAX does in a thread that a signal does not stop.
_CODE = """
import sys
from rstar_jax.launch import signals
signals.install()
import jax, jax.numpy as jnp

def long(x):
    for i in range(3000):
        x = jnp.sin(x * i) @ x + i
    return x

lowered = jax.jit(long).lower(jnp.ones((8, 8)))
try:
    print("begun", flush=True)
    lowered.compile()
    status = 7
except signals.Terminated:
    status = 143
except KeyboardInterrupt:
    status = 130
print("said", flush=True)
{wait}
signals.leave(status)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_a_compilation_has_its_exit_status(number, status):
    with _started("") as run:
        run.send_signal(number)
        _, err = run.communicate(timeout=60)
    assert run.returncode == status
    assert err == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once_and_in_silence(number):
    with _started("__import__('time').sleep(60)") as run:
        run.send_signal(signal.SIGINT)
        assert run.stdout and run.stdout.readline() == "said\n"
        run.send_signal(number)
        _, err = run.communicate(timeout=30)
    assert run.returncode == 128 + number
    assert err == ""


def test_what_is_ignored_stays_ignored_and_a_run_that_is_done_ends_as_usual():
    code = (
        "import atexit, signal\nfrom rstar_jax.launch import signals\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nsignals.install()\n"
        "atexit.register(print, 'last')\nsignal.raise_signal(signal.SIGINT)\nsignals.leave(0)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "last\n", "")


def _started(wait: str) -> subprocess.Popen[str]:
    """A process that has begun to compile."""
    command = [sys.executable, "-c", _CODE.format(wait=wait)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"
    begun = _cpu_seconds(run.pid)
    while _cpu_seconds(run.pid) < begun + 0.7 and run.poll() is None:  # until the compiler is at work
        time.sleep(0.05)
    return run


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process: a sleep alone would say nothing of how far it is on a busy machine."""
    return time.clock_gettime((~pid << 3) | 2)  # its CPU clock, as clock_getcpuclockid gives it on Linux
