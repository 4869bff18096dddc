"""A folder in an empty bucket, and signals as in a command."""

import signal
import uuid

import pytest

from rstar_jax.launch import signals
from rstar_jax.mirror import lock


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.buckets) for name in ("s3", "gs"))])
def url(request: pytest.FixtureRequest, monkeypatch, tmp_path) -> str:
    """A folder's URL in an empty bucket; this machine has no mirror of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    monkeypatch.setattr(lock, "LEASE_S", 0.5)
    root = "memory://bucket" if request.param == "memory" else request.getfixturevalue(request.param)
    return f"{root}/{uuid.uuid4()}/run"


@pytest.fixture
def signals_are_heeded():
    def stop(*_: object) -> None:
        raise signals.Terminated

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)
