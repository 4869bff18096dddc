"""The code that made a result."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import rstar_jax


def code_version() -> dict[str, str]:
    """Version of this package and, where it runs from its own checkout, the commit."""
    found, root = {"version": rstar_jax.__version__}, Path(rstar_jax.__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if Path(git("rev-parse", "--show-toplevel")).resolve() == root:
            changed = git("status", "--porcelain", "--untracked-files=no", "--", "rstar_jax")
            found["commit"] = git("rev-parse", "HEAD") + (", changed" if changed else "")
    return found
