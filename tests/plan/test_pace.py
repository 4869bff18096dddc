"""The roofline of chips: held to published figures, and growing as it must."""

import dataclasses

import pytest

from rstar_jax.errors import UserError
from rstar_jax.plan.cost import QWEN_7B, Shape
from rstar_jax.plan.pace import Efficiency, Pace, Seconds
from rstar_jax.plan.published import PUBLISHED, Serving
from rstar_jax.topologies import CHIPS

SEVEN = Shape.of(QWEN_7B)
V5P = Pace(SEVEN, CHIPS["v5p"])


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.name} {row.chip}")
def test_published_figures_are_met_within_a_quarter(row):
    told = row.tokens if isinstance(row, Serving) else row.tflops
    assert row.predicted() == pytest.approx(told, rel=0.25)


def test_published_rows_are_told_apart():
    """The same shares for all: those of one chip's trainings alone would miss another's."""
    wrong = Efficiency(products=0.6)
    misses = [r.predicted(wrong) / r.tflops for r in PUBLISHED if not isinstance(r, Serving)]
    assert min(misses) < 0.85


def test_collectives_hide_behind_products_up_to_a_share():
    assert Seconds(1.0, 0.0, 0.4, hidden=0.75).total == pytest.approx(1.1)  # a quarter of them shows
    assert Seconds(1.0, 0.0, 2.0, hidden=0.75).total == pytest.approx(2.25)  # longer than what hides them
    assert Seconds(1.0, 0.5, 0.0).total == 1.5


def test_gradients_cost_six_operations_a_parameter_and_what_is_computed_again():
    none, dots, full = (V5P.train_flops(1.0, 0, remat) for remat in ("none", "dots", "full"))
    assert none == dots == pytest.approx(6 * SEVEN.matrices)
    assert full == pytest.approx(8 * SEVEN.matrices - 2 * SEVEN.vocab * SEVEN.width)
    assert V5P.train_flops(1.0, 4096, "dots") > V5P.train_flops(1.0, 4096, "none") > none


def test_wider_meshes_take_less_time_and_more_links():
    one, two = (V5P.gradients(32, 4096, "none", devices, 1) for devices in (32, 64))
    assert two.products == pytest.approx(one.products / 2)
    assert two.collectives > one.collectives
    assert V5P.gradients(32, 4096, "none", 32, 1, sent=0.0).collectives == 0


def test_decoding_is_bound_by_what_it_reads():
    weights = 2 * SEVEN.matrices / (CHIPS["v5p"].gbs * 1e9 * 0.8)
    small = V5P.decode(1, 1, 0, 0, looks=0)
    assert small == pytest.approx(weights, rel=0.01)
    shared = V5P.decode(16, 16, 1000, 0)
    assert shared < V5P.decode(256, 1, 1000, 0)  # candidates share a prefix
    assert V5P.decode(16, 16, 1000, 0, tensor=4) < shared
    assert V5P.decode(16, 16, 1000, 0, looks=1) == pytest.approx(shared + 15 / 16 * 0.02)


def test_a_device_is_its_share_of_a_chip():
    chip = CHIPS["tpu7x"]
    whole = dataclasses.replace(chip, devices=1)
    half, one = Pace(SEVEN, chip), Pace(SEVEN, whole)
    assert half.update(2) == pytest.approx(one.update(1))
    assert half.read(1000, 0) == pytest.approx(2 * one.read(1000, 0))


def test_a_share_is_a_share():
    with pytest.raises(UserError, match=r"efficiency\.memory: 1\.5 given"):
        Efficiency(memory=1.5)
