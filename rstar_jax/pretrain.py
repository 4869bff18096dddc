"""The tiny base model from nothing: a weak policy that knows the step format and is often wrong.

Next-token training on worked solutions of the suite's training split with the flaws of `FlawRates`: copying
numbers and the right formulas are learnt, but in many families a wrong formula is likelier. It is asked with
the prompt of a fine-tuned policy, so that it is its own bootstrap policy.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rstar_jax import models, stores, weights
from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.inference import Reasoner
from rstar_jax.problems.suite import FAMILIES, generate
from rstar_jax.problems.worked import FlawRates, sample_solution
from rstar_jax.sandbox import Limits, Sandbox
from rstar_jax.search import SearchConfig, grow_trees
from rstar_jax.tasks import Checker, MathTask
from rstar_jax.text import usage
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import TrainConfig, TrainSummary, train_policy
from rstar_jax.types import SftRow, Tree

# Solutions that the tokenizer is fitted to; more change nothing.
_TOKENIZER_EXAMPLES = 5000
_REPORT_EVERY_S = 15.0
_TASK = MathTask()
# Not qwen2: for that type AutoTokenizer of transformers 5 puts Qwen2's splitting in the place of
# tokenizer.json's, whatever tokenizer_class says. For llama it takes tokenizer.json as it is.
_FAMILY = "llama"


# Small steps: in equal time half the batch learns to copy numbers a third sooner.
TRAIN = TrainConfig(
    epochs=1,
    batch=9,
    seq_len=256,
    microbatch=4,
    learning_rate=3e-3,
    schedule="cosine",
    warmup_fraction=0.03,
    weight_decay=0.05,
    b2=0.99,
)


@dataclasses.dataclass(frozen=True)
class ModelShape:
    """The decoder's size.

    vocab: tokens wanted of the vocabulary. width: size of a hidden state. layers: how many there are. heads:
    attention heads of a layer. kv_heads: heads of keys and values. head_dim: size of a head. mlp: inner size
    of the MLP.
    """

    vocab: int = 640
    width: int = 96
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 24
    mlp: int = 256


@dataclasses.dataclass(frozen=True)
class MeasureConfig:
    """The measurement at the end. problems: how many held-out ones. samples: trajectories sampled of each
    problem; 0: none. seed: draws the problems."""

    problems: int = 216
    samples: int = 16
    seed: int = 7


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
    """Everything the tiny base depends on. seed: of the solutions, the weights and the order of training.
    solutions: how many flawed ones it reads, each once."""

    job: str = "pretrain"
    seed: int = 0
    solutions: int = 100_000
    model: ModelShape = ModelShape()
    flaws: FlawRates = dataclasses.field(default_factory=FlawRates)
    train: TrainConfig = TRAIN
    measure: MeasureConfig = MeasureConfig()


def run(config: PretrainConfig, workdir: Path) -> Path:
    """Writes WORKDIR/tiny-base (a Hugging Face folder) and returns it.

    1. solutions, 2. tokenizer, 3. training, 4. the folder, 5. its README with the figures. A killed training
    goes on from its last checkpoint. Raises UserError if there is nothing to train on.
    """
    if config.solutions < 1:
        raise UserError(f"config.solutions: {config.solutions} given, at least 1 expected.")
    # 1.
    rows = solutions(config.solutions, config.flaws, seed=config.seed)
    prompt = functools.partial(_TASK.prompt, role="finetuned")
    # 2.
    written = ["".join(row.steps) for row in rows[:_TOKENIZER_EXAMPLES]]
    asked = [prompt(row.question) for row in rows[:_TOKENIZER_EXAMPLES]]
    # Solutions count twice: what is written costs more than what is read.
    tokenizer = Tokenizer.train([*asked, *written, *written], config.model.vocab, _TASK.grammar, phrases=True)
    # 3.
    shape = config.model
    model = models.init_random(
        models.DecoderConfig(
            vocab_size=tokenizer.vocab_size,
            width=shape.width,
            layers=shape.layers,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            mlp=shape.mlp,
            family=_FAMILY,
            qkv_bias=False,
            eos_ids=() if tokenizer.eos_id is None else (tokenizer.eos_id,),
            pad_id=tokenizer.pad_id,
        ),
        config.seed,
    )
    print(f"{sum(p.size for p in model.params().values()):,} parameters, {len(rows):,} solutions", flush=True)
    summary = train_policy(
        model,
        rows,
        tokenizer,
        prompt,
        config.train,
        seed=config.seed,
        checkpoints=workdir / "checkpoints",
        on_step=_reporter(),
    )
    # 4.
    folder = workdir / "tiny-base"
    tokenizer.set_chat_template(usage.chat_template(prompt, tokenizer))
    weights.save_pretrained(model, folder, tokenizer_from=tokenizer, stops=_TASK.grammar.handovers)
    stores.remove_folder(workdir / "checkpoints")
    # 5.
    figures = measure(folder, config.measure) if config.measure.problems else {}
    _write_readme(folder, config, summary, figures)
    print(f"{folder}: {json.dumps(figures)}", flush=True)
    return folder


def solutions(count: int, rates: FlawRates, *, seed: int) -> list[SftRow]:
    """Flawed worked solutions of training problems, families in turn."""
    rng, names = random.Random(f"pretrain/{seed}"), list(FAMILIES)
    rows = []
    for i in range(count):
        question, steps, _ = sample_solution(names[i % len(names)], rng, rates, split="train")
        rows.append(SftRow(f"pretrain/{i}", question, tuple(steps), mean_q=0.0, min_q=0.0, round=0))
    return rows


def measure(folder: Path, config: MeasureConfig) -> dict[str, float]:
    """Percent right on held-out problems: greedy, sampled at temperature 1, and pass@k, also by level.

    "ended" is the share of sampled trajectories that reach an answer.
    """
    problems = generate(config.problems, seed=config.seed, split="heldout")
    with Sandbox(workers=1, limits=Limits()) as sandbox:
        reasoner = Reasoner(
            folder,
            None,
            Checker(_TASK, sandbox),
            role="finetuned",
            decode=DecodeConfig(leaves=32, max_step_tokens=64, context=384),
            dtype="float32",
            seed=config.seed,
        )
        queues = reasoner.queues(0)
        greedy = SearchConfig(strategy="greedy", batch=64)
        figures = _shares("greedy", grow_trees(problems, queues, greedy, round=0), 1)
        if config.samples:
            sample = SearchConfig(strategy="sample", rollouts=config.samples, temperature=1.0, batch=64)
            trees = grow_trees(problems, queues, sample, round=0)
            ended = sum(len(tree.trajectories()) for tree in trees) / (len(trees) * config.samples)
            figures |= _shares("sampled", trees, config.samples)
            figures["ended"] = round(100 * ended, 1)
    return figures


def _shares(name: str, trees: Sequence[Tree], samples: int) -> dict[str, float]:
    """pass@1, and pass@samples where there are several, of all trees and by level."""
    right = [sum(t.grade == "right" for t in tree.trajectories()) for tree in trees]
    figures: dict[str, float] = {}
    for level in (0, 1, 2, 3):
        counts = [n for n, tree in zip(right, trees, strict=True) if level in (0, tree.problem.level)]
        label = f"_level{level}" if level else ""
        if counts:
            figures[f"{name}{label}"] = round(100 * sum(counts) / len(counts) / samples, 1)
            if samples > 1:
                figures[f"pass@{samples}{label}"] = round(100 * sum(map(bool, counts)) / len(counts), 1)
    return figures


def _reporter() -> Callable[[int, int, dict[str, float]], None]:
    """Prints step, loss and time left now and then."""
    started = told = time.monotonic()
    losses: list[float] = []

    def report(done: int, total: int, values: dict[str, float]) -> None:
        nonlocal told
        losses.append(values["loss"])
        now = time.monotonic()
        if now - told >= _REPORT_EVERY_S or done == total:
            left = (now - started) / done * (total - done)
            mean = sum(losses) / len(losses)
            print(f"step {done} of {total}: loss {mean:.4f}, {left:.0f} s left", flush=True)
            told = now
            losses.clear()

    return report


def _write_readme(
    folder: Path, config: PretrainConfig, summary: TrainSummary, figures: dict[str, float]
) -> None:
    """Write what the folder is, how it was made, and what was measured."""
    size = sum(file.stat().st_size for file in folder.iterdir())
    table = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
    (folder / "README.md").write_text(
        f"""# tiny-base

A Llama-architecture decoder that the quickstart evolves: it writes the steps of rStar-Math and is often
wrong. Made from nothing by

    python -m rstar_jax.launch --config=pretrain_tiny --workdir=runs/pretrain_tiny

with seed {config.seed}, from {summary.examples:,} flawed worked solutions ({summary.tokens:,} tokens) of the
embedded suite's training split, in {summary.seconds:.0f} s on one CPU core; loss {summary.last_loss:.3f} at
the end (part of it cannot be learnt: which flaw is drawn). It has seen no held-out problem.
{size / 1e6:.1f} MB.

The tokenizer's merges may span words. The model is of type llama (no biases), for which `AutoTokenizer` takes
tokenizer.json as it is; for type qwen2 transformers 5 puts Qwen2's own splitting in its place, which gave
other, longer encodings of the same text.

Measured on {config.measure.problems} held-out problems, in percent (sampled: {config.measure.samples}
trajectories each at temperature 1; "ended": the share of them that reach an answer):

| | |
|---|---|
{table}

{usage.policy_usage(functools.partial(_TASK.prompt, role="finetuned"), _TASK.grammar)}""",
        encoding="utf-8",
    )
