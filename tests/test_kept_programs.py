"""Compiled programs on disk: what one process made, the next one finds; and which are not kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import pytest

from rstar_jax import kept_programs
from tests.test_compilations import jax_option

PROGRAM = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp
from rstar_jax import compilations, kept_programs
from rstar_jax.compilations import DeviceProgram
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
kept_programs.WORTH_SECONDS = 0.0
folder = sys.argv[1]
kept_programs.keep((folder if "://" in folder else Path(folder)) if folder else None)
if sys.argv[2:]:
    kept_programs.forgo("of a test")
before = compilations.counts()
jax.jit(lambda x: jnp.tanh(x) * 3)(jnp.ones(5)).block_until_ready()
counted = compilations.counts().since(before)
print(counted.programs, counted.cached, counted.seconds > 0, jax.config.jax_compilation_cache_dir)
"""


def told(*arguments: str, **environment: str) -> list[str]:
    """What PROGRAM prints in a process of its own."""
    import os

    of_the_tests = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    inherited = {name: value for name, value in os.environ.items() if name not in of_the_tests}
    environment = {**inherited, **environment}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_what_one_process_compiled_the_next_one_finds(tmp_path: Path) -> None:
    made, found, seconds, folder = told(str(tmp_path))
    assert int(made) >= 1 and found == "0" and seconds == "True" and Path(folder) == tmp_path.resolve()
    assert told(str(tmp_path))[:2] == ["0", made]
    # What a killed process left of a program would keep JAX from writing any.
    (whole, *_) = tmp_path.glob("*-cache")
    whole.write_bytes(whole.read_bytes()[:10])
    whole.with_name(whole.name.removesuffix("-cache") + "-atime").unlink()
    assert int(told(str(tmp_path))[0]) == 1
    assert told(str(tmp_path))[:2] == ["0", made]


@pytest.mark.buckets
@pytest.mark.parametrize("server", ["s3", "gs"])
def test_a_bucket_keeps_what_one_process_compiled_for_the_next(
    request: pytest.FixtureRequest, server: str
) -> None:
    url = f"{request.getfixturevalue(server)}/compiled"
    made, found, _, folder = told(url)
    assert int(made) >= 1 and found == "0" and folder.startswith(f"{url}/")
    # However JAX is told of it.
    assert told("", JAX_COMPILATION_CACHE_DIR=url)[:2] == ["0", made]


def test_programs_of_a_cache_without_a_bound_are_found_with_and_without_one(tmp_path: Path) -> None:
    """JAX dates nothing there: an undated program is no half one for that."""
    made, *_ = told(str(tmp_path), JAX_COMPILATION_CACHE_MAX_SIZE="-1")
    assert not list(tmp_path.glob("*-atime"))
    assert told(str(tmp_path), JAX_COMPILATION_CACHE_MAX_SIZE="-1")[:2] == ["0", made]
    assert told(str(tmp_path))[:2] == ["0", made]
    assert len(list(tmp_path.glob("*-atime"))) == len(list(tmp_path.glob("*-cache"))) > 0


def test_a_user_without_a_home_is_told_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_home(self: Path) -> Path:  # as pathlib, where neither $HOME nor the user's name is known
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", no_home)
    with jax_option("jax_compilation_cache_dir", None):
        kept_programs.keep(None)
        assert jax.config.values["jax_compilation_cache_dir"] is None
    assert "not kept" in caplog.text and "--compiled=DIR" in caplog.text


def test_a_users_programs_lie_in_his_cache_unless_jax_was_told_of_another(tmp_path: Path) -> None:
    assert Path(told("", XDG_CACHE_HOME=str(tmp_path))[3]).is_relative_to(tmp_path / "rstar_jax" / "compiled")
    there = str(tmp_path / "there")
    assert told("", XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=there)[3] == there


def test_a_folder_that_cannot_be_used_is_said_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = jax.config.values["jax_compilation_cache_dir"]
    (tmp_path / "file").write_text("")
    kept_programs.keep(tmp_path / "file" / "below")
    assert "--compiled=DIR" in caplog.text
    assert jax.config.values["jax_compilation_cache_dir"] == before


def test_who_forgoes_finds_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    told(str(tmp_path))
    there = sorted(path.name for path in tmp_path.glob("*-cache"))
    made, found, *_ = told(str(tmp_path), "forgo")
    assert int(made) >= 1 and found == "0"
    assert sorted(path.name for path in tmp_path.glob("*-cache")) == there


APART = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rstar_jax import compilations, kept_programs
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
kept_programs.WORTH_SECONDS = 0.0
kept_programs.keep(Path(sys.argv[1]))
if sys.argv[2:]:
    kept_programs.forgo_without(0, "of a test")
    kept_programs.forgo_without(0, "of a test")
numbers, program = np.ones(8, np.float32), jax.jit(lambda x: jnp.tanh(x) * 3)
for ids in ((0,), (1,), (2, 3), (0, 1, 2, 3)):
    mesh = Mesh(np.array([jax.devices()[i] for i in ids]), ("x",))
    given = jax.device_put(numbers, NamedSharding(mesh, PartitionSpec("x")))
    before = compilations.counts()
    program(given).block_until_ready()
    counted = compilations.counts().since(before)
    print(counted.programs, counted.cached)
"""


def test_programs_are_kept_by_their_devices_and_those_without_the_first_not_at_all(tmp_path: Path) -> None:
    def ran(*arguments: str) -> list[str]:
        import os

        flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
        process = subprocess.run(
            [sys.executable, "-c", APART, *arguments],
            env={**os.environ, **flags},
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stderr
        return process.stdout.split("\n")[:4]

    first, all_ = str(tmp_path / "first"), str(tmp_path / "all")
    assert ran(first, "forgo") == ["1 0"] * 4
    assert ran(first, "forgo") == ["0 1", "1 0", "1 0", "0 1"]  # found, compiled, compiled, found
    assert len([*(tmp_path / "first").glob("*-cache")]) == 2
    assert ran(all_) == ["1 0"] * 4 and ran(all_) == ["0 1"] * 4  # no set of devices finds another's
    assert len([*(tmp_path / "all").glob("*-cache")]) == 4
