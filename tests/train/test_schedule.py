"""Learning rates at the points that define a schedule."""

import jax.numpy as jnp
import pytest

from rstar_jax.train.schedule import rate


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("linear", 0, 1.0), ("linear", 50, 0.5), ("linear", 75, 0.25),
        ("linear", 99, 0.01), ("linear", 100, 0.0),
        ("cosine", 0, 1.0), ("cosine", 50, 0.5), ("cosine", 25, 0.853553), ("cosine", 100, 0.0),
    ],
)  # fmt: skip
def test_without_warmup(schedule, step, expected):
    value = rate(schedule, jnp.int32(step), jnp.float32(100), jnp.float32(2.0), jnp.float32(0))
    assert float(value) == pytest.approx(2.0 * expected, abs=1e-6)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (55, 0.5), (100, 0.0), (120, 0.0)]
)
def test_warmup_rises_to_the_peak_then_falls(schedule, step, expected):
    value = rate(schedule, jnp.int32(step), jnp.float32(100), jnp.float32(1.0), jnp.float32(0.1))
    assert float(value) == pytest.approx(expected, abs=1e-6)
