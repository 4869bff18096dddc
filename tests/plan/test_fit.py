"""What fits: the choice that ends first among those that a compiler lets through."""

import dataclasses
import itertools

import pytest

from rstar_jax.errors import UserError
from rstar_jax.plan.compiled import Compiled
from rstar_jax.plan.cost import QWEN_7B, Shape
from rstar_jax.plan.fit import GIB, REMATS, Fitting, Mesh, Training
from rstar_jax.plan.fit_search import Decoding, search, shapes
from rstar_jax.plan.hlo import Collective
from rstar_jax.plan.pace import Pace
from rstar_jax.topologies import parse

ROW = 4096
MESH = Mesh(16, 4)


class Fake:
    """A compiler: temporaries of so many GiB for each row on a device, by remat; asked: of what, in order."""

    def __init__(self, none: float, dots: float, full: float, limit: float = 95) -> None:
        self.each = dict(zip(REMATS, (none, dots, full), strict=True))
        self.limit, self.asked = limit, []

    def __call__(self, request, what):
        self.asked.append(request)
        if request["program"] not in ("policy gradients", "ppm gradients"):
            leaves = request["options"]["leaves"]
            return self.said(0.1 * leaves)
        rows, mesh = request["sizes"][0], request["mesh"]
        return self.said(self.each[request["options"]["remat"]] * rows / (mesh["data"] * mesh["fsdp"]))

    def said(self, gib: float) -> Compiled:
        if gib > self.limit:
            return Compiled(refused="RESOURCE_EXHAUSTED", used=gib * GIB, limit=self.limit * GIB)
        return Compiled(temporaries=round(gib * GIB), collectives={"all-gather": Collective(1, 1000)})


def fitting(compiler, topology="v5p:4x4x4"):
    chips = parse(topology)
    return Fitting(chips, Pace(Shape.of(QWEN_7B), chips.chip), {"model_type": "qwen2"}, compiler)


def trained(found: Fitting, mesh=MESH, batch_rows=128.0) -> Training:
    return found.train("policy", mesh, found.choices("policy", mesh, ROW, batch_rows), ROW, batch_rows)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (20, 5, 1), (60, 15, 2), (200, 30, 10), (200, 200, 40)])
def test_the_fastest_of_those_that_fit_is_found(sizes):
    """As if every choice were compiled; and none that a refused one rules out is."""
    compiler = Fake(*sizes)
    found = fitting(compiler)
    chosen = trained(found)
    mesh, states = MESH, chosen.total - chosen.parts["activations"]
    fits = [
        (remat, rows)
        for remat, rows in found.choices("policy", mesh, ROW, 128.0)
        if compiler.each[remat] * rows / 16 * GIB <= min(compiler.limit * GIB, found.memory - states)
    ]
    best = min(fits, key=lambda c: found.step_s("policy", mesh, *c, ROW, 128.0))
    assert (chosen.remat, chosen.rows) == best
    tried = [(REMATS.index(r["options"]["remat"]), r["sizes"][0]) for r in compiler.asked]
    refused = tried[:-1]
    assert all(not (a[0] >= b[0] and b[1] >= a[1]) for a, b in itertools.combinations(refused, 2))
    assert len(found.refusals) == len(refused)


def test_moments_count_though_gradients_are_compiled_without_them():
    found = fitting(Fake(94.5 / 8, 94.5 / 8, 1.0))
    chosen = trained(found)
    assert chosen.remat == "full" or chosen.rows < 128
    assert any("with moments" in refusal.why for refusal in found.refusals)


def test_what_fits_nowhere_is_refused_with_the_compilers_numbers():
    with pytest.raises(
        UserError, match=r"policy: does not fit v5p:4x4x4\..*used 1[0-9]{2}\.\d+ of 95\.00 GiB"
    ):
        trained(fitting(Fake(150, 140, 130)))


def test_by_arithmetic_what_fits_needs_no_compiler():
    chosen = trained(fitting(None))
    assert chosen.compiled is None and chosen.total < 95 * GIB
    with pytest.raises(UserError, match="by arithmetic"):
        trained(fitting(None, "v5e:1x1"), Mesh(1, 1))


def test_the_largest_microbatch_is_between_one_that_fits_and_one_that_does_not():
    found = fitting(Fake(10, 5, 1))
    chosen = trained(found, batch_rows=16.0)
    assert (chosen.remat, chosen.rows) == ("none", 16)
    largest = found.largest(chosen, ROW)
    assert largest == 16 * 8  # 80 GiB of 95
    assert found.refusals[-1].needed > found.memory


def test_meshes_divide_devices_and_heads():
    meshes = list(fitting(None).meshes())
    assert {(m.fsdp, m.tensor) for m in meshes} == {(64, 1), (32, 2), (16, 4)}  # 28 heads
    slices = list(fitting(None, "v5e:4x4*2").meshes())
    assert {(m.data, m.fsdp, m.tensor) for m in slices} == {(2, 16, 1), (2, 8, 2), (2, 4, 4)}
    assert all(m.wide * m.tensor == 32 for m in slices)


def test_hosts_of_gpus_are_joined_by_the_data_centre():
    found = fitting(None, "h200:32")
    meshes = {(m.data, m.fsdp, m.tensor) for m in found.meshes()}
    assert meshes == {(4, 8, 1), (4, 4, 2), (4, 2, 4)}
    mesh, one = Mesh(8, 1, data=4), fitting(None, "h200:8")
    # by hand: 8 bytes a parameter of a host's eighth, three quarters of it, at 80 percent of 50 GB/s
    across = 8 * found.shape.parameters / 8 * 3 / 4 / 40e9
    alone = one.pace.gradients(128, ROW, "none", 8, 1).collectives
    call = found.pace.gradients(512, ROW, "none", 32, 1, slices=4)
    assert call.collectives == pytest.approx(alone + across)
    assert found.step_s("policy", mesh, "none", 512, ROW, 512.0) == call.total + found.pace.update(32)


def test_a_refusal_names_the_least_of_all_meshes():
    found = fitting(None, "v5e:2x2")
    for mesh in (Mesh(1, 4), Mesh(4, 1)):
        with pytest.raises(UserError) as refused:
            trained(found, mesh)
    least = min(found.refusals, key=lambda each: each.needed)
    assert f"The least that was tried: {least.what}: {least.why}." in str(refused.value)
    assert "tensor 4" in least.what and "--config.fit=True" in str(refused.value)


DECODING = Decoding(rows=4, context=4096, max_step_tokens=2048, page_size=16, chunk=16, int8=False)


def test_a_search_takes_the_first_that_fits():
    found = fitting(Fake(1, 1, 1))
    loads = shapes(found, DECODING)
    assert {load.tensor for load in loads} == {1, 2, 4}
    assert {load.tensor for load in shapes(found, DECODING, 32, 2)} == {2}
    assert shapes(found, DECODING, 32, 3) == shapes(found, DECODING, 32, 8) == []  # of 4 devices
    chosen = search(found, DECODING, loads, ppm=True)
    assert chosen.total <= found.memory and chosen.parts["PPM"] < chosen.parts["policy"]
    assert list(chosen.compiled) == ["decode", "prefill", "score"]
    alone = search(found, DECODING, [chosen.load], ppm=False)
    assert list(alone.compiled) == ["decode", "prefill"] and alone.parts["PPM"] == 0
    smaller = search(found, dataclasses.replace(DECODING, int8=True), [chosen.load], ppm=True)
    assert smaller.parts["policy"] == chosen.parts["policy"] / 2


def test_a_model_that_no_host_holds_is_refused():
    found = fitting(Fake(1, 1, 1), "v5e:1x1")
    with pytest.raises(UserError, match=r"search: does not fit a host of v5e:1x1.*decode.weights=int8"):
        search(found, DECODING, shapes(found, DECODING), ppm=True)
