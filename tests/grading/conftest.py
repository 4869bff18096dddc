"""A grader for each file, and the processes that a test has started."""

import pytest

from rstar_jax.grading.algebra import Allowance
from rstar_jax.grading.answer import Grader
from tests.sandbox.processes import descendants


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=2, allowance=Allowance(cpu_s=1.0, wall_s=8.0, memory_mb=1024)) as opened:
        yield opened


@pytest.fixture
def started():
    """A function: the ids of the living processes that were started since the test began."""
    before = set(descendants())
    return lambda: set(descendants()) - before
