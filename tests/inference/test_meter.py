"""Clocks of a search, by a clock that stands where the test puts it."""

from rstar_jax.inference.meter import Meter


def test_a_gauge_counts_while_any_of_its_queues_has_something_open_by_its_own_clock():
    meter, now = Meter(), [0.0]
    gauge = meter.gauge("device", lambda: now[0])
    policy, ppm = gauge("policy"), gauge("ppm")

    def at(second, watch, count):
        now[0] = second
        watch(count)

    at(1, policy, 2)
    at(2, ppm, 1)
    at(3, policy, 0)
    assert meter.seconds["device"] == 0  # the PPM's is open still
    at(5, ppm, 0)
    at(9, ppm, 3)
    at(10, ppm, 0)
    assert meter.seconds["device"] == 4 + 1
