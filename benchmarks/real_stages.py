"""The stages of `real.py`: commands of the project itself, all resumable, and evaluations that none has."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rstar_jax import parquet
from rstar_jax.engine import DecodeConfig
from rstar_jax.evaluate import benchmark
from rstar_jax.evolve.shards import Shards, Source
from rstar_jax.grading import grade
from rstar_jax.inference import Reasoner
from rstar_jax.problems.suite import FAMILIES
from rstar_jax.problems.worked import FlawRates, sample_solution
from rstar_jax.report import read_report
from rstar_jax.report.progress import Progress
from rstar_jax.search import SearchConfig
from rstar_jax.tasks import TASKS, Checker, Role, VerifySettings
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.types import Grade, Problem, Tree
from rstar_jax.weights import model_hash

# A step of a general model: a line of thought and some lines of code.
DECODE: dict[str, Any] = {"leaves": 16, "rows": 2, "max_step_tokens": 128, "context": 1536}
CHAINS = DECODE | {"leaves": 32, "rows": 1}  # as many tokens at a time where a leaf has one candidate
TRAIN = {
    "epochs": 2,
    "batch": 8,
    "seq_len": 512,
    "microbatch": 1,
    "learning_rate": 1e-3,
    "warmup_fraction": 0.05,
    "lora.rank": 16,
}


def flags(**groups: Any) -> list[str]:
    """Overrides of a config: `decode=DECODE` gives --config.decode.leaves=8 and so on."""
    found = []
    for group, value in groups.items():
        name = group.replace("__", ".")
        if isinstance(value, dict):
            found += [f"--config.{name}.{option}={each}" for option, each in value.items()]
        else:
            found.append(f"--config.{name}={value}")
    return found


def launch(config: str, workdir: Path, options: Sequence[str]) -> dict[str, Any]:
    """One command of the project in a process of its own, and the report that it wrote."""
    command = [sys.executable, "-m", "rstar_jax.launch", f"--config={config}", f"--workdir={workdir}"]
    print(f"== {workdir.name}: {config} {' '.join(options)}", flush=True)
    status = subprocess.run([*command, *options], check=False).returncode
    if status:
        raise SystemExit(f"{' '.join([*command, *options])}: exit status {status}")
    return read_report(workdir / "report.json")


def flawed_rows(path: Path, per_family: int, seed: int) -> int:
    """Write solutions of the suite's families with the flaws of a weak model, wrong ones among them.

    Wrong formulas are 0.4 times as frequent as in what the tiny base learnt: of so few solutions a model
    that saw the right one once would not find it again.
    """
    usual = FlawRates()
    rates = dataclasses.replace(
        usual, habits=tuple((name, tuple(0.4 * rate for rate in each)) for name, each in usual.habits)
    )
    rng, rows = random.Random(f"real/{seed}"), []
    for family in FAMILIES:
        kept = 0
        while kept < per_family:
            question, steps, _ = sample_solution(family, rng, rates)
            if CODE_STEPS.finish_of(steps[-1]) == "answer":  # those that crashed are no solutions
                rows.append({"id": f"{family}/{kept}", "question": question, "steps": steps})
                kept += 1
    rng.shuffle(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


def problem_rows(source: Path, first: int, count: int, path: Path) -> None:
    """Some rows of a file of problems, without their solutions."""
    with source.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][first : first + count]
    kept = ({key: row[key] for key in ("id", "problem", "answer", "source") if key in row} for row in rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def measure(
    folder: Path,
    models: tuple[Path, Path | None, Role],
    problems: Sequence[Problem],
    config: SearchConfig,
) -> dict[str, Any]:
    """Search problems, leave the trees in `folder`, return the engine's figures.

    models: policy, PPM, and what the policy is asked as.

    Trees that are on disk are not searched again; the figures are of the rest alone.
    """
    policy, ppm, role = models
    folder.mkdir(parents=True, exist_ok=True)
    source = Source(0, policy=model_hash(policy), ppm=model_hash(ppm) if ppm else "")
    with VerifySettings().make_sandbox(folder) as sandbox, Progress() as progress:
        task = Checker(TASKS["math"](), sandbox)
        decode = DecodeConfig(**(DECODE if config.strategy.startswith("mcts") else CHAINS))
        reasoner = Reasoner(policy, ppm, task, role=role, decode=decode, dtype="bfloat16", seed=0)
        shards = Shards(folder, "trees", problems, source, size=256)
        with progress.stage(folder.name, len(problems), "problems", done=shards.done):
            shards.grow(
                reasoner.queues(0),
                config,
                training=False,
                on_progress=lambda done, found, left: progress.update(done, trajectories=found, left=left),
            )
        return reasoner.result()


def rights(
    folder: Path, pattern: str, vote: str = "weighted", top_k: int = 8
) -> tuple[list[bool], list[Tree]]:
    """Whether each problem's answer is right in the trees of an evaluation, and these."""
    trees = [tree for path in sorted(folder.glob(pattern)) for tree in parquet.read_rows(path, Tree)]
    return voted(trees, vote, top_k), trees


def voted(trees: Sequence[Tree], vote: str, top_k: int) -> list[bool]:
    """Whether each tree's voted answer is right."""
    found: list[Grade | None] = []
    for tree in trees:
        answer = benchmark.final_answer(tree, vote, top_k, lambda a, b: grade(a, b) == "right")
        found.append(None if answer is None else grade(answer, tree.problem.answer))
    return [one == "right" for one in found]
