"""Facts about a snippet that need no run.

Nothing is compiled here, in the caller: a few hundred characters can cost a compiler minutes and gigabytes.
"""

from __future__ import annotations

import re
import sys

_IMPORT = re.compile(r"\b(?:import|from)\s+([^#;\n]+)")
_DYNAMIC = re.compile(r"__import__|importlib|import_module|pkgutil|runpy|\b(?:exec|eval)\b")
_BLANK = " \t"


def normalise(code: str) -> str:
    """The code without comment lines and blank lines, so that steps differing in the thought run once.

    Where a line that starts with # might not be a comment (strings over several lines, continued lines,
    unusual line ends) the code is returned as it is.
    """
    if any(mark in code for mark in ('"""', "'''", "\\\n", "\r", "\f", "\v", "\0")):
        return code
    # Spaces that are none to Python stay, and so does a space behind a backslash: both are errors.
    lines = (line if line.rstrip(_BLANK).endswith("\\") else line.rstrip(_BLANK) for line in code.split("\n"))
    return "\n".join(line for line in lines if line and not line.lstrip(_BLANK).startswith("#")) + "\n"


def needs_packages(code: str) -> bool:
    """Return whether the code may import something that is not in the standard library."""
    if _DYNAMIC.search(code):
        return True
    for names in _IMPORT.findall(code):
        # "from x import a, b": only x is a module
        parts = names.split(",", 1)[:1] if " import " in f" {names} " else names.split(",")
        for part in parts:
            words = part.split()
            if words and words[0].strip("()").split(".")[0] not in sys.stdlib_module_names:
                return True
    return False
