"""Zygotes inside bubblewrap, where it is installed and allowed to make namespaces."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from rstar_jax.errors import UserError
from rstar_jax.sandbox import Isolation, Limits, Sandbox
from tests.sandbox.processes import living, soon

INSIDE = Isolation(bubblewrap=True, without=("landlock",), allow_unsafe=True)
# What bubblewrap alone holds back is seen where the layers inside it are left out.
BARE = Isolation(bubblewrap=True, without=("landlock", "seccomp"), allow_unsafe=True)


def works() -> bool:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return False
    probe = [bwrap, "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]
    return subprocess.run(probe, capture_output=True).returncode == 0


needs_bwrap = pytest.mark.skipif(not works(), reason="no bwrap here, or it may not make namespaces")


@needs_bwrap
def test_snippets_run_inside_with_their_packages():
    with Sandbox(workers=1, isolation=INSIDE) as sandbox:
        results = sandbox.run(
            ["print(6 * 7)", "import numpy, sympy, mpmath\nprint(sympy.sqrt(numpy.int64(16)))", "1 / 0"]
        )
        assert "missing" not in sandbox.layers["seccomp"]
        assert "namespaces" in sandbox.layers["bubblewrap"]
    assert [r.stdout for r in results[:2]] == ["42\n", "4\n"]
    assert results[2].exception == "ZeroDivisionError"


@needs_bwrap
def test_the_home_the_repository_and_other_processes_are_out_of_sight(monkeypatch):
    monkeypatch.setenv("RSTAR_SECRET", "42")
    tests, home = Path(__file__).parent, Path.home()
    own = Path("/tmp", f"rstar-jax-test-{os.getpid()}")
    code = f"""
import os, socket
print(os.listdir({str(tests.parent.parent)!r}) if os.path.exists({str(tests.parent.parent)!r}) else [])
print([name for name in os.listdir({str(home)!r})] if os.path.exists({str(home)!r}) else [])
print(os.path.exists({str(tests)!r}), "RSTAR_SECRET" in os.environ, os.getuid() != 0)
print(max(int(name) for name in os.listdir("/proc") if name.isdigit()) < 100)
print([name for _, name in socket.if_nameindex()])
print({own.name!r} in os.listdir("/tmp"))
try:
    open("/usr/made", "w")
except OSError as error:
    print(type(error).__name__)
"""
    own.touch()
    try:
        with Sandbox(workers=1, isolation=BARE) as sandbox:
            result = sandbox.run([code])[0]
    finally:
        own.unlink()
    assert result.status == "ok", result
    top, at_home, *rest = result.stdout.splitlines()
    assert set(eval_list(top)) <= {".venv", "rstar_jax"}
    assert not set(eval_list(at_home)) & {".ssh", ".bashrc", ".profile", ".aws", ".config"}
    assert rest[:2] == ["False False True", "True"]
    assert rest[2] in ("['lo']", "[]")
    assert rest[3:] == ["False", "OSError"]


def eval_list(text: str) -> list[str]:
    return [word.strip("'") for word in text.strip("[]").split(", ") if word]


@needs_bwrap
def test_closing_and_killing_leave_nothing(below):
    with Sandbox(workers=1, isolation=INSIDE, limits=Limits(wall_s=30)) as sandbox:
        queue = sandbox.queue()
        queue.submit(["import time\ntime.sleep(60)"])
        assert soon(lambda: len(below()) == 4)  # bwrap, its init, the zygote, its child
        started = below()
    assert soon(lambda: not set(started) & living().keys())
    with Sandbox(workers=1, isolation=INSIDE) as sandbox:
        started = below()
        for pid in started:
            os.kill(pid, signal.SIGSTOP)
        queue = sandbox.queue()
        queue.submit(["print(1)"])
    assert soon(lambda: not set(started) & living().keys())


@needs_bwrap
@pytest.mark.parametrize("which", [0, 1, 2], ids=["bwrap", "its init", "the zygote"])
def test_none_is_left_when_one_is_killed(below, which):
    with Sandbox(workers=1, isolation=INSIDE) as sandbox:
        started = below()
        os.kill(started[which], signal.SIGKILL)
        assert sandbox.run(["print(1)"])[0].stdout == "1\n"
    assert soon(lambda: not set(started) & living().keys())


def test_without_bwrap_the_option_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"verify\.sandbox\.bubblewrap.*Install"):
        Sandbox(workers=1, isolation=INSIDE).run(["print(1)"])


def test_a_bwrap_that_may_not_make_namespaces_is_told(monkeypatch, tmp_path):
    bwrap = tmp_path / "bwrap"
    bwrap.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UserError, match=r"No permissions to create.*verify\.sandbox\.bubblewrap"):
        Sandbox(workers=1, isolation=INSIDE).run(["print(1)"])
