"""The zygote inside bubblewrap: namespaces of its own, and no file but the interpreter's and its libraries'.

One `bwrap` per zygote, not per snippet: it costs milliseconds at a start and nothing after. It does not ask
for --die-with-parent, which would follow the thread that started it; a zygote ends when its commands do.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from rstar_jax.errors import UserError

_LIBRARIES = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/nix/store")
_NOBODY = "65534"


def wrap(command: list[str], paths: tuple[str, ...], hidden: tuple[str, ...]) -> list[str]:
    """`command` (of this interpreter) to be run by bwrap, with `paths` readable besides the interpreter, and
    folders that are `hidden` empty but for these.

    Raises UserError where bwrap is not installed. Where it is not allowed to make namespaces it says so
    itself when started, on its standard error.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise UserError(
            "verify.sandbox.bubblewrap=True, but there is no `bwrap` here. Install the package `bubblewrap` "
            "or leave the option out."
        )
    wrapped = [bwrap, "--unshare-all", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    if os.geteuid() == 0:
        # Else the zygote would find itself root of its name space, unable to become anybody else in it.
        wrapped += ["--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY]
    roots = _readable()
    for path in roots:
        wrapped += ["--ro-bind", path, path]
    for folder in hidden:
        for path in roots:  # each a mount of its own, also where one is a link into another
            if Path(folder).is_relative_to(real := os.path.realpath(path)):
                wrapped += ["--tmpfs", os.path.normpath(os.path.join(path, os.path.relpath(folder, real)))]
    for path in (str(Path(__file__).resolve().parent), *paths):
        wrapped += ["--ro-bind", path, path]
    return [*wrapped, "--chdir", "/", "--", *command]


def _readable() -> list[str]:
    """Existing places that the interpreter needs; none lies within another."""
    own = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    chosen: list[str] = []
    for path in sorted({*_LIBRARIES, *own, *map(os.path.realpath, own)}, key=len):
        inside = any(Path(path).is_relative_to(other) for other in chosen)
        if os.path.exists(path) and not inside:
            chosen.append(path)
    return chosen
