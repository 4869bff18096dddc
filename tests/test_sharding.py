"""Meshes and rules: eight virtual devices give the same logits and gradients as one."""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

from rstar_jax import sharding
from rstar_jax.errors import UserError
from tests.on_devices import printed

CUBE, WIDE = {"data": 2, "fsdp": 2, "tensor": 2}, {"tensor": 8}
EXPERT = {"fsdp": 2, "tensor": 2, "expert": 2}
# Which of models/zoo.py runs on which mesh, and what share of its largest weights each device then holds.
RUNS = [
    ("qwen2", CUBE, 1 / 4),
    ("qwen2", WIDE, 1 / 8),
    ("qwen3", CUBE, 1 / 4),
    ("llama3", EXPERT, 1 / 4),
    ("mistral", {"data": 2, "tensor": 4}, 1 / 4),
    ("phi3", {"fsdp": 8}, 1 / 8),
    ("gemma2-scanned", CUBE, 1 / 4),
    ("gemma3", CUBE, 1 / 4),
    ("deepseek-v2", CUBE, 1 / 4),
    ("deepseek-v2", EXPERT, 1 / 8),
]
ODD = {"qwen2", "gemma2-scanned", "deepseek-v2"}  # with a vocabulary that no mesh splits
REMAT: dict[str, Any] = {"qwen2": "dots", "mistral": "full", "gemma3": "full", "deepseek-v2": "full"}


def compare(folder: Path) -> None:
    """Runs models on one of eight devices, and on a mesh of all; prints what share of it a device holds."""
    import jax.numpy as jnp
    import numpy as np
    from flax import nnx

    from rstar_jax.models import init_random
    from rstar_jax.weights import FAMILIES, load_pretrained, save_pretrained
    from tests.models.zoo import config

    @functools.partial(nnx.jit, static_argnames="remat")
    def run(model, tokens, segments, remat):
        def loss(model):
            logits = model.logits(model.hidden(tokens, None, segments, remat=remat))
            return jnp.mean(jnp.square(logits)), logits

        grads, logits = nnx.grad(loss, has_aux=True)(model)
        return logits, grads

    tokens = jnp.asarray(np.random.default_rng(0).integers(100, size=(8, 12)))
    segments = jnp.asarray([[1] * 7 + [2] * 5] * 8)
    # "gemma3", whose text part alone is read, is a gemma3_text then.
    assert {config(name).family for name, *_ in RUNS} == set(FAMILIES) - {"gemma3"}, "one runs on no mesh"
    done = {}
    for name, shape, _ in RUNS:
        c = dataclasses.replace(config(name), vocab_size=101 if name in ODD else 100)
        if name not in done:
            alone = init_random(c, seed=0)
            done[name] = run(alone, tokens, segments, "none")
            save_pretrained(alone, folder / name)
        mesh = sharding.make_mesh(**shape)
        model = load_pretrained(folder / name, mesh=mesh)
        where = sharding.sharding(mesh, ("batch", None), tokens.shape, sharding.preset_for(mesh))
        got, grads = run(
            model, jax.device_put(tokens, where), jax.device_put(segments, where), REMAT.get(name, "none")
        )
        wanted, wanted_grads = done[name]
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
        for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(wanted_grads), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
        moved = init_random(c, seed=0)
        sharding.shard_module(moved, mesh)
        assert moved.mesh == mesh
        for key, param in model.params().items():
            assert moved.params()[key].sharding.is_equivalent_to(param.sharding, param.ndim)
        if shape == WIDE:
            whole = [model.params()[f"layers.{key}"].sharding.is_fully_replicated for key in ("up", "k")]
            assert whole == [False, True], "2 kv heads do not split over 8 devices"
        big = model.layers["experts_up" if c.experts else "up"][...]
        print(name, shape, big.addressable_shards[0].data.size / big.size, flush=True)


def test_eight_devices_equal_one(tmp_path: Path) -> None:
    lines = printed(__file__, tmp_path).splitlines()
    assert [float(line.split()[-1]) for line in lines] == [share for *_, share in RUNS]


def test_a_mesh_that_does_not_fit_the_devices_is_refused() -> None:
    with pytest.raises(UserError, match="tensor=5"):
        sharding.make_mesh(data=2, tensor=5)


@dataclasses.dataclass(frozen=True)
class Device:
    """As much of a device as meshes are made by."""

    id: int
    slice_index: int
    platform: str = "cpu"
    device_kind: str = "cpu"
    process_index: int = 0


@pytest.mark.parametrize(
    ("sizes", "data", "fsdp"),
    [({"data": 0, "fsdp": -1}, 4, 2), ({"data": 2, "fsdp": 2, "tensor": 2}, 2, 2), ({"fsdp": 8}, 1, 8)],
)
def test_data_and_then_fsdp_reach_across_slices_and_no_other_axis(sizes, data, fsdp) -> None:
    devices: Any = [Device(i, i // 2) for i in (3, 0, 1, 2, 4, 6, 5, 7)]
    mesh = sharding.make_mesh(**sizes, devices=devices)
    assert (mesh.shape["data"], mesh.shape["fsdp"]) == (data, fsdp)
    slices = [[{d.slice_index for d in inner.flat} for inner in outer] for outer in mesh.devices]
    assert all(len(one) == 1 for outer in slices for one in outer)  # tensor and expert
    assert len(set.union(*slices[0])) == 4 // data
    assert {d.id for d in mesh.devices.flat} == set(range(8))


@pytest.mark.libtpu
@pytest.mark.parametrize(("name", "count"), [("v5e:4x4", 32), ("v5p:2x2x2", 16)])
def test_two_slices_of_tpus_make_a_mesh(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from jax.experimental import topologies

    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    monkeypatch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    pod = topologies.get_topology_desc(platform="tpu", topology_name=name, num_slices=2)
    mesh = sharding.make_mesh(data=0, fsdp=-1, tensor=2, devices=list(pod.devices))
    assert dict(mesh.shape) == {"data": 2, "fsdp": count // 4, "tensor": 2, "expert": 1, "context": 1}
    assert [{d.slice_index for d in inner.flat} for inner in mesh.devices] == [{0}, {1}]


@pytest.mark.libtpu
@pytest.mark.parametrize(
    ("name", "fsdp", "tensor"), [("v6e:8x8", 16, 4), ("v5p:4x4x4", 32, 2), ("v5e:8x8", 16, 4)]
)
def test_axes_may_split_the_sides_of_a_slice(
    name: str, fsdp: int, tensor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jax.experimental import topologies

    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    monkeypatch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    pod = topologies.get_topology_desc(platform="tpu", topology_name=name)
    mesh = sharding.make_mesh(fsdp=fsdp, tensor=tensor, devices=list(pod.devices))
    for group in mesh.devices.reshape(fsdp, tensor):  # a layer's devices lie together
        sides = [max(axis) - min(axis) for axis in zip(*(d.coords for d in group), strict=True)]
        assert sum(sides) < tensor


def test_axes_that_would_reach_across_slices_are_refused() -> None:
    devices: Any = [Device(i, i // 2) for i in range(8)]
    with pytest.raises(UserError, match=r"of 4 slices, .* Give data=4"):
        sharding.make_mesh(fsdp=2, tensor=4, devices=devices)


def test_an_unknown_preset_is_refused_with_the_list() -> None:
    with pytest.raises(UserError, match="fsdp_tensor"):
        sharding.sharding(sharding.make_mesh(data=-1), ("embed",), (4,), "magic")


def test_one_device_needs_no_rules() -> None:
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    assert sharding.preset_for(mesh) == "single"
    assert sharding.sharding(mesh, ("vocab", "embed"), (8, 4), "single").is_fully_replicated


if __name__ == "__main__":
    compare(Path(sys.argv[1]))
