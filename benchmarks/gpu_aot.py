"""A decode step compiled for an H100 that is not here: its memory, and the large arrays that it writes.

    pip install --no-deps jax-cuda12-plugin==0.10.2 jax-cuda12-pjrt==0.10.2     # goes with jax 0.10.2; 0.5 GB
    python benchmarks/gpu_aot.py [--shape 1.5b] [--rows 256] [--kernels on]

`programs.advance` in bfloat16, 16 candidates a leaf, prefixes of 1024 columns, 256 tokens each: compiled by
XLA and Triton without a device, so without measuring which of several kernels is best. Then the arrays of
more than 4 MB that a step writes, where a copy of a layer's weights or cache shows: how many of a kind, and
MB each. What is updated in place ("scatter", "dynamic_update_slice") shows with the size of the whole array.
"""

from __future__ import annotations

import argparse
import collections
import math
import os
import re
import time

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
from gpu_decode import CHUNK, SHAPES, N, S
from jax.experimental import topologies

from rstar_jax import sharding
from rstar_jax.engine import DecodeConfig
from rstar_jax.engine.catalogue import Catalogue
from rstar_jax.engine.shape import EngineModel

H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 device_memory_size: 84942979072
  registers_per_core_limit: 65536 registers_per_block_limit: 65536 cuda_compute_capability { major: 9 }
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 } device_description_str: "NVIDIA H100 80GB HBM3"
"""
BYTES = {"bf16": 2, "f32": 4, "s32": 4, "u32": 4, "u16": 2, "pred": 1}
ARRAY = re.compile(r"(\w+)\[([\d,]+)\]")
WRITES = re.compile(r"%?([\w.\-]+) = (.*?) (?:fusion|copy|custom-call|dot|scatter)\(")


def written(hlo: str) -> list[tuple[float, int, str, str]]:
    """What the operations in loops write, the largest first: MB, how many such, name and type."""
    bodies = set(re.findall(r"body=%?([\w.\-]+)", hlo))
    text = "".join(hlo.partition(f"\n%{name} (")[2].partition("\n}")[0] for name in bodies)
    found = collections.Counter((re.sub(r"[.\d]+$", "", name), kind) for name, kind in WRITES.findall(text))

    def megabytes(kind: str) -> float:
        arrays = ((dtype, dims.split(",")) for dtype, dims in ARRAY.findall(kind))
        return sum(BYTES.get(dtype, 0) * math.prod(map(int, dims)) for dtype, dims in arrays) / 1e6

    return sorted(
        ((megabytes(kind), count, name, kind) for (name, kind), count in found.items()), reverse=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="1.5b", choices=SHAPES)
    parser.add_argument("--rows", type=int, default=256, help=f"a multiple of {N}")
    parser.add_argument("--kernels", default="on", choices=("on", "off"))
    flags = parser.parse_args()
    try:
        topology = topologies.get_topology_desc("h100", "cuda", target_config=H100, topology="1x1x1")
    except NotImplementedError:
        raise SystemExit("JAX cannot compile for CUDA here: install the plugin that --help names.") from None
    mesh, c = sharding.make_mesh(devices=list(topology.devices)), SHAPES[flags.shape]
    shape, config = EngineModel(c, jnp.dtype(jnp.bfloat16), mesh, flags.kernels), DecodeConfig(chunk=CHUNK)
    with jax.set_mesh(mesh):
        program = Catalogue(shape, config).decode(flags.rows // N, N, 1024, S)
        begin = time.perf_counter()
        step = program.compile()
    took, memory, hlo = time.perf_counter() - begin, step.memory_analysis(), step.as_text()
    held, temporary = (n / 2**30 for n in (memory.argument_size_in_bytes, memory.temp_size_in_bytes))
    print(
        f"{flags.shape}, {flags.rows} rows, kernels {flags.kernels}: {took:.1f} s, arguments {held:.2f} GiB, "
        f"temporaries {temporary:.2f} GiB, calls of our kernels: {hlo.count('__gpu$xla.gpu.triton')}"
    )
    for size, count, name, kind in written(hlo):
        if size > 4:
            print(f"{count:3} x {size:7.1f} MB  {name:36} {kind}")


if __name__ == "__main__":
    main()
