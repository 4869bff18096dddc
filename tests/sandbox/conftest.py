"""For the room's tests: one sandbox, as starting its processes is dear."""

import pytest

from rstar_jax.sandbox import Limits, Sandbox
from tests.sandbox.processes import descendants

LIMITS = Limits(cpu_s=1.0, wall_s=2.0, memory_mb=256, output_kb=8)


@pytest.fixture(scope="session")
def sandbox():
    with Sandbox(workers=1, limits=LIMITS) as opened:
        yield opened


@pytest.fixture
def below():
    """Gives the processes below this one that were not there when the test began."""
    before = set(descendants())
    return lambda: [pid for pid in descendants() if pid not in before]
