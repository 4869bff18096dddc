"""Accelerators and their slices: counts that agree with the makers', and misspelt ones told the nearest."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_jax.errors import UserError
from rstar_jax.topologies import CHIPS, Topology, parse, shapes

EVERY = [Topology(chip, shape) for chip in CHIPS.values() for shape in shapes(chip)]


@pytest.mark.parametrize(
    ("spec", "chips", "hosts", "devices", "machine"),
    [  # Google's tables of TPUs in GKE
        ("v5e:1x1", 1, 1, 1, "ct5lp-hightpu-1t"),
        ("v5e:2x4", 8, 1, 8, "ct5lp-hightpu-8t"),
        ("v5e:16x16", 256, 64, 256, "ct5lp-hightpu-4t"),
        ("v5e:16x16*2", 512, 128, 512, "ct5lp-hightpu-4t"),
        ("v5p:2x2x1", 4, 1, 4, "ct5p-hightpu-4t"),
        ("v5p:4x4x4", 64, 16, 64, "ct5p-hightpu-4t"),
        ("v5p:16x16x24", 6144, 1536, 6144, "ct5p-hightpu-4t"),
        ("v6e:2x2", 4, 1, 4, "ct6e-standard-4t"),
        ("v6e:8x8", 64, 16, 64, "ct6e-standard-4t"),
        ("tpu7x:1x1x1", 1, 1, 2, "tpu7x-standard-1t"),
        ("tpu7x:4x4x4", 64, 16, 128, "tpu7x-standard-4t"),
        ("h200:8", 8, 1, 8, None),
        ("a100:64", 64, 8, 64, None),
    ],
)
def test_counts(spec, chips, hosts, devices, machine):
    topology = parse(spec)
    assert (topology.chips, topology.hosts, topology.devices) == (chips, hosts, devices)
    assert (topology.gke and topology.gke.machine) == machine
    assert str(topology) == spec


@pytest.mark.parametrize("topology", EVERY[::7], ids=str)
def test_what_exists_is_read_back_and_its_hosts_hold_all_its_chips(topology):
    assert parse(str(topology)) == topology
    assert topology.hosts * topology.chips_per_host == topology.chips <= topology.chip.most


@pytest.mark.parametrize("topology", EVERY[::7], ids=str)
def test_letters_are_of_any_case(topology):
    assert parse(str(topology).upper()) == topology


def test_no_shape_comes_twice():
    assert len({str(t) for t in EVERY}) == len(EVERY)


@pytest.mark.parametrize(
    ("spec", "nearest"),
    [
        ("v5p:4x4x5", "v5p:4x4x4"),
        ("v5p:8x4x4", "v5p:4x4x8"),
        ("v5e:16x15", "v5e:16x16"),
        ("v5e-256", "v5e:16x16"),
        ("v5e:4x4x4", "v5e:8x8"),
        ("v6e:99999999999999999999999999x9", "v6e:16x16"),
        ("v5e:0x0", "v5e:1x1"),
        ("tpu7x:2x2x3", "tpu7x:2x2x4"),
        ("h200:9", "h200:8"),
        ("h200:8*4", "h200:32"),
        ("v5p:4x4x4*0", "v5p:4x4x4"),
        ("v5p", "v5p:2x2x1"),
        ("v5pp:4x4x4", "v5p"),
        ("TPU7X:2X2X3", "tpu7x:2x2x4"),
        ("V5E-256", "v5e:16x16"),
        ("TPU8:4x4x4", "tpu7x"),
        ("v5e:" + "9" * 5000, "v5e:16x16"),
        ("v5e:4x4*99999", "v5e:4x4"),
        ("v5e:" + "x".join("9" * 400), "v5e:16x16"),
        ("", "Known here: a100"),
    ],
)
def test_what_does_not_exist_is_told_with_the_nearest(spec, nearest):
    with pytest.raises(UserError) as caught:
        parse(spec)
    assert repr(spec) in str(caught.value) or len(spec) > 100
    assert nearest in str(caught.value)


@given(st.text(alphabet="v5ep6tux7h120:*-.", max_size=12) | st.text(max_size=8))
def test_any_text_is_a_topology_or_told_of(text):
    try:
        topology = parse(text)
    except UserError as error:
        proposed = re.search(r"Did you mean '([\w:]+)'\?", str(error))
        assert "Known here" in str(error) if proposed is None else proposed[1] in CHIPS or parse(proposed[1])
    else:
        assert math.prod(topology.shape) * topology.slices == topology.chips
