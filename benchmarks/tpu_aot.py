"""Training steps compiled for TPUs that are not here: memory per chip, and which attention they use.

    pip install libtpu==0.0.42.1                 # 0.7 GB; goes with the jax of requirements.txt
    python benchmarks/tpu_aot.py [--rows small,7b] [--effort=-1] [--remat full] [--whole sequence]

Compiles the policy's microbatch (loss and gradients, parameters and sums in float32, computed in bfloat16)
for the named topologies and prints what the compiler says: bytes of the arguments, temporaries and the peak.
Optimiser moments are counted as two more copies of the parameters. effort -1 halves the time of compiling
and makes the temporaries larger: quote those of effort 0. --whole takes a logical axis out of the rules, to
see what splitting it saves.
"""

from __future__ import annotations

import argparse
import math
import os
import time
import typing

os.environ.update(TPU_SKIP_MDS_QUERY="1", JAX_PLATFORMS="cpu", ALLOW_MULTIPLE_LIBTPU_LOAD="1")
os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from rstar_jax import sharding
from rstar_jax.models import Decoder, DecoderConfig, Rope
from rstar_jax.models.config import Remat
from rstar_jax.models.params import param_specs
from rstar_jax.train import TrainConfig, policy_loss, programs

SMALL = DecoderConfig(
    vocab_size=32_768, width=1024, layers=6, heads=8, kv_heads=4, head_dim=128, mlp=2816, rope=Rope(theta=1e6)
)
QWEN_7B = DecoderConfig(
    vocab_size=152_064,
    width=3584,
    layers=28,
    heads=28,
    kv_heads=4,
    head_dim=128,
    mlp=18_944,
    rope=Rope(theta=10_000.0),
    tied=False,
)
# name: (config, topology, sizes of the mesh, rows of a microbatch, tokens of a row)
ROWS = {
    "small": [
        (SMALL, "v5e:2x4", {"fsdp": 4, "tensor": 2}, 8, 2048),
        (SMALL, "v5p:2x2x1", {"fsdp": 2, "tensor": 2}, 8, 2048),
    ],
    "7b": [(QWEN_7B, "v5p:4x4x4", {"fsdp": 16, "tensor": 4}, 32, 4096)],
}
HBM = {"TPU v5 lite": 16, "TPU v5": 95}  # GiB a chip
GIB = 2**30


def measure(
    c: DecoderConfig, topology: str, sizes: dict[str, int], rows: int, T: int, remat: Remat = "full"
) -> tuple[float, ...]:
    """Seconds of compiling, kernel calls, and GiB a chip of arguments, temporaries, peak and moments."""
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    mesh = sharding.make_mesh(**sizes, devices=devices)
    preset = sharding.preset_for(mesh)

    def array(shape: tuple[int, ...], axes: tuple[str | None, ...], dtype: object) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding.sharding(mesh, axes, shape, preset))

    params = {name: array(s.shape, s.axes, jnp.float32) for name, s in param_specs(c).items()}
    kinds = {"tokens": jnp.int32, "positions": jnp.int32, "segment_ids": jnp.int32, "targets": jnp.int32}
    more = {"ends": jnp.int32, "weights": jnp.float32, "marks": jnp.int8}
    batch = {n: array((rows, T), ("batch", None), d) for n, d in (kinds | more).items()}
    model = Decoder(c, params, compute_dtype=jnp.bfloat16, mesh=mesh)
    accumulate, _ = programs(model, batch, policy_loss, TrainConfig(remat=remat))
    began = time.time()
    with jax.set_mesh(mesh):
        compiled = accumulate.compile()
    memory = compiled.memory_analysis()
    arguments = memory.argument_size_in_bytes
    own = sum(math.prod(p.sharding.shard_shape(p.shape)) * p.dtype.itemsize for p in params.values())
    calls = compiled.as_text().count('custom_call_target="tpu_custom_call"')
    peak = memory.peak_memory_in_bytes
    return (
        time.time() - began,
        calls,
        *(n / GIB for n in (arguments, memory.temp_size_in_bytes, peak, 2 * own)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="small", help=f"of {', '.join(ROWS)}, separated by commas")
    parser.add_argument("--effort", type=float, default=0.0, help="of the compiler, -1 to 1")
    parser.add_argument("--remat", default="full", choices=typing.get_args(Remat))
    parser.add_argument("--whole", default="", help="a logical axis that is not split")
    flags = parser.parse_args()
    for preset, rules in sharding.PRESETS.items():
        sharding.PRESETS[preset] = {name: axes for name, axes in rules.items() if name != flags.whole}
    jax.config.update("jax_exec_time_optimization_effort", flags.effort)
    print("GiB per chip; total is peak and the optimiser's moments")
    print(
        "topology    layers x width  rows x tokens  kernels  arguments  temporary   peak  moments  "
        "total  of HBM  compile s"
    )
    for name in flags.rows.split(","):
        for c, topology, sizes, rows, T in ROWS[name]:
            seconds, calls, arguments, temporary, peak, moments = measure(
                c, topology, sizes, rows, T, flags.remat
            )
            chip = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[0].device_kind
            print(
                f"{topology:10} {c.layers:7} x {c.width:5} {rows:7} x {T:5} {calls:8} {arguments:10.2f} "
                f"{temporary:10.2f} {peak:6.2f} {moments:8.2f} {peak + moments:6.2f} "
                f"{HBM[chip]:7} {seconds:10.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
