"""Metrics survive kills and resumes without doubled or half lines."""

import json

import pytest

from rstar_jax.errors import UserError
from rstar_jax.train import MetricsWriter, read_metrics


def test_resume_forgets_what_will_be_done_again(tmp_path):
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.start(0)
        for step in range(5):
            writer.write(step, {"loss": step + 0.5})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # killed here
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.start(3)
        writer.write(3, {"loss": float("nan")})
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [r["step"] for r in rows] == [0, 1, 2, 3]
    assert [r["loss"] for r in rows] == [0.5, 1.5, 2.5, None]
    json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1], parse_constant=lambda c: 1 / 0)


def test_metrics_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match=r"metrics\.jsonl: a file expected there"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_tensorboard_gets_every_value(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.start(0)
        writer.write(0, {"loss": 1.25})
    (events,) = tmp_path.glob("events.out.tfevents.*")
    assert b"loss" in events.read_bytes()
