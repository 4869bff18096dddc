"""Signals that come while JAX compiles, as a run meets them: exit statuses, and nothing but what is said."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# A program that takes long to compile, which JAX does in a thread that a signal does not stop. jax 0.10 heeds
# it at once, jax 0.11 when the compilation has ended, unless the time after SIGTERM is over before.
_CODE = """
import sys
from rstar_jax.launch import signals
signals.install()
import jax, jax.numpy as jnp

def long(x):
    for i in range(700):
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
        _, err = run.communicate(timeout=120)
    assert run.returncode == status
    assert err in ("", "\nterminated in the middle of something; the same command goes on.\n")


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


_IN_VAIN = """
import gc, signal, time
from rstar_jax.launch import signals

signals.install()
waiting = [{number}]

def callback(phase, about):
    if waiting and phase == "stop":
        signal.raise_signal(waiting.pop())

class Destroyed:
    def __del__(self):
        signal.raise_signal({number})

gc.callbacks.append(callback)
try:
    {where}
    for _ in range(100):
        time.sleep(0.1)
        gc.collect()
    status = 7
except KeyboardInterrupt as error:
    status = signals.status(error)
signals.leave(status)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["gc.collect()", "waiting.clear(); Destroyed()"])
def test_a_signal_that_comes_where_exceptions_are_ignored_is_heeded(number, where):
    code = _IN_VAIN.format(number=int(number), where=where)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, "", "")


def test_compiled_code_is_loaded_to_its_end_before_a_signal_is_raised():
    code = (
        "import signal, time\nfrom rstar_jax.launch import signals\nsignals.install()\n"
        "class ExtensionFileLoader:\n"
        "    def exec_module(self):\n"
        "        (lambda: signal.raise_signal(signal.SIGTERM))()\n"
        "        print('loaded', flush=True)\n"
        "try:\n    ExtensionFileLoader().exec_module()\n    time.sleep(20)\n    status = 7\n"
        "except KeyboardInterrupt as error:\n    status = signals.status(error)\n"
        "signals.leave(status)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "loaded\n", "")


def test_other_exceptions_that_are_ignored_are_told_as_ever():
    code = (
        "from rstar_jax.launch import signals\nsignals.install()\n"
        "class D:\n    def __del__(self): raise ValueError('mine')\nD()\nsignals.leave(0)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0 and "ValueError: mine" in ended.stderr


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "stopped"), (signal.SIGTERM, "terminated")])
def test_a_signal_while_all_is_still_imported_is_heeded(tmp_path, number, word):
    """Whatever the way in imports beyond the standard library comes behind the handlers."""
    (tmp_path / "absl").mkdir()
    (tmp_path / "absl/__init__.py").write_text(f"import signal\nsignal.raise_signal({int(number)})\n")
    paths = [str(tmp_path), str(Path(__file__).parents[1])]
    ended = subprocess.run(
        [sys.executable, "-m", "rstar_jax.launch", "--config=quickstart"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 128 + number
    assert ended.stderr == f"\n{word}; the same command goes on where it was.\n"
    assert not (tmp_path / "runs").exists()


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
