"""Self-evolution of a real language model: a real vocabulary, 30 layers, natural text.

    python benchmarks/real.py --model=DIR --data=DIR [--half suite|gsm8k|both] [--out runs/real]

DIR: SmolLM2-135M-Instruct's folder or that of a model like it (or RSTAR_REAL_MODEL), and a folder with
gsm8k_train.jsonl and gsm8k_test.jsonl (or RSTAR_DATA_DIR), rows {id, problem, answer, solution}. Everything
is resumable: the same command goes on where it was.

suite: a warm start on few flawed solutions of the embedded problems, then rounds 1 and 2 whole, each
evaluated on held-out problems alone and with search. Delimiters are text. gsm8k: a warm start on verified
solutions made of GSM8K's own workings, then one round on 60 problems; base, warm start and round on 60
held-out ones: greedy, majority of 8, search. Prints accuracies with 95 percent intervals (bootstrap over
problems, differences paired), why steps failed, tokens read, reused and written, compilations, time and
memory by stage.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from real_stages import DECODE, TRAIN, flags, flawed_rows, launch, measure, problem_rows, rights, voted

from rstar_jax.data.load import load_problems
from rstar_jax.evolve.search_stages import failures
from rstar_jax.search import SearchConfig
from rstar_jax.types import Tree


@dataclasses.dataclass(frozen=True)
class Scale:
    """per_family: flawed solutions of each of the suite's families. train, heldout: problems of either kind.
    rows: of GSM8K's training file that the warm start reads; problems: searched and held out."""

    per_family: int = 12
    train: int = 120
    heldout: int = 100
    rows: int = 440
    problems: int = 60


SMALL = Scale(per_family=1, train=6, heldout=6, rows=24, problems=4)
SEARCH = {"rollouts": (6, 6), "escalation": "((),)", "candidates": (4,), "temperature": (0.8,), "batch": 16}
BY_MAJORITY = {"vote": "majority", "top_k": 0}
# Several small searches rather than a large one: a tree drops repeats, so that its unlikely steps weigh as
# much as the likely one, and a PPM of a few hundred pairs does not make up for that. It orders each search's
# candidates; among the answers the most frequent one is taken.
SEVERAL = {"strategy": "mcts_repeated", "searches": 8, "rollouts": 1, "candidates": 2, "temperature": 0.7}
EVALUATE = SEVERAL | BY_MAJORITY
ROUND = {
    "policy__dtype": "bfloat16",
    "policy__delimiters": "text",
    "decode": DECODE,
    "train__policy": TRAIN,
    "train__ppm": TRAIN | {"epochs": 4, "seq_len": 1280, "ppm_center": 0.1},
    "evaluate": EVALUATE,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=os.environ.get("RSTAR_REAL_MODEL"))
    parser.add_argument("--data", type=Path, default=os.environ.get("RSTAR_DATA_DIR"))
    parser.add_argument("--half", choices=("suite", "gsm8k", "both"), default="both")
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    parser.add_argument("--small", action="store_true", help="a few problems: whether it runs, no figures")
    given = parser.parse_args()
    if given.model is None:
        parser.error("--model: none given. Name a model's folder, or set RSTAR_REAL_MODEL.")
    if given.data is None and given.half != "suite":
        parser.error("--data: none given. Name the folder of gsm8k_*.jsonl, or set RSTAR_DATA_DIR.")
    scale = SMALL if given.small else Scale()
    out = (given.out / "small" if given.small else given.out).resolve()
    if given.half in ("suite", "both"):
        suite(given.model.resolve(), out / "suite", scale)
    if given.half in ("gsm8k", "both"):
        gsm8k(given.model.resolve(), given.data.resolve(), out / "gsm8k", scale)


def suite(model: Path, out: Path, scale: Scale) -> None:
    """Warm start, rounds 1 and 2 on the embedded problems; what each brought."""
    out.mkdir(parents=True, exist_ok=True)
    rows = out / "rows.jsonl"
    if not rows.exists():
        flawed_rows(rows, scale.per_family, seed=0)
    options = flags(rows=rows, heldout="", policy__init=model, **_warm())
    warm = launch("sft:lora", out / "warm", options)
    base = out / "warm" / "policy" / "model"
    problems = {"train": scale.train, "heldout": scale.heldout}
    options = flags(rounds="(1,2)", policy__init=base, problems=problems, search=SEARCH, **ROUND)
    report = launch("quickstart", out / "rounds", options)

    print(f"\nSmolLM2 on the embedded suite: {scale.train} problems to train on, {scale.heldout} held out")
    runs = out / "rounds"
    alone = {"warm start": rights(runs / "base/evaluate", "policy-*.parquet")}
    searched: dict[str, tuple[list[bool], list[Tree]]] = {}
    for number in (1, 2):
        name = f"round {number}"
        alone[name] = rights(runs / f"round{number}/evaluate", "policy-*.parquet")
        searched[name] = rights(runs / f"round{number}/evaluate", "search-*.parquet", **BY_MAJORITY)
    for name, (right, trees) in alone.items():
        print(f"  {name}, greedy: {share(right)}; {well_formed(trees)}")
    for name, (right, trees) in searched.items():
        print(f"  {name}, search: {share(right)}; {inside(trees)}")
    pairs = [
        ("round 1 over the warm start, greedy", alone["round 1"], alone["warm start"]),
        ("round 2 over round 1, greedy", alone["round 2"], alone["round 1"]),
        ("round 1, search over greedy", searched["round 1"], alone["round 1"]),
        ("round 2, search over greedy", searched["round 2"], alone["round 2"]),
    ]
    for what, (more, _), (less, _) in pairs:
        print(f"  {what}: {difference(more, less)}")
    for found in report["rounds"]:
        print(f"  round {found['round']}: coverage {100 * found['coverage']['all']:.1f} %")
    account(warm, out / "warm")
    account(report, runs)


def gsm8k(model: Path, data: Path, out: Path, scale: Scale) -> None:
    """Warm start, one round, and three ways of answering held-out problems before and after."""
    out.mkdir(parents=True, exist_ok=True)
    train, heldout = out / "train.jsonl", out / "heldout.jsonl"
    problem_rows(data / "gsm8k_train.jsonl", scale.rows, scale.problems, train)
    problem_rows(data / "gsm8k_test.jsonl", 0, scale.problems, heldout)
    rows = flags(rows=data / "gsm8k_train.jsonl", limit=scale.rows, heldout=heldout)
    warm = launch("sft:lora", out / "warm", [*rows, *flags(policy__init=model, base="bootstrap", **_warm())])
    base = out / "warm" / "policy" / "model"
    problems = {"train": train, "heldout": heldout}
    search = SEARCH | {"rollouts": (8,)}
    options = flags(rounds="(1,)", policy__init=base, problems=problems, search=search, **ROUND)
    report = launch("quickstart", out / "round", options)

    asked = load_problems(str(heldout), seed=0, split="heldout")
    ppm = out / "round/round1/ppm/model"
    stages: dict[str, tuple[Path, Path | None, str]] = {
        "base": (model, None, "bootstrap"),
        "warm start": (base, None, "finetuned"),
        "round 1": (out / "round/round1/policy/model", ppm if ppm.exists() else None, "finetuned"),
    }
    # The runs have evaluated some of it themselves.
    there = {
        ("base", "greedy"): (out / "warm/base/evaluate", "policy-*.parquet"),
        ("warm start", "greedy"): (out / "warm/evaluate", "policy-*.parquet"),
        ("round 1", "greedy"): (out / "round/round1/evaluate", "policy-*.parquet"),
        ("round 1", "search"): (out / "round/round1/evaluate", "search-*.parquet"),
    }
    ways = {
        "greedy": SearchConfig(strategy="greedy", batch=32),
        "maj@8": SearchConfig(strategy="sample", rollouts=8, temperature=0.7, vote="majority", batch=16),
        "search": SearchConfig(batch=16, **EVALUATE),
    }
    # Repeated searches take each tree's best by a PPM: without one a single tree of as many rollouts.
    one = {"strategy": "mcts", "searches": 1, "rollouts": SEVERAL["searches"]}
    unguided = SearchConfig(batch=16, **(EVALUATE | one))
    lines = []
    for stage, models in stages.items():
        for way, config in ways.items():
            config = unguided if way == "search" and models[1] is None else config
            folder, pattern = there.get((stage, way), (None, "trees-*.parquet"))
            if folder is None:
                kind = zlib.crc32(repr((config, DECODE)).encode())  # other options are other trees
                folder = out / "measured" / f"{stage} {way} {kind:08x}".replace(" ", "-").replace("@", "")
                engine = measure(folder, models, asked, config)
                lines.append(f"    engine, {stage}, {way}: {engine['engine']}")
            right, trees = rights(folder, pattern, **BY_MAJORITY)
            found = well_formed(trees) if way == "greedy" else inside(trees)
            failed = f"; failed: {failures(trees)}" if way == "greedy" else ""
            lines.append(f"  {stage}, {way}: {share(right)}; {found}{failed}")
    print(f"\nSmolLM2 on GSM8K: {scale.problems} problems searched, {scale.problems} held out")
    print("\n".join(lines))
    account(warm, out / "warm")
    account(report, out / "round")


def _warm() -> dict[str, Any]:
    shared = {name: ROUND[name] for name in ("policy__dtype", "policy__delimiters", "decode")}
    return {"batch": 16, **shared, "train__policy": TRAIN}


def share(right: Sequence[bool]) -> str:
    """Percent right with its interval."""
    low, high = interval(np.asarray(right, float))
    return f"{100 * np.mean(right):.1f} % ({100 * low:.1f} to {100 * high:.1f}), {sum(right)} of {len(right)}"


def difference(more: Sequence[bool], less: Sequence[bool]) -> str:
    """Points gained, problem by problem, with their interval."""
    gained = np.asarray(more, float) - np.asarray(less, float)
    low, high = interval(gained)
    return f"{100 * gained.mean():+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def interval(values: np.ndarray, draws: int = 4000) -> tuple[float, float]:
    """The middle 95 percent of means of as many values, drawn again."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def inside(trees: Sequence[Tree]) -> str:
    """Contents of a search's trees: what other votes would choose, and what any could."""
    votes = {"by the PPM's weights": "weighted", "best by the PPM": "best"}
    ways = [f"{name} {sum(voted(trees, vote, 0))}" for name, vote in votes.items()]
    found = sum(tree.solved for tree in trees)
    each = np.mean([len(tree.trajectories()) for tree in trees])
    return f"{', '.join(ways)}, any right {found}; {each:.1f} trajectories a tree"


def well_formed(trees: Sequence[Tree]) -> str:
    """Trajectories in which every step has the form of one, whether its code ran or not, and how many of them
    came to an answer."""
    good = sum(all(node.status != "malformed" for node in tree.nodes) for tree in trees)
    answered = sum(any(node.status == "answer" for node in tree.nodes) for tree in trees)
    return f"well-formed {good} of {len(trees)}, answered {answered}"


def account(report: dict[str, Any], workdir: Path) -> None:
    """Why steps failed, and each stage's time, memory, tokens and compilations; the estimates beside what it
    took are in the tables that the run itself has printed."""
    for found in report.get("rounds", []):
        print(f"  round {found['round']}: steps failed by {dict(list(found['failures'].items())[:6])}")
    for manifest in sorted(workdir.rglob("DONE.json")):
        _account_of(manifest, workdir)


def _account_of(path: Path, workdir: Path) -> None:
    from rstar_jax import records

    manifest = records.read_json(path)
    result = manifest["result"]
    parts = [f"{manifest['seconds']:.0f} s", f"peak {manifest['peak_mb']} MiB"]
    engine = result.get("engine", {})
    names = ("prefilled", "reused", "generated", "scored", "tokens_evicted", "compile_seconds")
    parts += [f"{name} {engine[name]:,}" for name in names if name in engine]
    if "programs" in engine:
        parts.append(f"programs {engine['programs']}")
    if "delimiters" in result:
        parts.append("P(delimiter) " + ", ".join(f"{k} {p:.2f}" for k, p in result["delimiters"].items()))
    if "last_loss" in result:
        losses = f"loss {result['first_loss']:.2f} to {result['last_loss']:.2f}"
        parts.append(f"{result['tokens']:,} tokens, {losses}")
    print(f"  {workdir.name}/{path.parent.relative_to(workdir)}: {'; '.join(parts)}")


if __name__ == "__main__":
    main()
