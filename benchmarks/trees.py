"""Pairs of a PPM as separate sequences and as trees: tokens computed, padding, time.

    taskset -c 0 python benchmarks/trees.py [--run=RUNDIR --round=2] [--depths=8,16] [--repeats=5]
    python benchmarks/trees.py --depths=4,8,16 --trees=60 --microbatch=8 --repeats=0 [--batch=512]

Both ways learn the same pairs in as many steps, in one process and by turns: seconds are of the processor,
for an epoch that compiles nothing, and the ratio is the median of those of each turn. Pairs are those of a
quickstart's round (--run), and of trees as the paper's searches make them: 16 rollouts of 5 candidates,
prompts of 150 tokens, steps of 60 to 80, two children of a side at each node and two trajectories; there
microbatches have the shapes of a long training.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rstar_jax import parquet
from rstar_jax.data.pair_tokens import PairEncoder
from rstar_jax.losses import LOSSES
from rstar_jax.models import DecoderConfig, RewardModel, from_policy, init_random
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.prompts import PROMPTS
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.train import Batch, TrainConfig, fit, ppm_loss
from rstar_jax.train.ppm import PpmBatches, sides_of
from rstar_jax.train.tree_packing import Outline, fill, spread
from rstar_jax.train.tree_rows import by_question, shuffled
from rstar_jax.types import PreferencePair
from rstar_jax.weights import load_reward_model


@dataclasses.dataclass(frozen=True)
class Pairs:
    """sides: of each pair, preferred first. questions, nodes: what they are compared in."""

    sides: list[tuple[np.ndarray, np.ndarray]]
    questions: list[str]
    nodes: list[Any]
    weights: np.ndarray


class Separate:
    """step -> Batch of separate sequences: whole nodes, each of whose sequences is in a row once."""

    def __init__(self, pairs: Pairs, config: TrainConfig) -> None:
        self.config, self.weights = config, pairs.weights
        known: dict[bytes, int] = {}
        self.pairs = [[known.setdefault(s.tobytes(), len(known)) for s in both] for both in pairs.sides]
        self.sequences = [np.frombuffer(s, np.int32) for s in known]
        self.nodes = by_question(np.array([*map(str, zip(pairs.questions, pairs.nodes, strict=True))]))
        self.total_steps = min(math.ceil(len(self.pairs) / config.batch), len(self.nodes))

    def __call__(self, step: int) -> Batch:
        order, c = shuffled(len(self.nodes), 0, 0), self.config
        nodes = [self.nodes[i] for i in np.array_split(order, self.total_steps)[step]]
        members = [list(dict.fromkeys(s for i in node for s in self.pairs[i])) for node in nodes]
        lengths = [np.array([len(self.sequences[s]) for s in some]) for some in members]
        outlines = [Outline(np.zeros(len(sizes), int), sizes) for sizes in lengths]
        packed = [
            self._packed([nodes[i] for i in some], [members[i] for i in some], [outlines[i] for i in some])
            for some in spread(outlines, c.microbatch, c.seq_len)
        ]
        return Batch(packed, sum(map(len, nodes)), sum(int(sizes.sum()) for sizes in lengths))

    def _packed(
        self, nodes: list[np.ndarray], members: list[list[int]], outlines: list[Outline]
    ) -> dict[str, np.ndarray]:
        """A microbatch of whole nodes. members: their sequences, which outlines are the sizes of."""
        rows, tokens = self.config.microbatch, self.config.seq_len
        arrays = {n: np.zeros((rows, tokens), np.int32) for n in ("tokens", "positions", "segment_ids")}
        last: dict[tuple[int, int], int] = {}
        for part in fill(outlines, rows, tokens) or ():
            s = members[part.number][part.first]
            here = self.sequences[s]
            span = slice(part.start, part.start + len(here))
            arrays["tokens"][part.row, span] = here
            arrays["positions"][part.row, span] = np.arange(len(here))
            arrays["segment_ids"][part.row, span] = 1 + arrays["segment_ids"][part.row].max()
            last[part.number, s] = part.row * tokens + span.stop - 1
        columns = np.zeros((3, rows * tokens // 2))
        found = [(number, i) for number, node in enumerate(nodes) for i in node]
        for row, side in enumerate((0, 1)):
            columns[row, : len(found)] = [last[number, self.pairs[i][side]] for number, i in found]
        columns[2, : len(found)] = [self.weights[i] for _, i in found]
        positive, negative = columns[:2].astype(np.int32)
        weights = columns[2].astype(np.float32)
        return arrays | {"positive": positive, "negative": negative, "pair_weights": weights}


def separate_loss(model: RewardModel, batch: dict[str, jax.Array], config: TrainConfig) -> Any:
    """The loss of `Separate`'s microbatches."""
    raw = model.raw(batch["tokens"], batch["positions"], batch["segment_ids"], remat=config.remat).reshape(-1)
    values = jax.numpy.tanh(raw[jax.numpy.stack([batch["positive"], batch["negative"]])])
    return LOSSES["bradley_terry"](*values, batch["pair_weights"])


def of_run(folder: Path) -> tuple[Pairs, Callable[[], RewardModel]]:
    """The pairs of a round's folder, and its PPM."""
    found = list(parquet.read_rows(folder / "curate" / "pairs.parquet", PreferencePair))
    model = folder / "ppm" / "model"
    encoder = PairEncoder(Tokenizer.load(model, CODE_STEPS), PROMPTS["finetuned"])
    pairs = Pairs(
        [sides_of(**encoder.arrays(pair, Counter())) for pair in found],
        [pair.question for pair in found],
        [pair.prefix for pair in found],
        np.array([pair.weight for pair in found], np.float32),
    )
    return pairs, lambda: load_reward_model(model)


def of_search(rng: np.random.Generator, depth: int, rollouts: int, candidates: int, vocab: int) -> Pairs:
    """Pairs of a tree that rollouts of so many steps have grown by UCT (c = 2), whose answers are right by
    halves."""
    visits: dict[tuple[int, ...], int] = {(): 0}
    total: dict[tuple[int, ...], float] = {(): 0.0}
    tokens: dict[tuple[int, ...], np.ndarray] = {(): rng.integers(1, vocab, 150).astype(np.int32)}
    prior: dict[tuple[int, ...], float] = {}
    ends: dict[tuple[int, ...], float] = {}
    for _ in range(rollouts):
        path: tuple[int, ...] = ()
        while len(path) < depth:
            children = [(*path, i) for i in range(candidates)]
            for child in children:
                if child not in prior:
                    prior[child] = float(rng.uniform(-1, 1))
                    visits[child], total[child] = 0, 0.0
                    tokens[child] = rng.integers(1, vocab, rng.integers(60, 81)).astype(np.int32)

            def uct(child: tuple[int, ...], above: int = visits[path]) -> float:
                n = visits[child]
                return (total[child] / n if n else prior[child]) + 2 * math.sqrt(
                    math.log(above + 1) / (n + 1)
                )

            path = max(children, key=uct)
        ends.setdefault(path, float(rng.choice([-1.0, 1.0])))
        for n in range(depth + 1):
            visits[path[:n]] += 1
            total[path[:n]] += ends[path]
    ids = {path: np.concatenate([tokens[path[:n]] for n in range(len(path) + 1)]) for path in visits}
    right, wrong = (
        {path[:n] for path, grade in ends.items() if grade == side for n in range(1, depth + 1)}
        for side in (1.0, -1.0)
    )
    sides, nodes = [], []

    def compare(node: Any, among: Sequence[tuple[int, ...]], better: set[Any], worse: set[Any]) -> None:
        by_q = sorted(among, key=lambda path: total[path] / visits[path])
        positives = [path for path in reversed(by_q) if path in better][:2]
        negatives = [path for path in by_q if path in worse][:2]
        for positive, negative in itertools.product(positives, negatives):
            if positive != negative:
                sides.append((ids[positive], ids[negative]))
                nodes.append(node)

    for node in visits:
        compare(node, [(*node, i) for i in range(candidates) if visits.get((*node, i), 0)], right, wrong)
    compare("trajectories", list(ends), right, wrong)
    return Pairs(sides, [""] * len(sides), nodes, np.full(len(sides), 0.25, np.float32))


def of_searches(depth: int, trees: int, rollouts: int, vocab: int) -> Pairs:
    found = [of_search(np.random.default_rng(i), depth, rollouts, 5, vocab) for i in range(trees)]
    return Pairs(
        [side for pairs in found for side in pairs.sides],
        [str(i) for i, pairs in enumerate(found) for _ in pairs.sides],
        [node for pairs in found for node in pairs.nodes],
        np.concatenate([pairs.weights for pairs in found]),
    )


def measure(
    name: str, pairs: Pairs, model: Callable[[], RewardModel], config: TrainConfig, repeats: int, epochs: int
) -> None:
    """Print a row for each way, and their ratios."""
    questions, long = by_question(np.array(pairs.questions)), dataclasses.replace(config, epochs=epochs)
    twice = sum(len(side) for both in pairs.sides for side in both)
    print(f"{name:14} {twice:,} tokens of {len(pairs.sides)} pairs, each with two sequences of its own")
    ways: dict[str, tuple[Any, Any]] = {
        "separate": (Separate(pairs, config), separate_loss),
        "trees": (PpmBatches(pairs.sides.__getitem__, questions, pairs.weights, long, 0), ppm_loss),
    }
    slots: dict[str, int] = {}
    tokens: dict[str, int] = {}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    count = ways["separate"][0].total_steps
    for way, (batches, _) in ways.items():
        # Of trees those of an epoch that has not chosen the shapes.
        steps = [batches(i + count * (way == "trees")) for i in range(count)]
        slots[way] = sum(m["tokens"].size for step in steps for m in step.microbatches)
        tokens[way] = sum(step.tokens for step in steps)
        shapes = len({m["tokens"].shape for step in steps for m in step.microbatches})
        print(
            f"{name:14} {way:9} {sum(s.examples for s in steps):5} pairs {len(steps):4} steps "
            f"{sum(len(s.microbatches) for s in steps):5} calls {tokens[way]:9,} tokens, "
            f"{100 * (1 - tokens[way] / slots[way]):4.1f} % padding, {shapes} shapes",
            flush=True,
        )
    found = ways["trees"][0].groups
    once = sum(found.outline(group).total for group in range(len(found)))
    fewer = tokens["separate"] / tokens["trees"]
    print(
        f"{name:14} {100 * (tokens['trees'] / once - 1):.1f} % of the trees' tokens are repeated; trees have "
        f"{twice / tokens['trees']:.2f} times fewer tokens than pairs, {fewer:.2f} than sequences; "
        f"{twice / slots['trees']:.2f} and {slots['separate'] / slots['trees']:.2f} with padding",
        flush=True,
    )
    if not repeats:
        return
    for turn in range(repeats + 1):  # the first compiles
        for way, (batches, loss) in ways.items():
            made = model()
            started = time.process_time()
            fit(made, batches, loss, config, total_steps=count)
            if turn:
                seconds[way].append(time.process_time() - started)
    ratio = np.median(np.array(seconds["separate"]) / np.array(seconds["trees"]))
    medians = [np.median(s) for s in seconds.values()]
    print(
        f"{name:14} {ratio:.2f} times less time than sequences ({medians[0]:.2f} s, {medians[1]:.2f} s)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--round", type=int, default=2)
    parser.add_argument("--rows", default="4x256,2x512", help="of the run's pairs")
    parser.add_argument("--depths", default="8,16")
    parser.add_argument("--rollouts", default="16")
    parser.add_argument("--trees", type=int, default=4)
    parser.add_argument("--seq_len", type=int, default=4096)
    parser.add_argument("--microbatch", type=int, default=4)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    flags = parser.parse_args()
    if flags.run is not None:
        pairs, model = of_run(flags.run / f"round{flags.round}")
        for setting in flags.rows.split(","):
            rows, seq_len = map(int, setting.split("x"))
            config = TrainConfig(epochs=1, batch=32, seq_len=seq_len, microbatch=rows, learning_rate=1e-3)
            measure(f"run {setting}", pairs, model, config, flags.repeats, epochs=8)
    width = flags.width
    shape = DecoderConfig(512, width, flags.layers, 4, 2, width // 4, 8 * width // 3)
    config = TrainConfig(
        epochs=1, batch=flags.batch, seq_len=flags.seq_len, microbatch=flags.microbatch, learning_rate=1e-3
    )
    for depth, rollouts in itertools.product(
        filter(None, flags.depths.split(",")), flags.rollouts.split(",")
    ):
        pairs = of_searches(int(depth), flags.trees, int(rollouts), 512)
        measure(
            f"{depth} x {rollouts}",
            pairs,
            lambda: from_policy(init_random(shape, 0)),
            config,
            flags.repeats,
            epochs=10**4,
        )


if __name__ == "__main__":
    main()
