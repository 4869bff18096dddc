"""Training throughput of a tiny policy and PPM by rows per call and row length.

    taskset -c 0 python benchmarks/train.py [--width=96 --layers=3 --vocab=512 --examples=256]

Prints, per setting, what a first training pays for compiling, tokens per second of a second one, which
compiles nothing, and the share of the slots that packing fills. All in CPU seconds, so that a busy machine
shows less. Solutions have 60 to 220 tokens, as the suite's have.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from rstar_jax.models import DecoderConfig, from_policy, init_random
from rstar_jax.train import Example, PolicyBatches, PpmBatches, TrainConfig, fit, policy_loss, ppm_loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {
        "width": 96,
        "layers": 3,
        "vocab": 512,
        "mlp": 256,
        "examples": 256,
        "batch": 32,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--settings", default="1x256,2x256,4x256,8x256,1x512,2x512,4x512,8x512")
    flags = parser.parse_args()
    config = DecoderConfig(flags.vocab, flags.width, flags.layers, 4, 2, flags.width // 4, flags.mlp)
    rng = np.random.default_rng(0)
    examples = [
        Example(rng.integers(0, flags.vocab, n).astype(np.int32), np.arange(n) >= n // 3)
        for n in rng.integers(60, 220, flags.examples)
    ]
    # Four pairs a node over four continuations of about the same length.
    lengths = rng.integers(60, 200, flags.examples // 4)
    tokens = [
        rng.integers(0, flags.vocab, n + rng.integers(10, 20)).astype(np.int32)
        for n in lengths
        for _ in "abcd"
    ]
    pairs = [(4 * i + p, 4 * i + n) for i in range(flags.examples // 4) for p in (0, 1) for n in (2, 3)]
    nodes, weights = np.split(np.arange(len(pairs)), len(pairs) // 4), np.full(len(pairs), 0.25, np.float32)
    print(f"{config.layers} layers, width {config.width}, {flags.examples} sequences, {flags.batch} a step")
    print("kind    rows x length   compile s  tokens/cpu s   slots filled")
    for setting in flags.settings.split(","):
        rows, seq_len = map(int, setting.split("x"))
        options = TrainConfig(
            epochs=2, batch=flags.batch, seq_len=seq_len, microbatch=rows, learning_rate=1e-3
        )
        for kind in ("policy", "ppm"):
            if kind == "policy":
                batches, loss = PolicyBatches(examples, options, 0), policy_loss
            else:
                if rows < 2 or (rows < 4 and seq_len < 440):
                    continue  # a node's four sequences would not fit one call
                batches = PpmBatches(
                    lambda i: (tokens[pairs[i][0]], tokens[pairs[i][1]]), nodes, weights, options, 0
                )
                loss = ppm_loss
            seconds = []
            for repeat in range(2):
                decoder = init_random(config, repeat)
                model = decoder if kind == "policy" else from_policy(decoder)
                started = time.process_time()
                summary = fit(model, batches, loss, options, total_steps=batches.total_steps)
                seconds.append(time.process_time() - started)
            steps = (batches(step).microbatches for step in range(batches.total_steps))
            filled = summary.tokens / sum(m["tokens"].size for microbatches in steps for m in microbatches)
            print(
                f"{kind:7} {rows:4} x {seq_len:4} {seconds[0] - seconds[1]:14.1f} "
                f"{summary.tokens / seconds[1]:13,.0f} {filled:14.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
