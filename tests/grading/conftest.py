"""A grader for each file."""

import pytest

from rstar_jax.grading.algebra import Allowance
from rstar_jax.grading.answer import Grader


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=2, allowance=Allowance(cpu_s=1.0, wall_s=8.0, memory_mb=1024)) as opened:
        yield opened
