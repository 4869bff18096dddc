"""Decoding and scoring on an NVIDIA GPU: shares of what the device can do, plainly and by our kernels.

    python benchmarks/gpu_decode.py [--shapes 1.5b,7b] [--batches 256,1024] [--prefix 1000] [--turns 3]
    python benchmarks/gpu_decode.py --shapes tiny --batches 32      # on any machine: that it runs, no figures

Random bfloat16 weights of the Qwen2.5 shapes on one device, whose copy bandwidth and rate of matrix products
are measured first. Medians of --turns, compilation not counted.

decode: `programs.advance`, as the engine calls it: 16 candidates a leaf, each writing 256 tokens behind its
    prefix, so that half of the 256 are there on average; by the time of a step. "needed" is what a step must
    move: the weights and each leaf's prefix once, own tokens, the new ones; "share" is the time that these
    bytes at the measured bandwidth, or the operations at the measured rate, whichever is more, would take,
    over the time taken. Kernels "on" and "off": `decode.kernels`; what that does is printed first.
prefill, score: `pool.read` of 8 texts of 1024 tokens, and `programs.values` of 16 pairs of candidates of 64
    tokens behind a prefix; "share" is of the measured rate of matrix products.
slots: a whole `StepDecoder`, with prefills, over steps of geometric lengths of about 66 tokens, no more than
    256, 16 candidates a leaf: how many of the row-steps gave a token, and tokens per second of wall time.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from models import ON_GPU as QWEN
from slots import requests  # after jax, whose platform it would set to the CPU

from rstar_jax.engine import DecodeConfig, StepDecoder, pool, programs
from rstar_jax.engine.buckets import cache_bucket
from rstar_jax.engine.catalogue import Catalogue
from rstar_jax.engine.shape import EngineModel
from rstar_jax.models import Decoder, DecoderConfig, candidates
from rstar_jax.models.params import param_specs
from rstar_jax.plan.cost import Shape as Cost
from rstar_jax.queues import call
from rstar_jax.transforms import decode_layout

TINY = DecoderConfig(vocab_size=512, width=64, layers=2, heads=4, kv_heads=2, head_dim=16, mlp=128)
SHAPES = {"1.5b": QWEN["1.5B"], "7b": QWEN["7B"], "tiny": TINY}
N, S, CHUNK = 16, 256, 32  # candidates of a leaf; tokens of each, and of a device call
PAGE, TEXTS, TEXT, PAIRS, STEP = 16, 8, 1024, 16, 64
STOP = 0.015  # chance that a token ends its step


@dataclasses.dataclass(frozen=True)
class Rates:
    """What a device was measured to do. bandwidth: bytes a second, read and written. flops: of bfloat16."""

    bandwidth: float
    flops: float

    @classmethod
    def measured(cls, small: bool) -> Rates:
        words, n = (2**22, 512) if small else (2**28, 8192)
        x, square = jnp.zeros(words, jnp.uint32), normal(0, (n, n), 1.0)
        copy, product = jax.jit(lambda x: x + 1), jax.jit(lambda a: a @ a)
        return cls(
            2 * x.nbytes / seconds(lambda: copy(x), 20, 5), 2 * n**3 / seconds(lambda: product(square), 20, 5)
        )

    def least(self, bytes_: float, flops: float) -> float:
        return max(bytes_ / self.bandwidth, flops / self.flops)


def seconds(run: Callable[[], Any], calls: int, turns: int) -> float:
    """Of one call: the median of so many turns of `calls` that are started without waiting."""
    jax.block_until_ready(run())
    took = []
    for _ in range(turns):
        begin = time.perf_counter()
        for _ in range(calls):
            out = run()
        jax.block_until_ready(out)
        took.append((time.perf_counter() - begin) / calls)
    return statistics.median(took)


def normal(seed: int, shape: tuple[int, ...], scale: float) -> jax.Array:
    return _normal(jax.random.key(seed), shape, scale)


@jax.jit(static_argnums=1)
def _normal(key: jax.Array, shape: tuple[int, ...], scale: float) -> jax.Array:
    return (jax.random.normal(key, shape, jnp.bfloat16) * scale).astype(jnp.bfloat16)


def random_decoder(c: DecoderConfig) -> Decoder:
    """Made on the device, unlike `init_random`'s."""
    params = {
        name: jnp.ones(s.shape, jnp.bfloat16) if s.scale is None else normal(i, s.shape, s.scale)
        for i, (name, s) in enumerate(param_specs(c).items())
    }
    decoder = Decoder(c, params)
    decode_layout.keep_apart(decoder, c)  # else a GPU would have the weights twice
    return decoder


def cost(c: DecoderConfig) -> Cost:
    return Cost.of_decoder(c, param_specs(c))


def decode_seconds(model: Decoder, leaves: int, prefix: int, when: Any, turns: int) -> float:
    """Of one step of all rows, over steps from a candidate's first token to its last."""
    shape = EngineModel.of(model, when)
    params, sizes = shape.place(model.params()), (leaves, N, cache_bucket(prefix), S)
    rows = Catalogue(shape, DecodeConfig(chunk=CHUNK), params=params)
    step, slots = rows.decode(*sizes), rows.empty(*sizes)(rows.table)
    # Not zeros, with which a device takes less power and runs faster.
    slots = slots._replace(prefix=jax.tree.map(lambda a: normal(a.ndim, a.shape, 1.0), slots.prefix))

    def all_tokens() -> float:
        nonlocal slots

        def filled(value: Any, like: jax.Array) -> jax.Array:
            return jnp.array(jnp.broadcast_to(jnp.asarray(value, like.dtype), like.shape))

        begun = {"prefix_length": prefix, "n": N, "next": N, "limit": S, "temperature": 1.0}
        begun |= {"key": jnp.arange(leaves)[:, None], "candidate": jnp.arange(N), "start": 0, "pending": 1}
        new = {name: filled(value, getattr(slots, name)) for name, value in begun.items()}
        slots = jax.block_until_ready(slots._replace(**new))
        begin = time.perf_counter()
        for _ in range(S // CHUNK):
            slots, _ = step(params, slots, None, rows.table, np.int32(leaves + 1))
        jax.block_until_ready(slots)
        return (time.perf_counter() - begin) / S

    all_tokens()
    return statistics.median(all_tokens() for _ in range(turns))


def decode(name: str, model: Decoder, rates: Rates, flags: argparse.Namespace) -> None:
    c, of = model.config, cost(model.config)
    P = cache_bucket(flags.prefix)
    for when in ("off", "on"):
        print(f"kernels {when}: {candidates.describe(c, 1, P, S, when=when)}")
    print("shape   rows kernels ms/step  tokens/s  needed MB   GFLOP  at least ms  share")
    for rows in map(int, flags.batches.split(",")):
        leaves = rows // N
        kept = leaves * flags.prefix + rows * ((S + 1) / 2 + 1)  # tokens read, and the new ones written
        bytes_ = 2 * of.matrices + of.kv_bytes(2) * kept
        flops = rows * (2 * of.matrices + of.attention_flops(flags.prefix + (S + 1) / 2))
        least = rates.least(bytes_, flops)
        for when in ("off", "on"):
            took = decode_seconds(model, leaves, flags.prefix, when, flags.turns)
            print(
                f"{name:5} {rows:6} {when:7} {took * 1e3:8.2f} {rows / took:9,.0f} {bytes_ / 1e6:10,.0f} "
                f"{flops / 1e9:7,.0f} {least * 1e3:12.2f} {least / took:6.1%}",
                flush=True,
            )


def read(name: str, model: Decoder, rates: Rates, flags: argparse.Namespace) -> None:
    """Prefill and scoring, in which no logits are computed."""
    shape, of = EngineModel.of(model), cost(model.config)
    params, V = shape.place(model.params()), shape.config.vocab_size
    body = 2 * (of.matrices - of.vocab * of.width)
    rng = np.random.default_rng(0)
    texts = jnp.asarray(rng.integers(V, size=(TEXTS, TEXT)), jnp.int32)
    prefill = seconds(
        lambda: pool.read(params, texts, jnp.full(TEXTS, TEXT, jnp.int32), shape=shape), 2, flags.turns
    )
    pages = cache_bucket(flags.prefix) // PAGE
    k, v = shape.empty_pool(PAIRS * pages, PAGE)
    full = tuple(normal(0, a.shape, 1.0).view(a.dtype) for a in (k, v))
    steps = jnp.asarray(rng.integers(V, size=(PAIRS, 2, STEP)), jnp.int32)
    with_head = {**params, "score": normal(1, (shape.config.width,), 0.02)}
    behind = jnp.arange(PAIRS * pages, dtype=jnp.int32).reshape(PAIRS, pages)
    ends = jnp.full((PAIRS, 2), STEP - 1, jnp.int32), jnp.full(PAIRS, flags.prefix, jnp.int32)
    score = seconds(
        lambda: programs.values(with_head, full, behind, ends[1], steps, ends[0], shape=shape), 2, flags.turns
    )
    print("shape what      tokens/s  share of products")
    for what, tokens, took, keys in (
        ("prefill", TEXTS * TEXT, prefill, TEXT / 2),
        ("score", PAIRS * 2 * STEP, score, flags.prefix + STEP / 2),
    ):
        share = tokens * (body + of.attention_flops(keys)) / took / rates.flops
        print(f"{name:5} {what:8} {tokens / took:9,.0f} {share:18.1%}", flush=True)


def busy(name: str, model: Decoder, flags: argparse.Namespace) -> None:
    """Slots of so many rows, one token made to end steps with about the same chance everywhere."""
    V, most = model.config.vocab_size, int(flags.batches.split(",")[0])
    end = {0: math.log(V * STOP / (1 - STOP))}
    print("shape leaves x rows  mean length  slots busy  tokens/s")
    for rows in (4, 8, 16):
        leaves = max(1, most // rows)
        config = DecodeConfig(leaves=leaves, rows=rows, max_step_tokens=S, context=512)
        decoder = StepDecoder(model, {0: "step"}, config, seed=0, bias=end)
        call(decoder, requests(leaves, N, seed=0))  # compiles
        before = dataclasses.replace(decoder.stats)
        begin = time.perf_counter()
        samples = call(decoder, requests(8 * leaves, N, seed=1))
        took, stats = time.perf_counter() - begin, decoder.stats
        share = (stats.busy - before.busy) / (stats.steps - before.steps)
        length = statistics.mean(len(s.tokens) for row in samples for s in row)
        compiled = stats.compile_seconds - before.compile_seconds
        rate = (stats.generated - before.generated) / (took - compiled)
        print(f"{name:5} {leaves:6} x {rows:4} {length:12.1f} {share:11.1%} {rate:9,.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", default="1.5b,7b", help=f"of {', '.join(SHAPES)}, separated by commas")
    parser.add_argument("--batches", default="256,1024", help=f"candidates at once, multiples of {N}")
    parser.add_argument("--prefix", type=int, default=1000, help="tokens")
    parser.add_argument("--turns", type=int, default=3)
    flags = parser.parse_args()
    shapes, device = flags.shapes.split(","), jax.devices()[0]
    if unknown := set(shapes) - set(SHAPES):
        parser.error(f"--shapes: {', '.join(unknown)} given, some of {', '.join(SHAPES)} expected")
    if any(not rows.isdecimal() or not int(rows) or int(rows) % N for rows in flags.batches.split(",")):
        parser.error(f"--batches: {flags.batches} given, multiples of {N} expected")
    if device.platform != "gpu" and shapes != ["tiny"]:
        raise SystemExit(
            f"JAX found a {device.platform}, no GPU: --shapes tiny runs here, others on an H100 or H200"
        )
    rates = Rates.measured(small=shapes == ["tiny"])
    print(
        f"{device.device_kind}: copies {rates.bandwidth / 1e9:,.0f} GB/s, multiplies "
        f"{rates.flops / 1e12:,.1f} TFLOP/s (bfloat16, measured); prefixes of {flags.prefix} tokens",
        flush=True,
    )
    for name in shapes:
        model = random_decoder(SHAPES[name])
        decode(name, model, rates, flags)
        read(name, model, rates, flags)
        busy(name, model, flags)


if __name__ == "__main__":
    main()
