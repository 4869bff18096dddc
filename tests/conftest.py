"""Settings every test shares: CPU only, cheap compilation."""

import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

pytest_plugins = ["tests.buckets"]

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Shapes that meet say so: a broadcast over dimensions that one side lacks is an error.
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)
# What runs compile is kept for all runs of a user: here for those of these tests, not longer. Most files
# compile the same small programs, so the processes of these tests, and those that they start, share them.
_COMPILED = tempfile.TemporaryDirectory(prefix="rstar-jax-tests-")
os.environ["XDG_CACHE_HOME"] = _COMPILED.name
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{_COMPILED.name}/shared"
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.01")

# What a test may need over and above the requirements: its marker, which is the package's name ("browser":
# playwright, axe and a Chromium; "buckets": BUCKETS), and what installs it. Such a test imports the package
# in its body, and skips where it is absent.
OPTIONAL = {
    "torch": "pip install -e '.[reference]'",
    "libtpu": "pip install 'jax[tpu]'",  # the one that goes with the installed jax
    "datasets": "pip install -e '.[hub]'",
    "grain": "pip install -e '.[grain]'",
    "wandb": "pip install -e '.[wandb]'",
    "inspect_ai": "pip install inspect_ai",
    "lm_eval": "pip install lm_eval",
    "buckets": "pip install -e '.[buckets]'",
    "browser": "pip install -e '.[browser]'; apt-get install chromium",
    "shellcheck": "pip install -e '.[launch]'",
    "hadolint": "pip install -e '.[launch]'",
}
_PROGRAMS = ("shellcheck", "hadolint")  # packages that bring a program alone
BUCKETS = ("moto", "s3fs", "gcsfs", "gcp_storage_emulator")
# The browser of `browser` tests, one that the system has: playwright drives it, and brings none.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Each takes a minute or more.
_LONG = ("test_hostile.py", "test_kills.py", "test_processes.py", "test_rounds.py", "test_sharding.py")


# A shell ignores SIGINT in what it runs in the background, and whatever that starts inherits it and
# leaves it so: the tests of signals would send theirs in vain.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    for name in OPTIONAL:
        config.addinivalue_line("markers", f"{name}: needs {name}, skipped where it is not installed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a package that is absent. Where processes share the files, the long ones come first:
    one that is left for last runs alone."""
    absent = [name for name in OPTIONAL if _is_absent(name)]
    for item in items:
        for name in absent:
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=_absent(name)))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path.name not in _LONG)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was left out for want of a package, and what would run it."""
    skipped = terminalreporter.stats.get("skipped", [])
    for name, install in OPTIONAL.items():
        if count := sum(_absent(name) in str(report.longrepr) for report in skipped):
            terminalreporter.write_line(
                f"{count} tests were skipped that need {name}. To run them: {install}; pytest -m {name}"
            )


def _is_absent(name: str) -> bool:
    if name == "browser":
        return CHROMIUM is None or importlib.util.find_spec("axe_playwright_python") is None
    if name in _PROGRAMS:
        return not shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if name == "buckets":
        return any(importlib.util.find_spec(package) is None for package in BUCKETS)
    return importlib.util.find_spec(name) is None


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, of playwright's type Browser; of a module, as its event loop lets no other run."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


def _absent(name: str) -> str:
    return f"{name} is not installed"
