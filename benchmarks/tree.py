"""What a search costs beside its models: UCT per simulation, the loop per expansion, both in a real search.

    python benchmarks/tree.py [--peer] [--search]

UCT: 64 simulations of 16 actions in 64 to 4,096 trees, as mctx's muzero_policy is measured: select, append 16
children, back up; the best of three runs. --peer runs mctx (pip install mctx) on the same sizes, in turn with
ours; the mean depth of what was expanded is printed, as it decides what a simulation costs. Loop: whole
searches whose queues answer at once. --search: a search with the bundled model, a PPM made from it and the
sandbox; the model is so small that nothing hides what the search costs.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

from rstar_jax.queues import Batched
from rstar_jax.search import Queues, SearchConfig, collector, grow_trees
from rstar_jax.search.uct import Statistics
from rstar_jax.types import Candidate, Problem, StepVerdict

WIDTH, SIMULATIONS = 16, 64


def depth(parents: list[int], node: int) -> int:
    steps = 0
    while node > 0:
        node, steps = parents[node], steps + 1
    return steps


def ours(batch: int) -> tuple[float, float]:
    """One simulation of every tree after the other, as results come: CPU seconds, mean depth expanded.

    As in `drive.stream` the garbage collector comes rarely. Priors and values are drawn in the time that is
    measured, as they are on mctx's side.
    """
    rng = np.random.default_rng(0)
    expanded: list[list[int]] = [[] for _ in range(batch)]
    begin = time.process_time()
    with collector.rarely():
        trees = [Statistics() for _ in range(batch)]
        for _ in range(SIMULATIONS):
            priors = rng.uniform(-1, 1, (batch, WIDTH)).tolist()
            values = rng.uniform(-1, 1, batch).tolist()
            for tree, leaves, prior, value in zip(trees, expanded, priors, values, strict=True):
                leaf = tree.select(0, 2.0)
                tree.append(leaf, prior)
                tree.back_up(leaf, value)
                leaves.append(leaf)
    seconds, depths = time.process_time() - begin, []
    for leaves in expanded:
        parents = [-1, *(leaf for leaf in leaves for _ in range(WIDTH))]
        depths += [depth(parents, leaf) for leaf in leaves]
    return seconds, float(np.mean(depths))


def peer(batch: int) -> tuple[float, float]:
    """mctx.muzero_policy with a recurrent function that costs next to nothing."""
    import jax

    begin = time.process_time()
    parents = np.asarray(mctx_policy(batch)(jax.random.key(0)))
    seconds = time.process_time() - begin
    depths = [depth(list(row), i) for row in parents[:64] for i in range(1, SIMULATIONS + 1)]
    return seconds, float(np.mean(depths))


@functools.cache
def mctx_policy(batch: int) -> Callable:
    """A compiled mctx search of `batch` trees, made once: key -> the parents of all nodes."""
    import jax
    import jax.numpy as jnp
    import mctx

    def recurrent(params, key, action, embedding):
        del params, action
        logits, blank = jax.random.normal(key, (batch, WIDTH)), jnp.zeros(batch)
        step = mctx.RecurrentFnOutput(
            reward=blank, discount=blank + 1, prior_logits=logits, value=jnp.tanh(logits[:, 0])
        )
        return step, embedding

    def policy(key):
        root = mctx.RootFnOutput(
            prior_logits=jnp.zeros((batch, WIDTH)), value=jnp.zeros(batch), embedding=jnp.zeros((batch, 1))
        )
        return mctx.muzero_policy((), key, root, recurrent, SIMULATIONS).search_tree.parents

    return jax.jit(policy)


def simulations(with_peer: bool) -> None:
    sides = {"rstar_jax": ours, **({"mctx": peer} if with_peer else {})}
    for batch in (64, 256, 1024, 4096):
        for run in sides.values():
            run(min(batch, 64) if run is ours else batch)  # compiles
        runs = [{name: run(batch) for name, run in sides.items()} for _ in range(3)]  # in turn
        for name in sides:
            seconds, mean = min(run[name] for run in runs)
            rate = batch * SIMULATIONS / seconds
            print(f"{name:9} {batch:5} trees: {rate:9,.0f} simulations per CPU second, mean depth {mean:.1f}")
        if with_peer:
            ratio = sorted(run["mctx"][0] / run["rstar_jax"][0] for run in runs)[1]
            print(f"{'':9} {batch:5} trees: {ratio:.2f} times as many as mctx, the median of three pairs")


def instant() -> Queues:
    """Candidates, verdicts and values that cost next to nothing; answers after three steps."""
    draw = random.Random(0)

    def propose(leaves):
        return [[candidate(leaf, k) for k in range(leaf.n)] for leaf in leaves]

    def candidate(leaf, k):
        answer = len(leaf.steps) == 3
        return Candidate(f"{k} {leaf.node}", (1,), -1.0, "answer" if answer else "step")

    def check(requests):
        return [
            StepVerdict(steps[-1], "answer", answer=str(draw.randrange(9)))
            if len(steps) == 4
            else StepVerdict(steps[-1], "ok" if draw.random() < 0.8 else "exception")
            for _, steps in requests
        ]

    def score(requests):
        return [np.fromiter((draw.uniform(-1, 1) for _ in texts), float) for _, _, texts in requests]

    grade = Batched(lambda rs: ["right" if a == "1" else "wrong" for _, a in rs])
    return Queues(Batched(propose), Batched(check), grade, Batched(score))


def metered(queues: Queues) -> tuple[Queues, list[float]]:
    """The queues, and how many CPU (of this thread) and wall seconds were spent in them."""
    spent = [0.0, 0.0]

    def timed(method: Callable) -> Callable:
        def measured(*arguments):
            cpu, wall = time.thread_time(), time.perf_counter()
            result = method(*arguments)
            spent[0] += time.thread_time() - cpu
            spent[1] += time.perf_counter() - wall
            return result

        return measured

    for queue in filter(None, (queues.propose, queues.check, queues.grade, queues.score)):
        queue.submit, queue.poll = timed(queue.submit), timed(queue.poll)
    return queues, spent


def loop(title: str, queues: Queues, problems: list[Problem], config: SearchConfig) -> None:
    queues, spent = metered(queues)
    expansions, began, wall = 0, time.thread_time(), time.perf_counter()

    def count(stats) -> None:
        nonlocal expansions
        expansions = stats.expansions

    trees = grow_trees(problems, queues, config, round=1, training=True, on_progress=count)
    own, wall = time.thread_time() - began - spent[0], time.perf_counter() - wall
    nodes = sum(len(tree.nodes) - 1 for tree in trees)
    print(
        f"{title}: {expansions:,} expansions, {nodes:,} nodes; the search itself "
        f"{own / expansions * 1e6:,.0f} us per expansion, {own / nodes * 1e6:,.1f} us per node; "
        f"{own / wall:.1%} of the search's {wall:.1f} s"
    )


def real() -> None:
    from rstar_jax import models, weights
    from rstar_jax.data.load import load_problems
    from rstar_jax.engine import DecodeConfig
    from rstar_jax.inference import Reasoner
    from rstar_jax.sandbox import Limits, Sandbox
    from rstar_jax.tasks import Checker, MathTask
    from rstar_jax.weights import TINY_BASE

    problems = load_problems("96", seed=0, split="train")
    with tempfile.TemporaryDirectory() as folder, Sandbox(workers=1, limits=Limits()) as sandbox:
        ppm = models.from_policy(weights.load_pretrained(TINY_BASE))
        weights.save_reward_model(ppm, Path(folder) / "ppm", tokenizer_from=TINY_BASE)
        reasoner = Reasoner(
            TINY_BASE,
            Path(folder) / "ppm",
            Checker(MathTask(), sandbox),
            role="finetuned",
            decode=DecodeConfig(leaves=32, max_step_tokens=64, context=384),
            dtype="float32",
            seed=0,
        )
        config = SearchConfig(rollouts=6, candidates=6, temperature=0.7)
        grow_trees(problems, reasoner.queues(0), config, round=0, training=True)  # compiles
        loop("tiny model", reasoner.queues(1), problems, config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", action="store_true", help="run mctx beside it")
    parser.add_argument("--search", action="store_true", help="measure a search with the bundled model")
    args = parser.parse_args()
    simulations(args.peer)
    asked = [Problem(f"p{i}", "question", "1") for i in range(256)]
    for candidates in (8, 16):
        config = SearchConfig(rollouts=16, candidates=candidates)
        loop(f"loop, 256 trees of {candidates} candidates", instant(), asked, config)
    if args.search:
        real()


if __name__ == "__main__":
    main()
