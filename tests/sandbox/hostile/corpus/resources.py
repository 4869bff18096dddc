"""Floods: memory, processor, output, descriptors, processes, disk."""

from tests.sandbox.hostile.corpus.cases import Case, case

_NO_MEMORY = ("memory", "exception")
_TOO_LONG = ("timeout_cpu", "timeout_wall")


def _memory(name: str, code: str) -> Case:
    """Asks for more than the limit, at once or bit by bit (which a busy machine makes slow)."""
    return case(
        "resource",
        name,
        code,
        *_NO_MEMORY,
        "timeout_cpu",
        exc=["MemoryError", "OSError", "_ArrayMemoryError", "ModuleNotFoundError"],
        not_stdout="got",
    )


CASES: list[Case] = [
    _memory("memory_bytearray", "x = bytearray(10**10)\nprint('got')"),
    _memory("memory_list", "x = [0] * 10**10\nprint('got')"),
    _memory("memory_string", "x = 'ab' * 10**10\nprint('got')"),
    _memory("memory_doubling", "x = [1]\nwhile True: x += x"),
    _memory("memory_dict", "d = {}\nfor i in iter(int, 1): d[len(d)] = bytes(10**5)"),
    _memory("memory_numpy", "import numpy as np\nx = np.ones((10**5, 10**5))\nprint('got')"),
    _memory("memory_numpy_outer", "import numpy as np\nx = np.arange(10**6.0)\nprint('got', np.outer(x, x))"),
    _memory("memory_mmap", "import mmap\nx = mmap.mmap(-1, 1 << 34)\nprint('got')"),
    _memory("memory_shift", "x = 1 << (1 << 36)\nprint('got')"),
    _memory("memory_format", "print('got' + '%9999999999d' % 1)"),
    _memory(
        "memory_zip_bomb",
        """\
import zlib
small = zlib.compress(bytes(10**7), 9)
parts = []
while True: parts.append(zlib.decompress(small))
""",
    ),
    case(
        "resource",
        "memory_malloc",
        """\
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
held = 0
while libc.malloc(1 << 20): held += 1
print("bounded" if held < 4096 else held)
""",
        "ok",
        "memory",
        "exception",
        "signal",
        stdout="bounded\n",
    ),
    case(
        "resource",
        "memory_stack",
        """\
import threading
threading.stack_size(1 << 30)
print("bounded")
""",
        "ok",
        "exception",
        exc=["ValueError", "RuntimeError"],
    ),
    case(
        "resource",
        "memory_repr_of_self",
        "x = []\nfor _ in range(60): x = [x, x]\nprint(len(str(x)))",
        *_NO_MEMORY,
        *_TOO_LONG,
        exc=["MemoryError"],
        max_wall=6,
    ),
    # MemoryError raised where it cannot be handled must not become a success
    case(
        "resource",
        "memory_swallowed",
        """\
held = []
try:
    while True: held.append(bytearray(10**6))
except MemoryError:
    pass
print("went on")
""",
        "ok",
        "memory",
        "exception",
        exc=["MemoryError"],
        after="worker_alive",
    ),
    case("resource", "cpu_comprehension", "x = sum(i * i for i in range(10**12))", *_TOO_LONG, max_wall=6),
    case(
        "resource", "cpu_pow", "x = pow(3, 10**9)", *_TOO_LONG, *_NO_MEMORY, exc=["MemoryError"], max_wall=6
    ),
    case("resource", "cpu_pow_mod", "print(pow(3, 7**200000, 10**100000 + 7))", *_TOO_LONG, max_wall=6),
    case("resource", "cpu_regex", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')", *_TOO_LONG, max_wall=6),
    case(
        "resource",
        "cpu_int_to_str",
        "import sys\nsys.set_int_max_str_digits(0)\nprint(len(str(7**9999999)))",
        *_TOO_LONG,
        max_wall=6,
    ),
    case("resource", "int_to_str_is_limited", "print(len(str(7**99999)))", "exception", exc=["ValueError"]),
    case(
        "resource",
        "cpu_permutations",
        "import itertools as t\nprint(max(t.permutations(range(30))))",
        *_TOO_LONG,
        max_wall=6,
    ),
    # in C, with no byte code between which a Python signal handler could run
    case(
        "resource",
        "cpu_in_c_sigxcpu_handled",
        """\
import collections, itertools, signal
signal.signal(signal.SIGXCPU, lambda *a: None)
collections.deque(itertools.repeat(0), maxlen=0)
""",
        *_TOO_LONG,
        max_wall=6,
    ),
    case(
        "resource",
        "cpu_sigxcpu_ignored",
        """\
import signal
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
while True: pass
""",
        *_TOO_LONG,
        max_wall=6,
    ),
    case(
        "resource",
        "cpu_every_signal_blocked",
        """\
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
while True: pass
""",
        *_TOO_LONG,
        max_wall=6,
    ),
    case(
        "resource",
        "cpu_exceptions_swallowed",
        """\
while True:
    try:
        while True: pass
    except BaseException:
        pass
""",
        *_TOO_LONG,
        max_wall=6,
    ),
    case(
        "resource",
        "cpu_sympy_factorint",
        "import sympy\nprint(sympy.factorint(10**90 + 9))",
        *_TOO_LONG,
        max_wall=6,
    ),
    case(
        "resource",
        "cpu_sympy_integrate",
        """\
from sympy import *
x = symbols("x")
print(integrate(exp(sin(x)) * sqrt(tan(x)) * log(1 + x**7), x))
""",
        *_TOO_LONG,
        *_NO_MEMORY,
        exc=["MemoryError"],
        max_wall=6,
    ),
    case(
        "resource",
        "threads",
        """\
import threading, time
for _ in range(1000): threading.Thread(target=time.sleep, args=(9,)).start()
print("all")
""",
        "exception",
        "memory",
        exc=["RuntimeError", "MemoryError"],
        not_stdout="all",
        after="no_orphans",
    ),
    case(
        "resource",
        "thread_of_c",
        """\
import _thread, time
_thread.start_new_thread(time.sleep, (60,))
print("started")
""",
        "exception",
        "ok",
        exc=["RuntimeError"],
        max_wall=1,
        after="no_orphans",
    ),
    case(
        "resource",
        "fork_bomb",
        """\
import os
made = 0
for _ in range(50):
    try:
        os.fork()
        made += 1
    except OSError:
        pass
print(made)
""",
        "ok",
        stdout="0\n",
        after="no_orphans",
    ),
    case(
        "resource",
        "double_fork",
        """\
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(60)
    os._exit(0)
""",
        "exception",
        exc=["PermissionError", "BlockingIOError"],
        after="no_orphans",
    ),
    case(
        "resource",
        "descriptors_of_pipes",
        "import os\nl = [os.pipe() for _ in range(10**5)]\nprint(len(l))",
        "exception",
        exc=["OSError", "PermissionError"],
    ),
    case(
        "resource",
        "files_without_data",
        """\
for i in range(100): open(f"/tmp/rstar-hostile-{i}", "w").close()
""",
        "exception",
        exc=["PermissionError", "OSError"],
        after="no_file:/tmp/rstar-hostile-0",
    ),
    case(
        "resource",
        "files_here",
        "open('rstar-hostile', 'x')\nprint('made')",
        "exception",
        exc=["PermissionError", "OSError"],
        not_stdout="made",
    ),
    case(
        "resource",
        "temporary_file",
        "import tempfile\nprint('made', tempfile.mkstemp())",
        "exception",
        exc=["PermissionError", "FileNotFoundError", "OSError"],
        not_stdout="made",
    ),
    case(
        "resource",
        "shared_memory",
        "from multiprocessing import shared_memory as s\nprint('made', s.SharedMemory(create=True, size=9))",
        "exception",
        exc=["PermissionError", "OSError", "ImportError"],
        not_stdout="made",
    ),
    case(
        "resource",
        "data_in_a_pipe_nobody_reads",
        "import os\nr, w = os.pipe()\nwhile True: os.write(w, bytes(9999))",
        "timeout_wall",
        max_wall=6,
    ),
]
