"""Ends of the interpreter, and what its compiler and its C code cannot take."""

from tests.sandbox.hostile.corpus.cases import Case, case

_BROKEN = ("signal", "exception")


def _crash(name: str, code: str, *status: str, **expect: object) -> Case:
    """Whatever becomes of it, the next snippet runs."""
    return case("crash", name, code, *(status or _BROKEN), after="worker_alive", **expect)


CASES: list[Case] = [
    _crash("null_write", "import ctypes\nctypes.memset(0, 1, 1)", "signal"),
    _crash("null_call", "import ctypes\nctypes.CFUNCTYPE(None)(0)()"),
    _crash("bad_free", "import ctypes\nctypes.CDLL(None).free(ctypes.c_void_p(12345))", "signal"),
    _crash(
        "double_release",
        "import ctypes\no = object()\nctypes.pythonapi.Py_DecRef(ctypes.py_object(o))\n"
        "ctypes.pythonapi.Py_DecRef(ctypes.py_object(o))",
        *_BROKEN,
        "ok",
        "exit",
    ),
    _crash(
        "none_released",
        "import ctypes\nfor _ in range(10**5): ctypes.pythonapi.Py_DecRef(ctypes.py_object(None))",
        *_BROKEN,
        "ok",
        "exit",
        "memory",
    ),
    _crash("raise_segv", "import signal\nsignal.raise_signal(signal.SIGSEGV)", *_BROKEN),
    _crash(
        "segv_ignored",
        "import ctypes, signal\nsignal.signal(signal.SIGSEGV, signal.SIG_IGN)\nctypes.string_at(0)",
        "signal",
    ),
    _crash(
        "segv_handled_by_python",
        """\
import ctypes, signal
signal.signal(signal.SIGSEGV, lambda *_: None)
ctypes.string_at(0)
""",
        "signal",
        "timeout_cpu",
        "timeout_wall",
        max_wall=6,
    ),
    _crash(
        "fault_handler", "import ctypes, faulthandler\nfaulthandler.enable()\nctypes.string_at(0)", *_BROKEN
    ),
    _crash(
        "illegal_instruction",
        """\
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(b"\\xff" * 64)
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
""",
        *_BROKEN,
    ),
    _crash(
        "code_object",
        """\
def f(): pass
f.__code__ = f.__code__.replace(co_code=bytes([100, 255] * 50), co_consts=())
f()
""",
        *_BROKEN,
        "ok",
        "exit",
        "memory",
        "timeout_cpu",
        "timeout_wall",
        max_wall=6,
    ),
    _crash(
        "marshal_garbage",
        "import marshal\nmarshal.loads(b'\\xe3' + bytes(200))",
        *_BROKEN,
        exc=["ValueError", "EOFError", "TypeError"],
    ),
    _crash("marshal_deep", "import marshal\nmarshal.loads(b'[\\1\\0\\0\\0' * 10**6)", *_BROKEN, "memory"),
    _crash(
        "stack_of_c_repr", "x = []\nfor _ in range(10**6): x = [x]\nrepr(x)", *_BROKEN, exc=["RecursionError"]
    ),
    _crash(
        "stack_of_c_release", "x = None\nfor _ in range(10**6): x = (x,)\ndel x\nprint(1)", "ok", *_BROKEN
    ),
    _crash(
        "stack_without_limit",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f([n])\nf(0)",
        *_BROKEN,
        *("memory", "timeout_cpu", "timeout_wall"),
        exc=["RecursionError", "MemoryError"],
    ),
    _crash(
        "stack_of_c_callbacks",
        """\
import sys
sys.setrecursionlimit(10**9)
class Deep:
    def __repr__(self): return repr(Deep())
repr(Deep())
""",
        *_BROKEN,
        "memory",
        exc=["RecursionError", "MemoryError"],
    ),
    _crash(
        "stack_of_iterators",
        "x = iter([])\nfor _ in range(10**6): x = filter(None, x)\nlist(x)",
        *_BROKEN,
        "memory",
        exc=["RecursionError", "MemoryError"],
    ),
    _crash(
        "regex_deep",
        "import re\nre.compile('(' * 10**5 + ')' * 10**5)",
        *_BROKEN,
        exc=["RecursionError", "error", "OverflowError"],
    ),
    _crash(
        "compare_of_self",
        "a = []\na.append(a)\nb = []\nb.append(b)\nprint(a == b)",
        "exception",
        exc=["RecursionError"],
    ),
    _crash(
        "hash_of_self",
        "class H:\n    def __hash__(self): return hash(self)\nhash(H())",
        "exception",
        exc=["RecursionError"],
    ),
    _crash(
        "parser_unary",
        "eval('-' * 10**5 + '1')",
        *_BROKEN,
        "memory",
        exc=["MemoryError", "RecursionError", "SyntaxError"],
    ),
    _crash(
        "parser_attributes",
        "compile('a' + '.a' * 10**5, '', 'exec')",
        *("ok", "memory"),
        *_BROKEN,
        exc=["MemoryError", "RecursionError", "SyntaxError"],
    ),
    _crash(
        "sum_of_a_hundred_thousand",
        "x = " + "+".join("1" * 30_000) + "\nprint(x)",
        "ok",
        *_BROKEN,
        exc=["MemoryError", "RecursionError"],
    ),
    _crash(
        "brackets_in_the_program",
        "x = " + "[" * 3000 + "]" * 3000,
        *_BROKEN,
        exc=["SyntaxError", "MemoryError", "RecursionError"],
    ),
    _crash(
        "nested_blocks",
        "".join(" " * i + "if 1:\n" for i in range(150)) + " " * 150 + "x = 1",
        *_BROKEN,
        exc=["IndentationError", "SyntaxError"],
    ),
    _crash(
        "trace_that_raises",
        "import sys\nsys.settrace(lambda *_: 1 / 0)\ndef f(): pass\nf()",
        "exception",
        exc=["ZeroDivisionError"],
    ),
    _crash(
        "collector_callback_raises",
        "import gc\ngc.callbacks.append(lambda *_: 1 / 0)\ngc.collect()\nprint(1)",
        "ok",
    ),
    _crash("modules_cleared", "import sys\nsys.modules.clear()\nimport math\nprint(1)", "ok", *_BROKEN),
    _crash(
        "builtins_cleared",
        "__builtins__.clear() if isinstance(__builtins__, dict) else vars(__builtins__).clear()",
        "ok",
        *_BROKEN,
        "exit",
    ),
    _crash(
        "interpreter_finalised", "import ctypes\nctypes.pythonapi.Py_FinalizeEx()", *_BROKEN, "ok", "exit"
    ),
    _crash("library_exit", "import ctypes\nctypes.CDLL(None).exit(0)", "exit"),
    _crash("library_quick_exit", "import ctypes\nctypes.CDLL(None)._exit(113)", "ok", "exit"),
    _crash(
        "long_jump_out",
        "import ctypes\nctypes.CDLL(None).longjmp(ctypes.create_string_buffer(512), 1)",
        *_BROKEN,
        "exit",
    ),
    _crash(
        "numpy_write_beyond",
        "import numpy as np\na = np.lib.stride_tricks.as_strided(np.zeros(1), (10**9,), (8,))\na[:] = 1",
        "signal",
    ),
    # Each level doubles what the compiler writes: a caller that compiled programs would be at its mercy.
    _crash(
        "nested_finally",
        "\n".join(f"{' ' * i}try:\n{' ' * i} pass\n{' ' * i}finally:" for i in range(18))
        + "\n"
        + " " * 18
        + "x",
        *("memory", "timeout_cpu", "timeout_wall", "exception"),
        exc=["NameError", "MemoryError"],
    ),
]
