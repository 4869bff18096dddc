"""Held-out figures of a run's rounds, problem by problem, from the trees of an evaluation."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rstar_jax import parquet
from rstar_jax.evaluate import benchmark
from rstar_jax.evolve.shards import in_order, stored_trees
from rstar_jax.report.progress import Progress
from rstar_jax.search import votes
from rstar_jax.settings import from_config
from rstar_jax.tasks import Checker
from rstar_jax.tasks.settings import VerifySettings
from rstar_jax.tasks.task import Pair
from rstar_jax.types import Grade, Tree

METRICS = {"policy": "policy", "search": "search", "solved": "search"}  # by metric: the trees that it is of


def problem_key(problem_id: str, question: str, answer: str) -> str:
    """A problem by its id and what it asks: two sets may call different problems by one id."""
    asked = hashlib.sha256(f"{question}\0{answer}".encode(errors="surrogatepass")).hexdigest()
    return f"{problem_id}#{asked[:16]}"


def values(
    folder: Path, name: str, options: Mapping[str, Any], progress: Progress, title: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The problems of an evaluation and what each adds to its figures.

    folder: of a stage that is done. name: of its trees: "policy" (gives the figure "policy", its greedy
        solution is right) or "search" ("search", the answer that the run's vote takes is right; "solved",
        some trajectory is). options: of the run, nested. title: of what is read, as progress shows it.
    Returns [B] str and by figure [B] float. Raises Damaged where a file is not whole.
    """
    problems, found = list[str](), dict[str, list[bool]]()
    files = sorted(folder.glob(f"{name}-*.parquet"), key=in_order)
    with contextlib.ExitStack() as stack:
        stack.enter_context(progress.stage(title, sum(map(parquet.count_rows, files)), "trees"))
        right = _policy if name == "policy" else _search(options, stack)
        for number, tree in enumerate(stored_trees(files), start=1):
            p = tree.problem
            problems.append(problem_key(p.id, p.question, p.answer))
            for metric, value in right(tree).items():
                found.setdefault(metric, []).append(value)
            progress.update(number)
    return np.array(problems), {metric: np.array(of, float) for metric, of in found.items()}


def _policy(tree: Tree) -> dict[str, bool]:
    return {"policy": any(node.status == "answer" and node.grade == "right" for node in tree.nodes)}


def _search(options: Mapping[str, Any], stack: contextlib.ExitStack) -> Callable[[Tree], dict[str, bool]]:
    """Make a function of a tree that says whether the answer that the run's vote takes is right."""
    asked = options.get("evaluate") or {}
    vote, top_k, scores = asked.get("vote", "weighted"), asked.get("top_k", 8), asked.get("scores", "last")
    verify = from_config(VerifySettings, options.get("verify") or {}, where="config.verify")
    task, sandbox = verify.make_task(), verify.make_sandbox(None)
    if task.judges is not Pair:  # answers are programs
        sandbox = stack.enter_context(sandbox)
    checker = Checker(task, sandbox)

    def right(tree: Tree) -> dict[str, bool]:
        nodes = [tree.nodes[i] for i in votes.finals(tree)]
        finals: dict[str, Grade | None] = {node.answer or "": node.grade for node in nodes}
        if len(set(finals.values())) <= 1:  # whichever is taken
            grade = next(iter(finals.values()), None)
        else:
            same = functools.partial(checker.same, tree.problem)
            grade = finals[benchmark.final_answer(tree, vote, top_k, same, scores) or ""]
        return {"search": grade == "right", "solved": tree.solved}

    return right
