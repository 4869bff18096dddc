"""A finished run's folder without a model: manifests, trees and metrics as stages write them."""

from __future__ import annotations

import json
from pathlib import Path

from rstar_jax import manifests, parquet, records
from rstar_jax.evaluate.reward_order import Order
from rstar_jax.evolve.kept import keep_sources
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.report import results
from rstar_jax.settings import to_dict
from rstar_jax.types import Node, Origin, Problem, Tree

SHARES = {"all": 0.5, "level1": 0.75, "level2": 0.25, "level3": None}
SEARCHING = {
    "seconds": {"decode": 3.0, "device": 2.5, "device_awaited": 1.5, "sandbox": 1.0, "sandbox_awaited": 0.5},
    "tokens": 900,
    "layers": {"seccomp": "blocks sockets", "landlock": "missing: not in this kernel"},
}


ORDER = Order(
    pairs=40,
    accuracy=0.8,
    loss=0.4,
    by_depth={"1": [30, 0.9], "2": [10, 0.5]},
    margins=[0, 2, 3, 3, 10, 12, 6, 4],
    answers=12,
    answer_pairs=9,
    answer_accuracy=0.75,
    calibration=0.1,
)
HELD_OUT = {
    "held_out": {"loss": 0.5, "accuracy": 0.9},
    "heldout_tokens": results.HeldOutTokens(
        source="the suite's own",
        solutions=4,
        tokens=90,
        loss=0.5,
        accuracy=0.9,
        base_loss=2.0,
        base_accuracy=0.4,
    ),
    "skipped": 1,
    "mfu": 0.4,
}


def tree(problem: Problem, answers: list[tuple[str, str, float]], tokens: int = 10) -> Tree:
    """A tree of which each answer has two steps of 10 tokens, in turn, and a sibling that failed."""
    nodes = [Node(-1, "", "ok", 0, 1, 0.0)]
    for answer, grade, value in answers:
        step = len(nodes)
        nodes.append(Node(0, "a step", "ok", 1, 1, 0.5, ppm=value, tokens=tokens))
        ended = {"answer": answer, "grade": grade, "ppm": value, "tokens": tokens}
        nodes.append(Node(step, "<answer>", "answer", 2, 1, 1.0, origin=Origin(0, step, 2), **ended))
        nodes.append(Node(step, "bad", "exception", 2, 0, 0.0, detail="NameError", tokens=tokens))
    return Tree(problem, 1, 0, len(answers), tuple(nodes), tokens=2 * 3 * tokens * len(answers))


def problems(count: int = 4, question: str = "1 + 1?") -> list[Problem]:
    return [Problem(id=f"p{i}", question=question, answer="2", level=1 + i % 3) for i in range(count)]


def stage(root: Path, name: str, kind: str, **result) -> Path:
    """Write a stage's manifest; its folder."""
    found = results.to_json(results.KINDS[kind](**result))
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"name": name, "result": found, "seconds": 5.0, "peak_mb": 800, "outputs": {}}
    records.write_signed(folder / manifests.MANIFEST, manifest)
    return folder


def make(root: Path, rounds: int = 2, text: str = "") -> Path:
    """Make a run's folder. text: stands wherever a model or a user could have written."""
    root.mkdir(parents=True, exist_ok=True)
    text = text.encode("utf-8", "ignore").decode()  # as files can hold it
    settings = RunSettings(rounds=tuple(range(1, rounds + 1)))
    records.write_signed(root / "config.json", to_dict(settings) | ({"note": text} if text else {}))
    asked = problems(question=text or "1 + 1?")
    keep_sources(root, {"train": asked, "heldout": asked})
    evaluated = {
        "policy_pass1": SHARES,
        "policy_ungraded": 0,
        "policy_answered": 1.0,
        "policy_steps": 9,
        "policy_failures": {},
        "unknown_steps": 0,
        **SEARCHING,
    }
    stage(root, "base/evaluate", "base", **evaluated)
    for number in range(1, rounds + 1):
        at = f"round{number}"
        stage(root, f"{at}/search", "search", problems=4, trees=4, **SEARCHING)
        folder = stage(
            root,
            f"{at}/curate",
            "curate",
            coverage=SHARES,
            trajectories=8,
            steps=40,
            tokens=400,
            sft_rows=4,
            pairs=6,
            difficulty={"easy": 1, "medium": 1, "hard": 2},
            dropped={},
            failures={text or "exception NameError": 7},
            ungraded=0,
            unknown_steps=0,
            ungradable=[],
            suspects=["p1: 2, where 3 of 4 trajectories found 3"],
            note=text,
        )
        suspect = {"id": text or "p1", "question": text or "1 + 1?", "answer": "3", "label": "2"}
        line = json.dumps({**suspect, "votes": 3, "trajectories": 4})
        (folder / "suspects.jsonl").write_text(f"{line}\n")
        for kind in ("policy", "ppm"):
            more = (
                {"pair_accuracy": 0.9}
                if kind == "ppm"
                else {"delimiters": {text or "<code>": 0.99}, **HELD_OUT}
            )
            folder = stage(
                root,
                f"{at}/{kind}",
                kind,
                examples=4,
                tokens=400,
                steps=30,
                first_loss=1.0,
                last_loss=0.1,
                seconds=4.0,
                device=3.0,
                device_awaited=2.0,
                metrics={"accuracy": 0.9, "saturated": 0.1},
                **more,
            )
            rows = [
                {"step": i, "loss": 1 / (i + 1), "accuracy": i / 30, "learning_rate": 1e-3, "mfu": 0.4}
                for i in range(30)
            ]
            rows[14]["held_out_loss"], rows[29]["held_out_loss"] = 0.6, 0.5
            rows[29]["skipped"] = float(kind == "policy")
            (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        folder = stage(
            root,
            f"{at}/evaluate",
            "evaluate",
            **evaluated,
            search_accuracy=SHARES,
            search_solved=0.5,
            order=ORDER,
        )
        trees = [tree(p, [("3", "wrong", -0.5), ("2", "right", 0.9)]) for p in asked]
        parquet.write_rows(folder / "search-00000.parquet", Tree, trees)
        parquet.write_rows(
            folder / "policy-00000.parquet", Tree, [tree(p, [("2", "right", 0.9)]) for p in asked]
        )
    return root


EVALUATION = {
    "models": {"policy": {"name": "tiny", "sha256": "ab12"}},
    "code": {"rstar_jax": "0"},
    "seed": 0,
    "config": {"job": "evaluate", "benchmarks": ["math500"]},
    "benchmarks": [
        {
            "name": "math500",
            "source": "jsonl:math500.jsonl",
            "problems": 500,
            "fingerprint": "cd34",
            "protocol": {"strategy": "greedy", "temperature": 0.0},
            "figures": {
                "pass@1": {"value": 0.784, "low": 0.745, "high": 0.82, "problems": 500},
                "maj@8": {"value": 0.81, "low": 0.77, "high": 0.84, "problems": 500},
            },
            "by_level": {"level1": {"value": 0.9, "low": 0.8, "high": 0.95, "problems": 90}},
            "counts": {"truncated": 3},
            "costs": {"tokens": 812.5},
            "disagreements": 2,
        }
    ],
}
JUDGEMENT = {
    "models": {"ppm": {"name": "W/ppm/model", "sha256": "ef56"}},
    "code": {"rstar_jax": "0"},
    "seed": 0,
    "config": {"job": "judge"},
    "benchmarks": [
        {
            "name": "suite",
            "source": "suite:216",
            "problems": 216,
            "samples": 432,
            "figures": {"pairs of steps": {"value": 0.9, "low": 0.86, "high": 0.93, "problems": 216}},
            "areas": {"AUC": 0.93},
            "correlations": {"length, right": -0.1},
            "calibration": [
                {"low": 0.0, "high": 0.1, "steps": 50, "predicted": 0.05, "right": 0.1},
                {"low": 0.1, "high": 0.2, "steps": 0, "predicted": None, "right": None},
                {"low": 0.9, "high": 1.0, "steps": 70, "predicted": 0.95, "right": 0.9},
            ],
            "ece": 0.04,
            "counts": {"read": 432},
        }
    ],
}
