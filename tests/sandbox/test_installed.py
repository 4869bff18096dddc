"""The sandbox of an installed package: programs import what the task names, nothing beside it."""

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from rstar_jax.sandbox import Isolation, Sandbox, kinds, layers

ROOT = Path(__file__).resolve().parents[2]
# Ways to this project's modules, {site} being where it is installed.
WAYS = (
    "from rstar_jax.problems.suite import generate",
    "import sys\nsys.path.append({site!r})\nfrom rstar_jax.problems.suite import generate",
    "import sys\nsys.path.insert(0, {site!r})\nsys.path_importer_cache.clear()\nimport rstar_jax.types",
    "exec(open({site!r} + '/rstar_jax/types.py').read())",
    "import os\nos.listdir({site!r})",
    "import os\nos.listdir({site!r} + '/rstar_jax')",
    "import runpy\nrunpy.run_path({site!r} + '/rstar_jax/errors.py')",
    "import importlib.util as u\ns = u.spec_from_file_location('e', {site!r} + '/rstar_jax/errors.py')\n"
    "s.loader.exec_module(u.module_from_spec(s))",
    "import pytest",
    "import pyarrow",
    "import jax",
)
NAMED = (
    "import numpy, sympy, mpmath\nprint(numpy.linalg.det(numpy.eye(2)), sympy.sqrt(16), mpmath.mpf(1))",
    "from sympy.plotting import plot\nimport numpy.testing, sympy.physics.quantum\nprint(1)",
    "import json.tool, wave, xml.dom.minidom, zoneinfo\nprint(1)",
    "import importlib\nimportlib.invalidate_caches()\nimport tomllib\nprint(1)",
)
_ASK = """
import json, sys
import rstar_jax
from rstar_jax.sandbox import Isolation, Sandbox
programs = json.loads(sys.stdin.read())
found = [rstar_jax.__file__]
for without in ((), ("landlock",)):
    with Sandbox(workers=1, isolation=Isolation(without=without)) as sandbox:
        found.append([(r.status, r.exception) for r in sandbox.run(programs)])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The python of an environment with a wheel of this project and this environment's packages, and where
    the wheel lies."""
    pytest.importorskip("setuptools", "77", reason="a wheel cannot be built here without setuptools 77")
    pytest.importorskip("pip", reason="a wheel cannot be built here without pip")
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in ("rstar_jax", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation"]
    command = [*pip, "-w", str(folder), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    venv.create(folder / "env", with_pip=False, symlinks=True)
    (site,) = (folder / "env/lib").glob("python*/site-packages")
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    others = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (site / "others.pth").write_text("\n".join(others))
    return folder / "env/bin/python", site


def test_programs_import_what_the_task_names_and_nothing_of_an_installed_package(installed):
    python, site = installed
    programs = [way.format(site=str(site)) for way in WAYS] + list(NAMED)
    ran = subprocess.run(
        [python, "-E", "-c", _ASK],
        input=json.dumps(programs),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    where, *found = json.loads(ran.stdout)
    assert Path(where).is_relative_to(site)
    for results in found:
        refused, allowed = results[: len(WAYS)], results[len(WAYS) :]
        assert {status for status, _ in refused} == {"exception"}, refused
        assert {name for _, name in refused} <= {"ModuleNotFoundError", "PermissionError"}
        assert allowed[0] == ["ok", ""]
    assert [status for status, _ in found[0][len(WAYS) :]] == ["ok"] * len(NAMED)


def test_an_installed_package_does_its_rounds_from_any_folder(installed, tmp_path):
    python, _ = installed
    launch = [python, "-E", "-m", "rstar_jax.launch"]
    few = ["rounds=(1,)", "problems.train=12", "problems.heldout=2", "search.rollouts=2"]
    one = ["run=runs/quickstart", "search.rollouts=1", "search.candidates=2", "question=2 + 3?"]
    for name, options, shown, ends in (
        ("quickstart", few, "Files, in runs/quickstart: everything measured report.json", (0,)),
        ("solve", one, "\nsearch: ", (0, 1)),  # 1: so small a search may find no answer
    ):
        options = [f"--config={name}", *(f"--config.{option}" for option in options)]
        ran = subprocess.run([*launch, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode in ends, ran.stderr
        assert shown in ran.stdout and "Traceback" not in ran.stderr


def test_what_lies_beside_this_projects_packages_is_out_of_reach():
    site = str(Path(sysconfig.get_path("purelib")).resolve())
    programs = [way.format(site=site) for way in WAYS]
    for without in ((), ("landlock",)):
        with Sandbox(workers=1, isolation=Isolation(without=without)) as sandbox:
            results = sandbox.run([*programs, *NAMED[:1]])
        assert {r.status for r in results[:-1]} == {"exception"}
        assert results[-1].status == "ok", results[-1]


def test_what_is_needed_is_found_and_what_is_an_extra_is_not(monkeypatch, tmp_path):
    for name, needs in {
        "first": ["second>=1; python_version > '3'", "third; extra == 'more'", "absent"],
        "second": [],
        "third": [],
    }.items():
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        lines = [f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {need}" for need in needs)]
        (about / "METADATA").write_text("\n".join(lines) + "\n")
        (about / "RECORD").write_text(f"{name}/__init__.py,,\n{name}.libs/x.so,,\n../../bin/{name},,\n")
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(kinds, "PACKAGES", ("first",))
    kinds.packages.cache_clear()
    try:
        found = kinds.packages()
    finally:
        kinds.packages.cache_clear()
    assert found.versions == {"first": "1.0", "second": "1.0", "absent": ""}
    assert set(found.modules) == {"first", "second"}
    assert found.places == (str(tmp_path / "first"), str(tmp_path / "second"))


def test_what_is_hidden_is_left_out_of_what_is_allowed_around_it(tmp_path):
    for name in ("lib/python/site-packages/secret", "lib/python/json", "lib/other", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lib/python/os.py").touch()
    (tmp_path / "lib/python/link").symlink_to(tmp_path / "elsewhere")
    hidden = [str(tmp_path / "lib/python/site-packages")]
    around = [Path(p).relative_to(tmp_path).as_posix() for p in layers._around(str(tmp_path / "lib"), hidden)]
    assert around == ["lib/other", "lib/python/json", "lib/python/os.py"]
    assert list(layers._around(hidden[0], hidden)) == []
    inside = str(tmp_path / "lib/python/site-packages/secret")
    assert list(layers._around(inside, hidden)) == [inside]  # what is named by itself
