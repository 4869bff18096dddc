"""A random folder of a released model's shape through one expansion and one training step.

    python benchmarks/real_shape.py [--shape qwen2.5-1.5b] [--out runs/shape]

Nothing is learnt by it: it shows that nothing about the shape surprises (a vocabulary of 151,936 rows, most
of them no token's; heads that share keys; layers unrolled), and what each part takes. The folder has the
bundled tokenizer and is kept in OUT for the next run. bfloat16, low-rank training.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from pathlib import Path

import jax.numpy as jnp
from shape import SHAPES

import rstar_jax
from rstar_jax import models, train, weights
from rstar_jax.engine import DecodeConfig
from rstar_jax.inference import Reasoner
from rstar_jax.problems.suite import FAMILIES, generate
from rstar_jax.problems.worked import clean_solution
from rstar_jax.queues import call
from rstar_jax.sandbox import Sandbox
from rstar_jax.search.contract import Leaf
from rstar_jax.tasks import Checker, MathTask
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.prompts import PROMPTS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.transforms.lora import LoraConfig
from rstar_jax.types import SftRow

BUNDLED = Path(rstar_jax.__file__).parent / "assets" / "tiny-base"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-1.5b")
    parser.add_argument("--out", type=Path, default=Path("runs/shape"))
    given = parser.parse_args()
    folder = given.out / given.shape
    part = Part()
    if not (folder / "config.json").exists():
        model = models.init_random(SHAPES[given.shape], 0, dtype=jnp.bfloat16)
        weights.save_pretrained(model, folder, tokenizer_from=BUNDLED)
        del model
        part.done("made and saved")
    expand(folder, part)
    teach(folder, part)


class Part:
    """Prints what each part took: wall and CPU seconds, and the most memory so far."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.monotonic(), time.process_time()

    def done(self, name: str, more: str = "") -> None:
        wall, cpu = time.monotonic(), time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        took = f"{wall - self.wall:8.1f} s, CPU {cpu - self.cpu:8.1f} s, peak {peak:8,.0f} MiB"
        print(f"{name:24} {took}  {more}", flush=True)
        self.wall, self.cpu = time.monotonic(), time.process_time()


def expand(folder: Path, part: Part) -> None:
    """One expansion of 8 candidates, behind the bootstrap prompt of some 1,000 tokens."""
    (problem,) = generate(1, seed=0, split="heldout")
    decode = DecodeConfig(leaves=1, rows=8, max_step_tokens=16, context=1536)
    with Sandbox(workers=1) as sandbox:
        task = Checker(MathTask(), sandbox)
        reasoner = Reasoner(folder, None, task, role="bootstrap", decode=decode, dtype="bfloat16", seed=0)
        part.done("loaded to decode")
        for node in (0, 1):  # the second has compiled programs, and the prompt in its cache
            leaf = Leaf(problem, (), tree_index=0, node=node, n=8, temperature=1.0)
            (found,) = call(reasoner.queues(1).propose, [leaf])
            engine = reasoner.result()["engine"]
            assert isinstance(engine, dict) and len(found) == 8
            known = Tokenizer.load(folder, CODE_STEPS).vocab_size
            if any(token >= known for one in found for token in one.tokens):
                raise SystemExit("a row of the vocabulary that is no token was sampled")
            written = sum(len(one.tokens) for one in found)
            part.done(f"expansion {node + 1}", f"{written} tokens written; prefilled {engine['prefilled']:,}")


def teach(folder: Path, part: Part) -> None:
    """One optimiser step on two solutions, rows of 512 tokens."""
    model = weights.load_pretrained(folder, dtype=jnp.bfloat16)
    part.done("loaded to train")
    rng = random.Random(0)
    rows = []
    for name in list(FAMILIES)[:2]:
        instance = FAMILIES[name].instance(rng, "train")
        rows.append(SftRow(name, instance.question, tuple(clean_solution(instance)), 1.0, 1.0, 1))
    config = train.TrainConfig(
        epochs=1, batch=2, seq_len=512, microbatch=1, remat="full", lora=LoraConfig(rank=16)
    )
    summary = train.train_policy(
        model, rows, Tokenizer.load(folder, CODE_STEPS), PROMPTS["finetuned"], config
    )
    part.done("one training step", f"{summary.tokens:,} tokens, loss {summary.first_loss:.2f}")


if __name__ == "__main__":
    sys.exit(main())
