"""A decode step's attention compiled for TPUs that are not here: the bytes it moves, plainly and by kernels.

    pip install libtpu==0.0.42.1                 # 0.7 GB; goes with the jax of requirements.txt
    python benchmarks/tpu_decode.py [--leaves 16,64] [--shapes 1.5b,7b] [--topology v5e]

One layer of `candidates.attend` in bfloat16, 16 candidates a leaf, a prefix of 1000 tokens in 1024 columns,
suffix caches of 256 slots, written in place. Per layer: what the compiler says of bytes accessed and
temporaries (MB; for kernels it counts what they told it, all columns and slots), whether the prefix's logits
lie in HBM or in the chip's fast memory (VMEM), and what its operations move to and from HBM, counted by
hand. Then, per step, all layers and the weights, over the chip's bandwidth: AN ESTIMATE, no chip ran this.
"As on a CPU": keys by column and a select over the cache, as suffixes lie on other platforms.
"""

from __future__ import annotations

import argparse
import os
import re

os.environ.update(TPU_SKIP_MDS_QUERY="1", JAX_PLATFORMS="cpu", ALLOW_MULTIPLE_LIBTPU_LOAD="1")
os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from rstar_jax import sharding
from rstar_jax.kernels import suffix_tpu
from rstar_jax.models.cache import ByToken
from rstar_jax.models.candidates import PLAIN, Choice, attend

# name: (heads, kv heads, layers, parameters that a step reads, in billions)
SHAPES = {"1.5b": (12, 2, 28, 1.54), "7b": (28, 4, 28, 7.07)}
# name: (topology, its arguments, HBM GB/s as the maker says)
CHIPS = {
    "v5e": ("v5e:1x1", {"chips_per_host_bounds": (1, 1, 1)}, 819),
    "v5p": ("v5p:2x2x1", {}, 2765),
}
CHOICES = {"as on a CPU": PLAIN, "plain": PLAIN, "kernels": Choice("mosaic", "mosaic", "")}
N, P, LENGTH, S, A, LAYERS = 16, 1024, 1000, 256, 128, 2


def measure(mesh: jax.sharding.Mesh, name: str, B: int, H: int, G: int) -> tuple[float, float, str]:
    """Bytes accessed and temporaries of a layer, and where the logits of the prefix lie."""
    where = jax.NamedSharding(mesh, jax.P())

    def array(*shape: int, dtype: Any = jnp.bfloat16) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=where)

    slots = (A, S) if name == "as on a CPU" else (S, A)
    pair = array(LAYERS, B, N, G, *slots), array(LAYERS, B, N, G, S, A)
    suffix = (pair if name == "as on a CPU" else ByToken(*pair),)
    new = (array(B, N, 1, G, A),) * 2
    prefix = ((array(LAYERS, B, G, A, P), array(LAYERS, B, G, P, A)),)

    def run(q, new, prefix, length, suffix, layer, start):
        return attend(q, new, prefix, length, suffix, layer, start, choice=CHOICES[name])

    ints = array(B, dtype=jnp.int32), array(dtype=jnp.int32), array(B, N, dtype=jnp.int32)
    args = array(B, N, 1, H, A), new, prefix, ints[0], suffix, *ints[1:]
    with jax.set_mesh(mesh):
        compiled = jax.jit(run, donate_argnums=4).lower(*args).compile()
    entry = compiled.as_text().partition("\nENTRY")[2]
    logits = re.findall(rf"f32\[{B},{G},{N * H // G},{P}\]\{{\S*", entry)
    placed = "none" if not logits else "VMEM" if all("S(1)" in each for each in logits) else "HBM"
    memory = compiled.memory_analysis()
    return compiled.cost_analysis()["bytes accessed"], memory.temp_size_in_bytes, placed


def moved(name: str, B: int, H: int, G: int, placed: str) -> float:
    """Bytes that a layer moves to and from HBM, by what its operations read and write.

    Half the slots hold tokens. Logits in HBM are written once, and read for their sum and for the values.
    """
    logits = 3 * 4 * B * H * N * P if placed == "HBM" else 0
    prefix, suffix = 2 * 2 * B * G * A * P, 2 * 2 * B * N * G * A * S
    if name == "as on a CPU":
        return logits + prefix + 3 * suffix  # read; selected, which reads and writes
    rows = 2 * 2 * B * N * G * A
    if name == "plain":
        return logits + prefix + suffix + rows
    _, slots = suffix_tpu.blocks(N, G, -(-(H // G) // 8) * 8, A, A, S, 2)
    blocks = sum(-(-max(start, 1) // slots) for start in range(S)) / S  # of each row, at a start drawn evenly
    sums = 4 * B * N * G * -(-(H // G) // 8) * 8 * (A + 128) * 2  # of the prefix's part: written and read
    return prefix + suffix * blocks * slots / S + 32 * rows / 2 + sums


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--leaves", default="16,64", help="separated by commas")
    parser.add_argument("--shapes", default="1.5b,7b", help=f"of {', '.join(SHAPES)}, separated by commas")
    parser.add_argument("--topology", default="v5e", choices=CHIPS)
    flags = parser.parse_args()
    topology, arguments, speed = CHIPS[flags.topology]
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology, **arguments).devices
    mesh = sharding.make_mesh(devices=devices[:1])
    print(f"{flags.topology}; per layer: MB; per step: MB of all layers and weights, and ms at {speed} GB/s")
    print("shape leaves way          accessed temporary logits   moves | per step    MB  at least ms")
    for shape in flags.shapes.split(","):
        H, G, layers, billions = SHAPES[shape]
        for B in (int(leaves) for leaves in flags.leaves.split(",")):
            for name in CHOICES:
                accessed, temporary, placed = measure(mesh, name, B, H, G)
                layer = moved(name, B, H, G, placed)
                step = layers * layer + 2e9 * billions
                print(
                    f"{shape:5} {B:6} {name:12} {accessed / 1e6:9.1f} {temporary / 1e6:9.1f} {placed:6} "
                    f"{layer / 1e6:7.1f} | {step / 1e6:14.0f} {step / speed / 1e6:12.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
