"""A small model's training and search compiled for slices that are not here; needs libtpu, no requirement of
ours."""

from pathlib import Path
from typing import Any

import pytest

from rstar_jax import sharding
from rstar_jax.plan import compile_one, compiled
from rstar_jax.plan.compiled import Compiler
from rstar_jax.plan.known_models import KNOWN
from rstar_jax.plan.programs import program_of

pytestmark = pytest.mark.libtpu
SMALL = {
    **KNOWN["qwen2.5-math-1.5b"],
    **{"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8, "vocab_size": 4096},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64},
}
DECODE = {"leaves": 8, "rows": 4, "context": 256, "max_step_tokens": 128, "page_size": 16, "chunk": 8}
PARAMETERS = 2 * 4096 * 256 // 2 + 8 * (2 * 256 * 64 * 6 + 3 * 256 * 512)  # but norms and biases


@pytest.fixture(autouse=True)
def _matching() -> None:
    if why := compiled.unavailable():
        pytest.skip(why)


def request(program: str, topology: str, mesh: dict[str, int], *sizes: int, **options: Any) -> dict[str, Any]:
    return {
        "program": program,
        "model": SMALL,
        "topology": [topology, 1],
        "mesh": mesh,
        "sizes": sizes,
        "options": options,
        "pages": 64,
    }


@pytest.mark.parametrize(
    ("topology", "mesh"),
    [("v5e:2x2", {"fsdp": 2, "tensor": 2}), ("v5p:2x2x1", {"fsdp": 4, "tensor": 1})],
    ids=["v5e", "v5p"],
)
def test_a_train_step_and_a_decode_step_compile(topology: str, mesh: dict[str, int], tmp_path: Path) -> None:
    compile_ = Compiler(tmp_path, lambda _: None)
    train = compile_(request("policy gradients", topology, mesh, 4, 512, remat="full"), "train")
    # Parameters and the sums of their gradients in float32, split over four devices, and what fills up tiles.
    assert 1 <= train.arguments / (2 * 4 * PARAMETERS / 4) < 1.5
    assert train.kernels >= 3
    gathered = train.collectives["all-gather"]
    layers = 8
    assert gathered.calls >= layers and train.sent > 2 * PARAMETERS / 4
    decode = compile_(request("decode", topology, {"tensor": 2}, 8, 4, 256, 128, **DECODE), "decode")
    # Two sums in each layer for every token of a chunk.
    assert decode.collectives["all-reduce"].calls >= 2 * layers * DECODE["chunk"]


def test_what_is_planned_is_the_mesh_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is so of 8 x 8 chips also where it splits a side."""
    from jax.experimental import topologies

    for name, value in compile_one.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    devices = list(topologies.get_topology_desc(platform="tpu", topology_name="v6e:8x8").devices)
    asked = request("policy gradients", "v6e:8x8", {"fsdp": 16, "tensor": 4}, 32, 512, remat="none")
    mesh, _ = program_of(asked, devices)
    trained = sharding.make_mesh(data=0, fsdp=-1, tensor=4, devices=devices)
    assert mesh == trained and mesh.shape["fsdp"] == 16


def test_what_does_not_fit_is_refused_in_the_compilers_numbers(tmp_path: Path) -> None:
    asked = request("policy gradients", "v5e:1x1", {"fsdp": 1}, 2048, 512, remat="none")
    found = Compiler(tmp_path, lambda _: None)(asked, "train")
    assert "RESOURCE_EXHAUSTED" in found.refused and found.used > found.limit == 15.75 * 2**30
