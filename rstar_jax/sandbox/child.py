"""The process that runs one snippet: its layers, then the snippet, then an end.

Standard library only, and nothing of this project: it is loaded by the zygote, a bare interpreter. What the
snippet may do is decided in `layers.py`; here is what it finds and what is said of its end.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import types
from collections.abc import Callable
from typing import NoReturn

# How a child says with its exit status what it came to. Any other status: the snippet ended the process.
_FINISHED, _RAISED, _EXITED, _OUT_OF_MEMORY = 113, 114, 115, 116
STATUSES = {_FINISHED: "ok", _RAISED: "exception", _OUT_OF_MEMORY: "memory"}
_REPORT_FD = 3
_MAX_NAME, _MAX_MESSAGE = 100, 200  # characters
# The report: a mark that the layers are on, the exception's type, a newline, what it says of itself.
_PROTECTED = b"!"
MAX_REPORT = 1 + 4 * (_MAX_NAME + 1 + _MAX_MESSAGE)  # bytes
_MAX_FILES = 64

# A snippet may replace functions of modules; these it would have to look for.
_exit, _write = os._exit, os.write


def run(program: memoryview, out: int, report: int, put_on: Callable[[], None], keep: int) -> NoReturn:
    """Run a program (UTF-8) as `__main__`, stdout to descriptor `out`, an exception to `report`.

    put_on: what shuts the process in; `keep` is the one descriptor it still needs, -1 if none. Never returns:
    neither atexit functions nor other threads are waited for. The random module starts from a fixed seed, so
    that the same program prints the same.
    """
    status = _EXITED
    try:
        code = bytes(program).decode("utf-8", "surrogatepass")
        # An open file of its own: what a snippet sets on it is not its neighbour's.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 2)
        os.dup2(out, 1)
        os.dup2(report, _REPORT_FD)
        if keep > _REPORT_FD:
            os.closerange(_REPORT_FD + 1, keep)
        os.closerange(max(keep, _REPORT_FD) + 1, _MAX_FILES)
        stdout = sys.stdout
        put_on()
        _write(_REPORT_FD, _PROTECTED)
        random.seed(0)
        gc.enable()
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        try:
            exec(compile(code, "<step>", "exec", dont_inherit=True), main.__dict__)
            status = _FINISHED
        except SystemExit:
            pass
        except MemoryError:
            status = _OUT_OF_MEMORY
            _write(_REPORT_FD, b"MemoryError\n")
        except BaseException as error:
            status = _RAISED
            _tell(error)
        stdout.flush()
    except BaseException:
        # stdout closed by the snippet, or no memory left to report with
        status = _RAISED if status in (_EXITED, _FINISHED) else status
    finally:
        _exit(status)


def _tell(error: BaseException) -> None:
    """Write the exception's type and what it says of itself, which the snippet may have written."""
    name = type(error).__name__[:_MAX_NAME]
    _write(_REPORT_FD, f"{name}\n".encode("utf-8", "replace"))
    _write(_REPORT_FD, str(error)[:_MAX_MESSAGE].encode("utf-8", "replace"))
