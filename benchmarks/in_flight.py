"""Time saved by reading a step's figures while the next step of a training runs.

    taskset -c 0 python benchmarks/in_flight.py [--width=32 --layers=2 --steps=100 --pairs=5]

Trains a tiny policy by turns with figures read after each step and one step later, with metrics.jsonl
written, in one process that has compiled all before. Prints medians of the pairs: seconds, CPU seconds, and
the seconds in which the host did nothing but wait.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import numpy as np

from rstar_jax.models import DecoderConfig, init_random
from rstar_jax.train import Example, MetricsWriter, PolicyBatches, TrainConfig, fit, loop, policy_loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"width": 32, "layers": 2, "vocab": 512, "mlp": 96, "steps": 100, "pairs": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    flags = parser.parse_args()
    config = DecoderConfig(flags.vocab, flags.width, flags.layers, 4, 2, flags.width // 4, flags.mlp)
    rng = np.random.default_rng(0)
    lengths = rng.integers(60, 220, 4)
    examples = [
        Example(rng.integers(0, flags.vocab, n).astype(np.int32), np.arange(n) >= 20) for n in lengths
    ]
    options = TrainConfig(epochs=flags.steps, batch=4, seq_len=256, microbatch=2, learning_rate=1e-3)
    batches = PolicyBatches(examples, options, 0)

    def trained(ahead: int) -> tuple[float, float, float]:
        loop._AHEAD = ahead
        with tempfile.TemporaryDirectory() as folder, MetricsWriter(folder, tensorboard=False) as metrics:
            model, wall, cpu = init_random(config, 0), time.monotonic(), time.process_time()
            summary = fit(
                model, batches, policy_loss, options, total_steps=batches.total_steps, metrics=metrics
            )
            return time.monotonic() - wall, time.process_time() - cpu, summary.device_awaited

    trained(1)
    pairs = [(trained(0), trained(1)) for _ in range(flags.pairs)]
    print(f"{flags.steps} steps of {sum(lengths)} tokens; medians of {flags.pairs} pairs")
    print("figures are read        seconds   CPU seconds   waited")
    for name, runs in zip(("after each step", "one step later"), zip(*pairs, strict=True), strict=True):
        wall, cpu, waited = (statistics.median(found) for found in zip(*runs, strict=True))
        print(f"{name:20} {wall:10.3f} {cpu:13.3f} {waited:8.3f}")
    ratios = [later[0] / at_once[0] for at_once, later in pairs]
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"seconds, one step later over at once: median {statistics.median(ratios):.3f}, {spread}")


if __name__ == "__main__":
    main()
