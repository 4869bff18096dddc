"""A whole decode step compiled for TPUs that are not here, its layers in a loop or one by one.

    pip install libtpu==0.0.42.1                 # 0.7 GB; goes with the jax of requirements.txt
    python benchmarks/tpu_step.py [--shape qwen2.5-1.5b] [--topologies v5e,v5p] [--leaves 8] [--prefix 1024]

`programs.advance` in bfloat16, 16 candidates a leaf, suffixes of 256 slots, kernels as by default. Printed:
CPU seconds of compiling, GiB of arguments and temporaries, GB that a step moves to and from the chip's
memory as `hlo_bytes.py` counts them, of which the weights once are the least, and the largest of them; then
the least ms by the chip's bandwidth. AN ESTIMATE, no chip ran this.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

os.environ.update(TPU_SKIP_MDS_QUERY="1", JAX_PLATFORMS="cpu", ALLOW_MULTIPLE_LIBTPU_LOAD="1")
os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")

import jax
import jax.numpy as jnp
import numpy as np
from hlo_bytes import Program
from jax.experimental import topologies
from shape import SHAPES
from tpu_decode import CHIPS, N, S

from rstar_jax import sharding
from rstar_jax.engine import DecodeConfig
from rstar_jax.engine.catalogue import Catalogue
from rstar_jax.engine.shape import EngineModel
from rstar_jax.models import DecoderConfig, cache
from rstar_jax.models.params import param_specs
from rstar_jax.transforms.decode_layout import unstack_layers

CHUNK = 16
LIMIT = 80  # of layers that are unrolled


def compiled(
    mesh: jax.sharding.Mesh, c: DecoderConfig, B: int, P: int, *, unrolled: bool
) -> jax.stages.Compiled:
    """The program of a chunk of steps."""
    cache.UNROLL_DECODING_UP_TO["tpu"] = LIMIT if unrolled else 0
    shape, config = EngineModel(c, jnp.dtype(jnp.bfloat16), mesh), DecodeConfig(leaves=B, rows=N, chunk=CHUNK)
    params = Catalogue(shape, config).params

    def by_layer(params: dict[str, Any]) -> dict[str, Any]:
        return {name: unstack_layers(w) if "." in name else w for name, w in params.items()}

    if unrolled:
        params = shape.pinned(jax.eval_shape(by_layer, params), None)
    return Catalogue(shape, config, params=params).decode(B, N, P, S).compile()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="qwen2.5-1.5b", choices=SHAPES)
    parser.add_argument("--topologies", default="v5e,v5p", help=f"of {', '.join(CHIPS)}")
    parser.add_argument("--leaves", type=int, default=8)
    parser.add_argument("--prefix", type=int, default=1024, help="columns of a leaf's prefix")
    parser.add_argument("--largest", type=int, default=0, help="operations to print")
    flags = parser.parse_args()
    c = SHAPES[flags.shape]
    weights = 2 * sum(int(np.prod(spec.shape)) for spec in param_specs(c).values())
    print(f"{flags.shape}, {c.layers} layers, {flags.leaves} x {N} rows, prefixes of {flags.prefix} columns")
    print(f"weights once: {weights / 1e9:.2f} GB")
    print("chip  layers    compile CPU s  arguments GiB  temporaries GiB  moved GB  at least ms")
    for chip in flags.topologies.split(","):
        topology, arguments, speed = CHIPS[chip]
        devices = topologies.get_topology_desc(platform="tpu", topology_name=topology, **arguments).devices
        mesh = sharding.make_mesh(devices=devices[:1])
        for unrolled in (False, True):
            begin = time.process_time()
            with jax.set_mesh(mesh):
                step = compiled(mesh, c, flags.leaves, flags.prefix, unrolled=unrolled)
            took, memory = time.process_time() - begin, step.memory_analysis()
            held, temporary = (n / 2**30 for n in (memory.argument_size_in_bytes, memory.temp_size_in_bytes))
            moved = Program(step.as_text(), c.layers).step()
            total, way = sum(moved.values()), "unrolled" if unrolled else "scanned"
            print(
                f"{chip:5} {way:9} {took:13.1f} {held:14.2f} {temporary:16.2f} "
                f"{total / 1e9:9.2f} {total / speed / 1e6:12.2f}",
                flush=True,
            )
            for name, size in sorted(moved.items(), key=lambda each: -each[1])[: flags.largest]:
                print(f"{size / 1e6:12.1f} MB  {name}")


if __name__ == "__main__":
    main()
