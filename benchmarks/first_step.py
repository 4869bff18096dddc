"""Seconds until a process that has compiled nothing has written its first tokens: one thread, and two.

    taskset -c 0,1 python benchmarks/first_step.py [--shape=smollm2-135m] [--turns=3]

One leaf of 8 candidates behind 200 tokens, 16 tokens each, random bfloat16 weights; no compiled program is
kept. Each turn is two processes, one after the other: with one core (as far as `compilations.soon` knows) all
is compiled as it is called; with two, decoding while the prefix's reading is. Seconds on the clock, with CPU
seconds in brackets, loading not counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax.numpy as jnp
import numpy as np
from shape import SHAPES

from rstar_jax import compilations
from rstar_jax.engine import DecodeConfig, StepDecoder, StepRequest
from rstar_jax.models import init_random
from rstar_jax.queues import call


def measure(shape: str, cores: int) -> None:
    compilations._cores = lambda: cores
    model = init_random(SHAPES[shape], 0, dtype=jnp.dtype("bfloat16"))
    config = DecodeConfig(leaves=8, rows=8, max_step_tokens=16, context=512)
    decoder = StepDecoder(model, {}, config, seed=0)
    decoder.load()
    request = StepRequest(np.arange(200, dtype=np.int32), 8, 1.0, (0,))
    clock, cpu = time.perf_counter(), time.process_time()
    call(decoder, [request])
    print(f"{time.perf_counter() - clock:.1f} ({time.process_time() - cpu:.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="smollm2-135m", choices=SHAPES)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--cores", type=int, default=0, help="measure with so many in this process")
    flags = parser.parse_args()
    if flags.cores:
        return measure(flags.shape, flags.cores)
    for _ in range(flags.turns):
        for cores in (1, 2):
            own = [sys.executable, __file__, f"--shape={flags.shape}", f"--cores={cores}"]
            ran = subprocess.run(own, capture_output=True, text=True, check=True)
            print(f"{flags.shape}, {cores} threads: {ran.stdout.strip()}", flush=True)
    return None


if __name__ == "__main__":
    main()
