"""Compilation of a policy's training on a CPU: CPU seconds, and memory beside all arrays.

    taskset -c 1 python benchmarks/compiling.py [--shape smollm2-135m] [--layers 30,15] [--dtypes float32]

Nothing is run, and no array made: a process of its own for each depth and dtype compiles a step's two
programs from shapes (`train.step.programs`), without remat, masters in float32, for each number of rows of a
call in turn; it keeps them. before: resident when it begins; peak: so far; held: afterwards, beside what
there was before. temps.: of a call, as XLA has planned them. "scanned" says how the same layers would do in a
loop.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from shape import SHAPES, listed

from rstar_jax.models import Decoder
from rstar_jax.models import cache as caches
from rstar_jax.models.params import param_specs
from rstar_jax.train import TrainConfig, policy_loss
from rstar_jax.train.step import programs

BATCH = {"tokens": "int32", "positions": "int32", "segment_ids": "int32", "targets": "int32"}
BATCH |= {"ends": "int32", "weights": "float32", "marks": "int8"}


def resident() -> float:
    """MiB of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def measure(name: str, layers: int, dtype: str, rows: str, T: int, scanned: bool) -> None:
    if scanned:
        caches.UNROLL_TEXTS_UP_TO["cpu"] = 0
    c = dataclasses.replace(SHAPES[name], layers=layers)
    params: dict[str, Any] = {
        n: jax.ShapeDtypeStruct(s.shape, jnp.float32) for n, s in param_specs(c).items()
    }
    model = Decoder(c, params, compute_dtype=jnp.dtype(dtype))
    before, kept = resident(), []
    for R in map(int, rows.split(",")):
        batch = {n: jax.ShapeDtypeStruct((R, T), jnp.dtype(d)) for n, d in BATCH.items()}
        row = ""
        for program in programs(model, batch, policy_loss, TrainConfig(remat="none")):
            begin = time.process_time()
            kept.append(program.function.lower(*program.arguments, **program.static).compile())
            temporaries = kept[-1].memory_analysis().temp_size_in_bytes / 2**20
            row += f" {time.process_time() - begin:6.1f} {temporaries:6,.0f}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{layers:6} {dtype:9} {R:4} x {T:6} {'scanned' if scanned else 'one by one':10}{row} "
            f"{before:7,.0f} {peak:6,.0f} {resident() - before:6,.0f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="smollm2-135m")
    parser.add_argument("--layers", type=listed(), default="30,15")
    parser.add_argument("--dtypes", type=listed("float32", "bfloat16"), default="float32,bfloat16")
    parser.add_argument("--rows", type=listed(), default="1,2", help="of a call")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--ways", type=listed("unrolled", "scanned"), default="unrolled,scanned")
    args = parser.parse_args()
    print(f"{args.shape}; s: CPU seconds; MB: MiB of the process")
    print("                                            gradients       update")
    print("layers dtype     rows x length layers        s  temps.     s temps.  before   peak   held")
    for layers in map(int, args.layers.split(",")):
        for dtype in args.dtypes.split(","):
            for way in args.ways.split(","):
                given = args.shape, layers, dtype, args.rows, args.length, way == "scanned"
                process = multiprocessing.get_context("spawn").Process(target=measure, args=given)
                process.start()
                process.join()


if __name__ == "__main__":
    main()
