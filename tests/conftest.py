"""Settings every test shares: CPU only, cheap compilation, strict shapes."""

import os

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

# Each takes a minute or more.
_LONG = ("test_hostile.py", "test_rounds.py", "test_sharding.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where processes share the files, the long ones come first: one that is left for last runs alone."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path.name not in _LONG)
