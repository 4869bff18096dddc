"""Waiting for ever, while it runs, when it fails, and when it ends."""

from tests.sandbox.hostile.corpus.cases import Case, case

_TOO_LONG = ("timeout_cpu", "timeout_wall")


def _waits(name: str, code: str) -> Case:
    """Sleeps: only the clock can end it."""
    return case("hang", name, code, "timeout_wall", max_wall=6)


CASES: list[Case] = [
    _waits("sleep_in_pieces", "import time\nwhile True: time.sleep(0.01)"),
    _waits("sleep_of_libc", "import ctypes\nctypes.CDLL(None).usleep(100_000_000)"),
    _waits("lock", "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()"),
    _waits("queue", "import queue\nqueue.SimpleQueue().get()"),
    _waits("own_pipe", "import os\nr, w = os.pipe()\nos.read(r, 1)"),
    _waits("select_on_nothing", "import select\nselect.select([], [], [])"),
    _waits("poll", "import select\nselect.poll().poll()"),
    _waits("sigwait", "import signal\nsignal.sigwait({signal.SIGUSR1})"),
    _waits("pause", "import signal\nsignal.pause()"),
    _waits(
        "sleep_after_clearing_signals",
        """\
import signal, time
for number in set(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}:
    signal.signal(number, signal.SIG_IGN)
time.sleep(60)
""",
    ),
    _waits("sleep_with_output_closed", "import os, time\nos.close(1)\ntime.sleep(60)"),
    _waits("sleep_with_all_closed", "import os, time\nos.closerange(0, 256)\ntime.sleep(60)"),
    case(
        "hang",
        "read_stdin",
        "import sys\nprint(repr(sys.stdin.read()))",
        "ok",
        "exception",
        stdout="''\n",
        exc=["OSError", "AttributeError"],
        max_wall=2,
    ),
    case(
        "hang",
        "read_descriptor_0",
        "import os\nprint(os.read(0, 9))",
        "ok",
        "exception",
        stdout="b''\n",
        exc=["OSError"],
        max_wall=2,
    ),
    case(
        "hang",
        "read_every_descriptor",
        """\
import os
for fd in range(0, 64):
    try:
        os.set_blocking(fd, False)
        got = os.read(fd, 99)
    except OSError:
        continue
    if got: print("got", got)
print("done")
""",
        "ok",
        stdout="done\n",
        after="next_result_intact",
        max_wall=2,
    ),
    case(
        "hang",
        "atexit_sleeps",
        "import atexit, time\natexit.register(time.sleep, 60)\nprint(1)",
        "ok",
        stdout="1\n",
        max_wall=2,
    ),
    case(
        "hang",
        "thread_at_exit",
        """\
import threading, time
try:
    threading.Thread(target=time.sleep, args=(60,)).start()
except RuntimeError:
    pass
print(1)
""",
        "ok",
        stdout="1\n",
        max_wall=2,
        after="no_orphans",
    ),
    case(
        "hang",
        "stdout_whose_flush_hangs",
        """\
import sys
class Out:
    def write(self, text): return len(text)
    def flush(self):
        while True: pass
sys.stdout = Out()
print(1)
""",
        "ok",
        "exception",
        *_TOO_LONG,
        max_wall=6,
        after="worker_alive",
    ),
    case(
        "hang",
        "exception_whose_name_hangs",
        """\
class Meta(type):
    @property
    def __name__(cls):
        while True: pass
class Odd(Exception, metaclass=Meta): pass
raise Odd()
""",
        "exception",
        *_TOO_LONG,
        max_wall=6,
        after="worker_alive",
    ),
    case(
        "hang",
        "exception_whose_str_sleeps",
        """\
import time
class Odd(Exception):
    def __str__(self): time.sleep(60)
raise Odd()
""",
        "timeout_wall",
        "exception",
        exc=["Odd"],
        max_wall=6,
        after="worker_alive",
    ),
    case(
        "hang",
        "except_hook_hangs",
        """\
import sys
def hook(*_):
    while True: pass
sys.excepthook = sys.unraisablehook = hook
1 / 0
""",
        "exception",
        exc=["ZeroDivisionError"],
        max_wall=2,
    ),
    case(
        "hang",
        "eternal_eq_in_except",
        """\
class Meta(type):
    def __instancecheck__(cls, other):
        while True: pass
    __subclasscheck__ = __instancecheck__
class Odd(Exception, metaclass=Meta): pass
raise Odd()
""",
        "exception",
        *_TOO_LONG,
        exc=["Odd"],
        max_wall=6,
    ),
    case(
        "hang",
        "alarm_kills_itself",
        "import signal, time\nsignal.alarm(1)\ntime.sleep(60)",
        "signal",
        max_wall=3,
    ),
    case(
        "hang",
        "alarm_handler_loops",
        """\
import signal
def again(*_):
    while True: pass
signal.signal(signal.SIGALRM, again)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
while True: pass
""",
        *_TOO_LONG,
        "exception",  # a handler within a handler within ...
        exc=["RecursionError"],
        max_wall=6,
    ),
    case(
        "hang",
        "stop_itself",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nprint('went on')",
        "exception",
        *_TOO_LONG,
        exc=["PermissionError"],
        max_wall=6,
        after="worker_alive",
    ),
    case(
        "hang",
        "trace_function_loops",
        """\
import sys
def trace(*_):
    while True: pass
sys.settrace(trace)
def f(): pass
f()
""",
        *_TOO_LONG,
        max_wall=6,
    ),
]
