"""What can be said about a snippet without running it."""

from __future__ import annotations

import re
import sys
import threading
import warnings

# Beyond these sizes the compiler's own recursion could harm the calling process: the child compiles.
_MAX_CHARS, _MAX_LINE, _MAX_BRACKETS = 20_000, 1_000, 1_000
_warnings_lock = threading.Lock()  # what is caught is the whole process's
_IMPORT = re.compile(r"\b(?:import|from)\s+([^#;\n]+)")
_DYNAMIC = re.compile(r"__import__|importlib|import_module")


def normalise(code: str) -> str:
    """The code without comment lines and blank lines, so that steps differing in the thought run once.

    Where a line that starts with # might not be a comment (strings over several lines, continued lines,
    unusual line ends) the code is returned as it is.
    """
    if any(mark in code for mark in ('"""', "'''", "\\\n", "\r", "\f", "\v", "\0")):
        return code
    lines = (line.rstrip() for line in code.split("\n"))
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#")) + "\n"


def needs_packages(code: str) -> bool:
    """Whether the code may import something that is not in the standard library."""
    if _DYNAMIC.search(code):
        return True
    for names in _IMPORT.findall(code):
        for part in names.split(","):
            words = part.split()
            if words and words[0].strip("()").split(".")[0] not in sys.stdlib_module_names:
                return True
            if " import " in f" {names} ":
                break  # "from x import a, b": only x is a module
    return False


def syntax_error(code: str) -> tuple[str, str] | None:
    """The exception's type and message if the code does not compile; None if it does or is too large."""
    if len(code) > _MAX_CHARS or sum(map(code.count, "([{")) > _MAX_BRACKETS:
        return None
    if max(map(len, code.split("\n")), default=0) > _MAX_LINE:
        return None
    try:
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(code, "<step>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return type(error).__name__, str(error)
    except (RecursionError, MemoryError, OverflowError):
        return None
    return None
