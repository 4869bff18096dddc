"""When the state is saved: by steps, by seconds, and by the leader's clock where processes are several."""

import pytest

from rstar_jax import distributed
from rstar_jax.train import TrainConfig, save_times
from rstar_jax.train.save_times import SaveTimes


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(save_times, "time", clock)
    return clock


def steps(times, clock, seconds, last, first=0):
    found = []
    for step in range(first + 1, last + 1):
        clock.now += seconds
        if times.due(step):
            found.append(step)
            times.saved()
    return found


@pytest.mark.parametrize(
    ("every_s", "every_steps", "expected"),
    [(0, 0, []), (0, 4, [4, 8, 12]), (5, 0, [5, 10]), (5, 4, [4, 8, 12])],
)
def test_by_seconds_and_by_steps(clock, every_s, every_steps, expected):
    config = TrainConfig(checkpoint_every_s=every_s, checkpoint_every_steps=every_steps)
    assert steps(SaveTimes(config, 0), clock, 1.0, 12) == expected


@pytest.mark.parametrize("seconds", [0.01, 1.0, 100.0])
def test_processes_save_after_the_same_steps_and_seldom_ask(monkeypatch, seconds):
    """The follower's own clock stands still: it does as the leader says."""
    told, at = [], []

    def here(index):
        monkeypatch.setattr(distributed, "here", lambda: distributed.Host(index, 2))

    def tell(value):
        told.append(value)
        return value

    config, leader, follower = TrainConfig(checkpoint_every_s=60), Clock(), Clock()
    monkeypatch.setattr(save_times, "time", leader)
    monkeypatch.setattr(distributed, "shared", tell)
    here(0)
    at.append(steps(SaveTimes(config, 100), leader, seconds, 100 + int(300 / seconds) + 1, first=100))
    queue = iter(list(told))
    monkeypatch.setattr(distributed, "shared", lambda value: next(queue))
    monkeypatch.setattr(save_times, "time", follower)
    here(1)
    at.append(steps(SaveTimes(config, 100), follower, 0.0, 100 + int(300 / seconds) + 1, first=100))
    assert at[0] == at[1] and len(at[0]) >= 4
    between = [(later - step) * seconds for step, later in zip(at[0], at[0][1:], strict=False)]
    assert all(60 <= wait <= max(66, seconds) for wait in between)
    assert len(told) <= 80
