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
FINISHED, RAISED, EXITED, OUT_OF_MEMORY, UNPROTECTED = 113, 114, 115, 116, 117
REPORT_FD = 3
_MAX_NAME, _MAX_MESSAGE = 100, 200  # characters
MAX_REPORT = 4 * (_MAX_NAME + _MAX_MESSAGE) + 1  # bytes
_MAX_FILES = 64

# A snippet may replace functions of modules; these it would have to look for.
_exit, _write = os._exit, os.write


def run(code: str, out: int, report: int, put_on: Callable[[], None], keep: int) -> NoReturn:
    """Runs `code` as `__main__`, stdout to descriptor `out`, an exception to `report`; never returns.

    put_on: what shuts the process in; `keep` is the one descriptor it still needs, -1 if none.
    Neither atexit functions nor other threads are waited for. The random module starts from a fixed seed:
    the same program prints the same.
    """
    status = UNPROTECTED
    try:
        os.dup2(0, 2)  # /dev/null; the zygote's own errors go where a snippet must not write
        os.dup2(out, 1)
        os.dup2(report, REPORT_FD)
        if keep > REPORT_FD:
            os.closerange(REPORT_FD + 1, keep)
        os.closerange(max(keep, REPORT_FD) + 1, _MAX_FILES)
        stdout = sys.stdout
        put_on()
        status = EXITED
        random.seed(0)
        gc.enable()
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        try:
            exec(compile(code, "<step>", "exec", dont_inherit=True), main.__dict__)
            status = FINISHED
        except SystemExit:
            pass
        except MemoryError:
            status = OUT_OF_MEMORY
        except BaseException as error:
            status = RAISED
            _tell(error)
        stdout.flush()
    except BaseException:
        # stdout closed by the snippet, or no memory left to report with
        status = RAISED if status in (EXITED, FINISHED) else status
    finally:
        _exit(status)


def _tell(error: BaseException) -> None:
    """Writes the exception's type and what it says of itself, which the snippet may have written."""
    name = type(error).__name__[:_MAX_NAME]
    _write(REPORT_FD, f"{name}\n".encode("utf-8", "replace"))
    _write(REPORT_FD, str(error)[:_MAX_MESSAGE].encode("utf-8", "replace"))
