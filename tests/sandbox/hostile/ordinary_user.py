"""Runs a command of this interpreter as an ordinary user, from a process that is root's.

Root's interpreter often lies where nobody else may go (in its home). Then the command runs in a mount name
space of its own, in which the closed folder is replaced by an open one that holds what is needed of it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

NOBODY = 65534
_BECOME = (
    f"import os, sys; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY});"
    " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def run(arguments: list[str], needed: list[Path], environment: dict[str, str]) -> subprocess.CompletedProcess:
    """`python ARGUMENTS` as nobody, who can read `needed` (folders and files) and the interpreter."""
    become = [sys.executable, "-c", _BECOME, *arguments]
    closed = _closed([*needed, Path(sys.prefix), Path(sys.base_prefix)])
    if closed:
        script = " && ".join([*_opening(closed), f"exec {shlex.join(become)}"])
        become = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    return subprocess.run(
        become, env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def obstacle(needed: list[Path]) -> str:
    """Why this cannot be done here; "" if it can."""
    if os.geteuid() != 0:
        return "only root can become another user"
    tried = run(["-c", "import rstar_jax, numpy, sympy"], needed, {})
    return (
        "" if tried.returncode == 0 else f"nobody cannot run the interpreter: {tried.stderr.strip()[-300:]}"
    )


def _closed(paths: list[Path]) -> dict[Path, list[Path]]:
    """The topmost folders that nobody may not enter -> what is needed below each."""
    found: dict[Path, list[Path]] = {}
    for path in dict.fromkeys(part.resolve() for part in paths):
        for folder in reversed(path.parents):
            if not folder.stat().st_mode & 0o001:
                found.setdefault(folder, []).append(path)
                break
    return found


def _opening(closed: dict[Path, list[Path]]) -> list[str]:
    """Shell commands that put an open folder over each closed one and what is needed back into it."""
    commands = []
    for folder, paths in closed.items():
        place = shlex.quote(str(folder))
        # The working directory stays the closed folder, below what is mounted over it; -c: names are taken
        # as they are, not made absolute.
        commands += [f"cd {place}", f"mount -t tmpfs -o mode=755 none {place}"]
        for path in paths:
            inner, target = shlex.quote(str(path.relative_to(folder))), shlex.quote(str(path))
            make = f"mkdir -p {target}" if path.is_dir() else f"install -D /dev/null {target}"
            commands += [make, f"mount -c --rbind {inner} {target}"]
    return [*commands, "cd /"]
