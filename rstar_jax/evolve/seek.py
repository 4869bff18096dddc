"""The stages that search: a round's training trees, and the held-out evaluation of its models."""

from __future__ import annotations

import functools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rstar_jax import records
from rstar_jax.assemble import Reasoner
from rstar_jax.evaluate import benchmark
from rstar_jax.evolve.context import Context
from rstar_jax.evolve.settings import at_round
from rstar_jax.search import SearchConfig, grow_trees
from rstar_jax.types import Problem, Tree


def search(context: Context, round: int) -> dict[str, Any]:
    """Grows trees for every training problem with the policy (and PPM) of the round before.

    A batch of trees is one shard; shards that are there are not made again. Problems that stay unsolved
    get further trees, with other seeds, where the round allows it.
    """

    def work(folder: Path) -> dict[str, Any]:
        s = context.settings.search
        prompt = at_round(s.prompt, round)
        ppm = context.ppm(round - 1) if at_round(s.ppm, round) else None
        if at_round(s.ppm, round) and ppm is None:
            context.progress.log(
                f"round {round}: no PPM of round {round - 1}; the search is terminal-guided."
            )
        with context.sandbox() as sandbox:
            reasoner = context.reasoner(context.policy(round - 1), ppm, sandbox, prompt=prompt)
            unsolved, trees = context.train, 0
            for index in range(at_round(s.trees, round)):
                trees += len(unsolved)
                solved = _grow(context, reasoner, unsolved, round, index, folder)
                unsolved = [p for p in unsolved if p.id not in solved]
                if not unsolved:
                    break
            counts = {"problems": len(context.train), "trees": trees, "layers": sandbox.layers}
        return {**counts, **reasoner.result()}

    return context.work.stage(f"round{round}/search", work)


def _grow(
    context: Context, reasoner: Reasoner, problems: Sequence[Problem], round: int, index: int, folder: Path
) -> set[str]:
    """Searches and stores one tree for each problem; returns the ids of those solved."""
    s = context.settings.search
    config = s.config(round)
    batches = [problems[i : i + s.batch] for i in range(0, len(problems), s.batch)]
    title = "search" if index == 0 else f"search again ({index + 1})"
    with context.progress.stage(title, total=len(problems), unit="problems", round=round):
        counts, stop = _Counts(context, reasoner), threading.Event()

        def grow(number: int) -> set[str]:
            path = folder / f"trees-{index}-{number:05d}.parquet"
            trees = read_shard(path, batches[number])
            if trees is None:
                trees = grow_trees(
                    batches[number],
                    reasoner.services(round),
                    config,
                    round=round,
                    index=index,
                    training=True,
                    on_progress=counts.watcher(number, stop),
                )
                records.write_rows(path, Tree, trees)
            counts.finished(number, trees)
            return {tree.problem.id for tree in trees if tree.solved}

        with ThreadPoolExecutor(s.streams) as pool:
            try:
                return set().union(*pool.map(grow, range(len(batches))))
            except BaseException:  # Ctrl-C too: the streams end with their next turn, not with their batch
                stop.set()
                raise


def read_shard(path: Path, problems: Sequence[Problem]) -> list[Tree] | None:
    """A shard's trees; None if it is not there, or was moved aside as damaged or of other problems."""
    if not path.exists():
        return None
    try:
        trees = records.read_rows(path, Tree)
        if [tree.problem for tree in trees] != list(problems):
            raise records.Damaged(path, "not of the problems that belong here")
        return trees
    except records.Damaged as error:
        aside = records.quarantine(path)
        logging.warning("%s It was moved to %s and is made again.", error, aside.name)
        return None


def read_trees(folder: Path) -> list[Tree]:
    """All trees of a finished search stage, in the order searched."""
    return [tree for path in sorted(folder.glob("trees-*.parquet")) for tree in records.read_rows(path, Tree)]


def unknown_steps(trees: Iterable[Tree]) -> int:
    """How many steps the sandbox could not tell anything of."""
    return sum(node.status == "unknown" for tree in trees for node in tree.nodes)


class _Counts:
    """Adds up what the batches in flight report, for the display."""

    def __init__(self, context: Context, reasoner: Reasoner):
        self._progress, self._meter = context.progress, reasoner.meter
        self._done: Counter[int] = Counter()
        self._trajectories: Counter[int] = Counter()

    def watcher(self, number: int, stop: threading.Event | None = None) -> Callable[[Any], None]:
        """stop: ends the search once it is set."""

        def on_progress(stats: Any) -> None:
            if stop is not None and stop.is_set():
                raise InterruptedError("the search was told to stop")
            self._show(number, stats.problems_done, stats.trajectories)

        return on_progress

    def finished(self, number: int, trees: list[Tree]) -> None:
        self._show(number, len(trees), sum(len(tree.trajectories()) for tree in trees))

    def _show(self, number: int, done: int, trajectories: int) -> None:
        self._done[number], self._trajectories[number] = done, trajectories
        self._progress.update(
            self._done.total(), trajectories=self._trajectories.total(), tokens=self._meter.tokens
        )


def evaluate_base(context: Context) -> dict[str, Any]:
    """Held-out pass@1 of the base model alone, before any round."""

    def work(folder: Path) -> dict[str, Any]:
        with context.sandbox() as sandbox:
            prompt = at_round(context.settings.search.prompt, 1)
            reasoner = context.reasoner(context.base, None, sandbox, prompt=prompt)
            return {**_policy_alone(context, reasoner, 0, folder), "layers": sandbox.layers}

    return context.work.stage("base/evaluate", work)


def evaluate(context: Context, round: int) -> dict[str, Any]:
    """Held-out pass@1 of a round's policy alone, and accuracy of its search with the round's PPM."""

    def work(folder: Path) -> dict[str, Any]:
        e, s = context.settings.evaluate, context.settings.search
        with context.sandbox() as sandbox:
            reasoner = context.reasoner(
                context.policy(round), context.ppm(round), sandbox, prompt="finetuned"
            )
            result = _policy_alone(context, reasoner, round, folder)
            with context.progress.stage("evaluate the search", len(context.heldout), "problems", round):
                counts = _Counts(context, reasoner)
                trees = grow_trees(
                    context.heldout,
                    reasoner.services(round),
                    e.config(s),
                    round=round,
                    on_progress=counts.watcher(0),
                )
            records.write_rows(folder / "search.parquet", Tree, trees)
            answers = [
                benchmark.final_answer(
                    tree, e.vote, e.top_k, functools.partial(reasoner.same, tree.problem), e.scores
                )
                for tree in trees
            ]
            grades = benchmark.graded(context.heldout, answers, reasoner.grade)
            return {
                **result,
                "search_accuracy": benchmark.accuracy(context.heldout, grades),
                "search_ungraded": grades.count("ungraded"),
                "unknown_steps": result["unknown_steps"] + unknown_steps(trees),
                "layers": sandbox.layers,
                **reasoner.result(),
            }

    return context.work.stage(f"round{round}/evaluate", work)


def _policy_alone(context: Context, reasoner: Reasoner, round: int, folder: Path) -> dict[str, Any]:
    config = SearchConfig(
        rollouts=1, candidates=1, temperature=0.0, max_depth=context.settings.search.max_depth
    )
    with context.progress.stage("evaluate the policy", len(context.heldout), "problems", round or None):
        counts = _Counts(context, reasoner)
        trees = benchmark.greedy_trees(
            context.heldout, reasoner.services(round), config, round=round, on_progress=counts.watcher(0)
        )
    records.write_rows(folder / "policy.parquet", Tree, trees)
    answers = [benchmark.only_answer(tree) for tree in trees]
    grades = benchmark.graded(context.heldout, answers, reasoner.grade)
    return {
        "policy_pass1": benchmark.accuracy(context.heldout, grades),
        "policy_ungraded": grades.count("ungraded"),
        "unknown_steps": unknown_steps(trees),
        **reasoner.result(),
    }
