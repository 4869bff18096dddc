"""Sizes of meshes that nobody gave: by devices, slices, memory, model and rows."""

import pytest

from rstar_jax.errors import UserError
from rstar_jax.models import DecoderConfig
from rstar_jax.sharding import MeshConfig
from rstar_jax.train import TrainConfig, mesh_sizes
from rstar_jax.transforms.lora import LoraConfig

GIB = 2**30
SMALL = DecoderConfig(152_064, 1536, 28, 12, 2, 128, 8960)  # Qwen2.5-1.5B
LARGE = DecoderConfig(152_064, 3584, 28, 28, 4, 128, 18944)  # Qwen2.5-7B, its head tied: 105 GiB in training
FREE = MeshConfig(data=0, fsdp=-1, tensor=0)


@pytest.mark.parametrize(
    ("shape", "rows", "pod", "data", "tensor"),
    [
        (LARGE, 64, {"devices": 64, "memory": 95 * GIB}, 1, 1),  # v5p:4x4x4
        (LARGE, 16, {"devices": 64, "memory": 95 * GIB}, 1, 4),
        (LARGE, 8, {"devices": 64, "memory": 95 * GIB}, 1, 4),  # 28 heads
        (SMALL, 8, {"devices": 64, "memory": 95 * GIB}, 1, 4),  # 12
        (LARGE, 128, {"devices": 512, "slices": 2, "memory": 16 * GIB}, 2, 4),  # v5e:16x16*2
        (LARGE, 64, {"devices": 32, "slices": 4, "memory": 140 * GIB}, 4, 1),  # four hosts of 8 H200
        (LARGE, 64, {"devices": 32, "slices": 4, "memory": 16 * GIB}, 1, 1),  # 8 of them are too small for it
        (LARGE, 8, {"devices": 6, "memory": None}, 1, 1),
    ],
)
def test_no_part_of_the_batch_is_without_rows_and_a_slice_holds_the_model_where_it_can(
    shape, rows, pod, data, tensor
):
    assert mesh_sizes(FREE, shape, TrainConfig(microbatch=rows), **pod) == MeshConfig(data, -1, tensor)


def test_sizes_that_were_given_stay():
    given = MeshConfig(data=1, fsdp=32, tensor=2)
    assert mesh_sizes(given, LARGE, TrainConfig(), devices=64, slices=2, memory=16 * GIB) == given


def test_what_no_mesh_holds_is_refused_and_low_rank_training_is_not():
    few = {"devices": 8, "memory": 12 * GIB}
    with pytest.raises(UserError, match=r"7\.1 billion parameters .* 105 GiB, and the 8 devices have 96 GiB"):
        mesh_sizes(FREE, LARGE, TrainConfig(), **few)
    mesh_sizes(FREE, LARGE, TrainConfig(lora=LoraConfig(rank=16)), **few)


def test_a_smaller_state_lets_a_copy_of_the_model_into_each_slice():
    pod = {"devices": 16, "slices": 2, "memory": 24 * GIB}
    copies = [
        mesh_sizes(FREE, LARGE, TrainConfig(microbatch=64, optimizer=name), **pod).data
        for name in ("adamw", "adamw8bit", "adafactor")
    ]
    assert copies == [1, 2, 2]
