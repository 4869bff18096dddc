"""What int8 weights change in a model: perplexity, greedy choices, bytes; and how fast they are decoded.

    taskset -c 1 python benchmarks/int8.py [--model=FOLDER] [--dtype=bfloat16] [--problems=135]
    taskset -c 1 python benchmarks/int8.py --speed [--model=FOLDER | --shape=smollm2-135m] [--dtype=bfloat16]

Texts are right worked solutions of held-out problems of the embedded suite, families in turn, and flawed ones
as the tiny base was made of. Figures are of what the policy has to write. Likeliest token: after the same
text. Same steps: how often the whole first step is, greedily decoded by each model on its own.

--speed: tokens per CPU second that our engine decodes, sampled after prefixes of random tokens, by turns; the
ratio is the median of its pairs.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import rstar_jax
from rstar_jax import models, weights
from rstar_jax.engine import DecodeConfig, StepDecoder, StepRequest
from rstar_jax.problems.suite import FAMILIES
from rstar_jax.problems.worked import FlawRates, clean_solution, sample_solution
from rstar_jax.queues import call
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.prompts import PROMPTS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.transforms.quantize import parameter_bytes, to_int8

TINY_BASE = Path(rstar_jax.__file__).parent / "assets" / "tiny-base"
ROWS = 9


class Measured(NamedTuple):
    """tokens: that the policy has to write. worst: largest change of a token's log-probability, in nats.

    agreement, same_steps: shares from 0 to 1.
    """

    tokens: int
    full_perplexity: float
    int8_perplexity: float
    worst: float
    agreement: float
    same_steps: float
    full_bytes: int
    int8_bytes: int


@nnx.jit
def read(model: models.Decoder, tokens_BxT: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of every token but the first: its log-probability, and the likeliest one in its place."""
    logits = model(tokens_BxT)[:, :-1]
    logprobs = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(logprobs, tokens_BxT[:, 1:, None], axis=2)[..., 0], jnp.argmax(logits, axis=2)


def texts(tokenizer: Tokenizer, count: int) -> list[tuple[int, list[int], list[bool]]]:
    """Tokens of the prompt, ids of all, and which of them the policy writes."""
    found = []
    for i, family in zip(range(count), list(FAMILIES.values()) * count, strict=False):
        instance = family.instance(random.Random(f"int8/{i}"), "heldout")
        question, steps = instance.question, clean_solution(instance)
        if i % 2:
            question, steps, _ = sample_solution(
                family.name, random.Random(f"int8/{i}"), FlawRates(), split="heldout"
            )
        prompt = PROMPTS["finetuned"](question)
        ids, written = tokenizer.encode_solution(prompt, steps)
        found.append((len(tokenizer.encode_prompt(prompt)), ids, written))
    return found


def first_steps(model: models.Decoder, tokenizer: Tokenizer, rows: list) -> list[tuple[int, ...]]:
    config = DecodeConfig(leaves=ROWS, rows=1, max_step_tokens=64, context=512)
    decoder = StepDecoder(model, tokenizer.stop_ids, config, seed=0)
    asked = [StepRequest(np.array(ids[:n], np.int32), 1, 0.0, (i,)) for i, (n, ids, _) in enumerate(rows)]
    return [samples[0].tokens for samples in call(decoder, asked)]


def measure(folder: Path, dtype: str, count: int) -> Measured:
    """Both models on `count` solutions."""
    tokenizer = Tokenizer.load(folder, CODE_STEPS)
    rows = texts(tokenizer, count)
    T = -(-max(len(ids) for _, ids, _ in rows) // 64) * 64
    model = weights.load_pretrained(folder, dtype=jnp.dtype(dtype))
    figures, choices, steps, logs = [], [], [], []
    for int8 in (False, True):
        if int8:
            to_int8(model)
        logprobs, chosen = [], []
        for at in range(0, count, ROWS):
            block = rows[at : at + ROWS]
            tokens, mask = np.zeros((ROWS, T), np.int32), np.zeros((ROWS, T), bool)
            for row, (_, ids, written) in enumerate(block):
                tokens[row, : len(ids)], mask[row, : len(ids)] = ids, written
            one, other = (np.asarray(x)[mask[:, 1:]] for x in read(model, tokens))
            logprobs.append(one)
            chosen.append(other)
        logs.append(np.concatenate(logprobs))
        figures.append((float(np.exp(-logs[-1].mean())), parameter_bytes(model)))
        choices.append(np.concatenate(chosen))
        steps.append(first_steps(model, tokenizer, rows))
    (full, full_bytes), (small, small_bytes) = figures
    return Measured(
        tokens=len(choices[0]),
        full_perplexity=full,
        int8_perplexity=small,
        worst=float(np.abs(logs[0] - logs[1]).max()),
        agreement=float((choices[0] == choices[1]).mean()),
        same_steps=float(np.mean([a == b for a, b in zip(*steps, strict=True)])),
        full_bytes=full_bytes,
        int8_bytes=small_bytes,
    )


def speed(args: argparse.Namespace) -> None:
    """Prints a row for each batch."""
    from engine import Ours
    from shape import decoder, name

    full, small = decoder(args, args.dtype), decoder(args, args.dtype)
    to_int8(small)
    print(f"{name(args)}, prefix {args.prefix}: tokens decoded, and prefilled, per CPU second")
    print(f"batch  {args.dtype:>10}  int8  ratio (pairs)       {args.dtype:>10}  int8")
    for batch in args.batches.split(","):
        B, n = map(int, batch.split("x"))
        drawn = np.random.default_rng(0).integers(full.config.vocab_size, size=(B, args.prefix))
        sides = [Ours(m, drawn.astype(np.int32), n, args.new, args.chunk) for m in (full, small)]
        for side in sides:
            side.run()
        pairs = [[side.run() for side in sides] for _ in range(args.pairs)]
        ratios = sorted(one[1] / other[1] for one, other in pairs)
        runs = zip(*pairs, strict=True)
        (fill, step), (fill8, step8) = ([statistics.median(t) for t in zip(*r, strict=True)] for r in runs)
        read = B * (args.prefix - 1)
        print(
            f"{batch:>5}  {1 / step:10,.0f} {1 / step8:5,.0f}  {statistics.median(ratios):5.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})  {read / fill:10,.0f} {read / fill8:5,.0f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    from shape import add_flags  # not above, as tests load this file by its path

    add_flags(parser, None)
    parser.add_argument("--dtype", default="float32", help="of the full model")
    parser.add_argument("--problems", type=int, default=135)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--prefix", type=int, default=256)
    parser.add_argument("--batches", default="2x8,8x8", help="leaves x candidates")
    parser.add_argument("--new", type=int, default=48, help="tokens that each candidate gets")
    parser.add_argument("--chunk", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    if args.speed:
        args.model = args.model or (None if args.shape else TINY_BASE)
        speed(args)
        return
    if args.shape:
        parser.error("--shape: random weights have no tokenizer; only --speed takes them")
    args.model = args.model or TINY_BASE
    m = measure(args.model, args.dtype, args.problems)
    print(f"{args.model.name}, {args.problems} solutions, {m.tokens:,} tokens written by the policy")
    print(f"{'':12}{args.dtype:>12}{'int8':>12}")
    print(f"{'perplexity':12}{m.full_perplexity:12.6f}{m.int8_perplexity:12.6f}")
    print(f"{'bytes':12}{m.full_bytes:12,}{m.int8_bytes:12,}  ({m.int8_bytes / m.full_bytes:.1%})")
    print(f"largest change of a log-probability: {m.worst:.3f} nats")
    print(f"likeliest token the same: {m.agreement:.2%}; greedy first step the same: {m.same_steps:.1%}")


if __name__ == "__main__":
    main()
