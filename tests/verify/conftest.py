"""For the room's tests: one sandbox, as starting its processes is dear, and a grader for each file."""

import pytest
from processes import descendants

from rstar_jax.verify.algebra import Allowance
from rstar_jax.verify.answer import Grader
from rstar_jax.verify.sandbox import Limits, Sandbox

LIMITS = Limits(cpu_s=1.0, wall_s=2.0, memory_mb=256, output_kb=8)


@pytest.fixture(scope="session")
def sandbox():
    with Sandbox(workers=1, limits=LIMITS) as opened:
        yield opened


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=2, allowance=Allowance(cpu_s=1.0, wall_s=8.0, memory_mb=1024)) as opened:
        yield opened


@pytest.fixture
def below():
    """Gives the processes below this one that were not there when the test began."""
    before = set(descendants())
    return lambda: [pid for pid in descendants() if pid not in before]
