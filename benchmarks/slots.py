"""How full the slots are where steps are ragged, and useful tokens per CPU second, on a CPU.

    taskset -c 1 python benchmarks/slots.py [--leaves=32] [--chunk=16]

A random model like the bundled base (three layers where that has two, 512 tokens for 640), 200 requests of 8
candidates after prefixes of 60 to 180 tokens.
Every token ends its step with a fixed chance, so lengths are geometric, more ragged than those of real
steps: a trained policy fills the slots better.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

from rstar_jax.engine import DecodeConfig, ScoreRequest, StepDecoder, StepRequest, StepScorer
from rstar_jax.models import DecoderConfig, from_policy, init_random
from rstar_jax.queues import call
from rstar_jax.types import Finish

TINY = DecoderConfig(vocab_size=512, width=96, layers=3, heads=4, kv_heads=2, head_dim=24, mlp=256)


def cpu_seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def requests(count: int, n: int, seed: int) -> list[StepRequest]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(60, 181, size=count)
    return [
        StepRequest(rng.integers(512, size=k).astype(np.int32), n, 1.0, (seed, i))
        for i, k in enumerate(lengths)
    ]


def engine(args: argparse.Namespace) -> None:
    model = init_random(TINY, 0)
    ends = range(round(args.stop * TINY.vocab_size))
    stops: dict[int | tuple[int, ...], Finish] = dict.fromkeys(ends, "step")
    config = DecodeConfig(
        leaves=args.leaves, rows=args.rows, chunk=args.chunk, max_step_tokens=args.longest, context=512
    )
    asked = requests(args.requests, args.n, seed=1)
    compiling = cpu_seconds(lambda: call(StepDecoder(model, stops, config, seed=0), asked))
    decoder = StepDecoder(model, stops, config, seed=0)  # same programs, fresh counts
    samples: list = []
    took = cpu_seconds(lambda: samples.extend(call(decoder, asked)))
    lengths = [len(s.tokens) for row in samples for s in row]
    stats = decoder.stats
    again = call(StepDecoder(model, stops, config, seed=0), asked[::-1])[::-1]
    print(f"the same samples, bit for bit, in another order: {again == samples}")
    print(
        f"steps: {len(lengths)}, of {np.mean(lengths):.1f} tokens, "
        f"10 to 90 percent: {np.percentile(lengths, [10, 90])}"
    )
    print(
        f"decode: {stats.generated / took:,.0f} useful tokens per CPU second "
        f"(with prefilled ones {stats.tokens / took:,.0f}), occupancy {stats.occupancy:.0%}, "
        f"{took:.2f} CPU s of which {stats.seconds:.2f} s in device calls; first run {compiling:.1f} CPU s"
    )
    reward = from_policy(model)
    wanted = [
        ScoreRequest(q.prefix, tuple(np.array(s.tokens, np.int32) for s in row))
        for q, row in zip(asked, samples, strict=True)
    ]
    compiling = cpu_seconds(lambda: call(StepScorer(reward, config), wanted))
    scorer = StepScorer(reward, config)
    took = cpu_seconds(lambda: call(scorer, wanted))
    print(
        f"score: {scorer.stats.scored / took:,.0f} useful tokens per CPU second, "
        f"{len(lengths) / took:,.0f} steps, "
        f"occupancy {scorer.stats.occupancy:.0%}, {took:.2f} CPU s of which {scorer.stats.seconds:.2f} s in "
        f"device calls; first run {compiling:.1f} CPU s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--leaves", type=int, default=32)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--chunk", type=int, default=16)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--longest", type=int, default=64, help="max_step_tokens")
    parser.add_argument("--stop", type=float, default=0.04, help="chance that a token ends its step")
    engine(parser.parse_args())


if __name__ == "__main__":
    main()
