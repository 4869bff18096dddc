"""What int8 weights change in a model: perplexity, greedy choices, bytes.

    taskset -c 1 python benchmarks/int8.py [--model=FOLDER] [--dtype=bfloat16] [--problems=135]

Texts are right worked solutions of held-out problems of the embedded suite, families in turn, and flawed ones
as the tiny base was made of. Figures are of what the policy has to write. Likeliest token: after the same
text. Same steps: how often the whole first step is, greedily decoded by each model on its own.
"""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import rstar_jax
from rstar_jax import models
from rstar_jax.decode import DecodeConfig, StepDecoder, StepRequest
from rstar_jax.language.prompts import PROMPTS
from rstar_jax.language.tokenizer import Tokenizer
from rstar_jax.models.quantize import parameter_bytes, to_int8
from rstar_jax.problems.suite import FAMILIES
from rstar_jax.problems.worked import FlawRates, clean_solution, sample_solution

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
    return [samples[0].tokens for samples in decoder.propose(asked)]


def measure(folder: Path, dtype: str, count: int) -> Measured:
    """Both models on `count` solutions."""
    tokenizer = Tokenizer.load(folder)
    rows = texts(tokenizer, count)
    T = -(-max(len(ids) for _, ids, _ in rows) // 64) * 64
    model = models.load_pretrained(folder, dtype=jnp.dtype(dtype))
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=TINY_BASE)
    parser.add_argument("--dtype", default="float32", help="of the full model")
    parser.add_argument("--problems", type=int, default=135)
    args = parser.parse_args()
    m = measure(args.model, args.dtype, args.problems)
    print(f"{args.model.name}, {args.problems} solutions, {m.tokens:,} tokens written by the policy")
    print(f"{'':12}{args.dtype:>12}{'int8':>12}")
    print(f"{'perplexity':12}{m.full_perplexity:12.6f}{m.int8_perplexity:12.6f}")
    print(f"{'bytes':12}{m.full_bytes:12,}{m.int8_bytes:12,}  ({m.int8_bytes / m.full_bytes:.1%})")
    print(f"largest change of a log-probability: {m.worst:.3f} nats")
    print(f"likeliest token the same: {m.agreement:.2%}; greedy first step the same: {m.same_steps:.1%}")


if __name__ == "__main__":
    main()
