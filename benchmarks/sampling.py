"""What drawing a token costs beside the model: CPU milliseconds for a batch of rows, by cut and vocabulary.

    taskset -c 1 python benchmarks/sampling.py [--rows 64] [--vocab 512,152064] [--spread 2]

Logits are normal numbers times --spread: at 2 no few tokens hold 95 percent, which is the hard case for
top-p; at 6 few do, as in a trained model. "keys" is the random numbers alone, one per row.
`--against FILE` loads another sampling.py and times it by turns with ours.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import statistics
import time
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

from rstar_jax.engine import sampling

CUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "top_k 50": {"top_k": 50},
    "top_p 0.95": {"top_p": 0.95},
    "min_p 0.05": {"min_p": 0.05},
    "all three": {"top_k": 50, "top_p": 0.95, "min_p": 0.05},
}


def milliseconds(calls: list[Any], arrays: tuple[jax.Array, ...], turns: int) -> list[float]:
    """The median CPU time of each call, which run by turns."""
    calls = [jax.jit(call) for call in calls]
    for call in calls:
        jax.block_until_ready(call(*arrays))
    took: list[list[float]] = [[] for _ in calls]
    for _ in range(turns):
        for call, times in zip(calls, took, strict=True):
            begin = time.process_time()
            jax.block_until_ready(call(*arrays))
            times.append(time.process_time() - begin)
    return [statistics.median(times) * 1e3 for times in took]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--vocab", default="512,152064")
    parser.add_argument("--spread", type=float, default=2.0)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--against", help="a file with another `draw`")
    args = parser.parse_args()
    draws = [sampling.draw]
    if args.against:
        spec = importlib.util.spec_from_file_location("other", args.against)
        assert spec and spec.loader
        other = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(other)
        draws.append(other.draw)
    B = args.rows
    rows, keys = jnp.arange(B), jnp.zeros((B, 2), jnp.uint32)
    print(f"keys: {milliseconds([sampling.uniforms], (keys, rows, rows), args.turns)[0]:.3f} ms")
    for V in map(int, args.vocab.split(",")):
        logits = (jax.random.normal(jax.random.key(0), (B, V)) * args.spread).astype(args.dtype)
        arrays = logits, jax.random.uniform(jax.random.key(1), (B,)), jnp.ones(B)
        for name, cut in CUTS.items():
            able = draws[:1] if "min_p" in cut else draws  # the other may not know it
            took = milliseconds([functools.partial(draw, **cut) for draw in able], arrays, args.turns)
            print(f"V {V:7} {name:10} " + "   ".join(f"{ms:9.3f} ms" for ms in took), flush=True)


if __name__ == "__main__":
    main()
