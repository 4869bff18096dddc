"""Leaving something for the next snippet: in modules, in types, in files, in processes, in memory."""

from tests.sandbox.hostile.corpus.cases import Case, case


def _gone(name: str, code: str, probe: str, out: str, *status: str) -> Case:
    """`probe`, run next, must print `out` as if `code` had never been."""
    return case("persistence", name, code, *(status or ("ok",)), after=f"probe:{probe}=>{out}")


# The zygote has read the neighbours' programs and outputs, and its memory is the child's: below the end of
# the heap lie the buffers that the C library gave out and took back.
_SEARCH_MEMORY = """\
import ctypes
libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
mark = bytes(reversed(b"ruobhgien" * 8))
print("found" if mark in ctypes.string_at(libc.sbrk(0) - (1 << 20), 1 << 20) else "not found")
"""

CASES: list[Case] = [
    _gone(
        "builtin_len", "import builtins\nbuiltins.len = lambda x: 7\nprint(len([]))", "print(len([]))", "0"
    ),
    _gone("builtin_print", "import builtins\nbuiltins.print = lambda *a: None", "print(1)", "1"),
    _gone(
        "module_math",
        "import math\nmath.pi = 3\nmath.sqrt = abs",
        "import math;print(math.pi, math.sqrt(4))",
        "3.141592653589793 2.0",
    ),
    _gone(
        "modules_removed",
        "import sys\nfor m in list(sys.modules): sys.modules.pop(m)",
        "import math, re;print(math.gcd(4, 6), re.sub('a', 'b', 'a'))",
        "2 b",
        "ok",
        "exception",
    ),
    _gone(
        "module_of_its_own",
        "import sys, types\nsys.modules['math'] = types.SimpleNamespace(pi=3)",
        "import math;print(math.pi)",
        "3.141592653589793",
    ),
    _gone(
        "import_hook",
        "import sys\nsys.meta_path.insert(0, None)\nsys.path[:] = ['/tmp']",
        "import string;print(string.digits)",
        "0123456789",
    ),
    _gone(
        "numpy_random_state",
        "import numpy as np\nnp.random.seed(9)\nnp.random.rand(7)",
        "import numpy as np;print(np.random.rand() == np.random.RandomState(0).rand())",
        "True",
    ),
    _gone(
        "numpy_function",
        "import numpy as np\nnp.sum = lambda *a: 7",
        "import numpy as np;print(np.sum([1, 2]))",
        "3",
    ),
    _gone(
        "sympy_cache",
        """\
from sympy import *
from sympy.core.cache import clear_cache
x = symbols("x")
sin.eval = classmethod(lambda cls, a: Integer(7))
print(sin(x))
clear_cache()
""",
        "from sympy import *;print(sin(0), sin(pi / 2))",
        "0 1",
    ),
    _gone(
        "small_integer",
        """\
import ctypes
ctypes.memmove(id(5) + 24, id(6) + 24, 4)
""",
        "print(2 + 3)",
        "5",
        "ok",
        "exception",
        "signal",
    ),
    _gone(
        "empty_tuple",
        "import ctypes\nctypes.memset(id(()) + 16, 1, 1)",
        "print(())",
        "()",
        "ok",
        "exception",
        "signal",
    ),
    _gone(
        "type_slots_of_int",
        """\
import ctypes
ctypes.memset(id(int) + 64, 0, 400)
""",
        "print(1 + 1)",
        "2",
        "ok",
        "exception",
        "signal",
    ),
    _gone(
        "recursion_limit",
        "import sys\nsys.setrecursionlimit(50)",
        "import sys;print(sys.getrecursionlimit())",
        "1000",
        "ok",
        "exception",
    ),
    _gone(
        "digits_limit",
        "import sys\nsys.set_int_max_str_digits(0)",
        "import sys;print(sys.get_int_max_str_digits())",
        "4300",
    ),
    _gone(
        "environment",
        "import os\nos.environ['LEFT'] = '1'\nos.putenv('LEFT', '1')",
        "import os;print(os.environ.get('LEFT'))",
        "None",
    ),
    _gone(
        "working_directory",
        "import os\nos.chdir('/')",
        "import os;print(os.getcwd() != '/tmp')",
        "True",
        "ok",
        "exception",
    ),
    _gone(
        "umask_and_signals",
        "import signal\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\nsignal.alarm(1)",
        "import signal;print(signal.alarm(0))",
        "0",
    ),
    _gone(
        "locale_and_decimal",
        "import decimal\ndecimal.getcontext().prec = 2",
        "import decimal;print(decimal.Decimal(1) / 3)",
        "0.3333333333333333333333333333",
        "ok",
        "exception",
    ),
    _gone(
        "regex_cache",
        "import re\nre.compile = None\nre._cache.clear()",
        "import re;print(re.findall('a', 'aa'))",
        "['a', 'a']",
    ),
    _gone(
        "warning_filters",
        "import warnings\nwarnings.simplefilter('error')",
        "import warnings;warnings.warn('x');print(1)",
        "1",
    ),
    _gone(
        "gc_callback",
        "import gc\ngc.callbacks.append(print)\ngc.collect()",
        "import gc;print(gc.callbacks)",
        "[]",
    ),
    _gone(
        "descriptor_kept",
        "import os\nos.dup2(1, 60)",
        "import os\ntry: print(os.fstat(60))\nexcept OSError: print('closed')",
        "closed",
        "ok",
        "exception",
    ),
    _gone(
        "main_module",
        "import sys\nsys.modules['__main__'].left = 1",
        "import __main__;print(hasattr(__main__, 'left'))",
        "False",
    ),
    case(
        "persistence",
        "del_at_exit",
        """\
import os
class Late:
    def __del__(self): os.write(1, b"late")
keep = Late()
print("early")
""",
        "ok",
        stdout="early\n",
        after="next_result_intact",
    ),
    case(
        "persistence",
        "source_of_the_package",
        """\
import sympy
open(sympy.__file__, "a").write("# x")
""",
        "exception",
        exc=["PermissionError", "OSError"],
        after="next_result_intact",
    ),
    case(
        "persistence",
        "byte_code_cache",
        """\
import math, py_compile, os
py_compile.compile(os.__file__, cfile="/tmp/rstar-hostile.pyc")
""",
        "exception",
        exc=["PermissionError", "OSError", "ModuleNotFoundError"],
        after="no_file:/tmp/rstar-hostile.pyc",
    ),
    # A program is not to depend on who ran before, nor on where its objects lie.
    case(
        "persistence",
        "random_is_fixed",
        """\
import random
import numpy as np
print(random.random(), np.random.rand(), hash("text"), {"b", "a", "c"})
""",
        "ok",
        after="same_stdout_twice",
    ),
    case(
        "persistence",
        "sympy_symbols_are_ordered",
        """\
from sympy import *
x, y, z = symbols("x y z")
print(solve([x + y - z, x * y - 6, z - 5], [x, y, z]), (x + y + z).free_symbols, Dummy("t"))
""",
        "ok",
        after="same_stdout_twice",
    ),
    # The flags of a descriptor that all children have from the zygote are one.
    _gone(
        "flags_of_inherited_descriptors",
        "import fcntl as f, os\nfor fd in (0, 1, 2):\n"
        "    try: f.fcntl(fd, f.F_SETFL, os.O_NONBLOCK | os.O_APPEND)\n    except OSError: pass",
        "import fcntl as f, os\nbits = os.O_NONBLOCK | os.O_APPEND\n"
        "print([f.fcntl(fd, f.F_GETFL) & bits for fd in (0, 1, 2)])",
        "[0, 0, 0]",
        "ok",
        "exception",
    ),
    _gone("output_in_the_zygote", "print('rstar_' + 'neighbour' * 400)", _SEARCH_MEMORY, "not found"),
    _gone("program_in_the_zygote", f"x = '{'rstar_' + 'neighbour' * 400}'", _SEARCH_MEMORY, "not found"),
    # Larger than the zygote's buffer: what was made for it alone is given back to the heap.
    _gone("large_program_in_the_zygote", f"x = '{'neighbour' * 9_000}'", _SEARCH_MEMORY, "not found"),
]
