"""Writes tests/golden/search/: scripted trees in the mode of the paper and of the released code.

    python -m tests.search.write_goldens

A change that alters these files alters what every search finds: say why in the commit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rstar_jax.search import SearchConfig
from rstar_jax.types import Tree
from tests.search.scripted import Early, grow_trees, problems

FOLDER = Path(__file__).parent.parent / "golden" / "search"
RATES = (0.5, 0.3, 0.1, 0.1)
MODES = {
    f"{rules}-{values}-{use}": (rules == "released", values == "ppm", use == "training")
    for rules in ("paper", "released")
    for values in ("terminal", "ppm")
    for use in ("training", "test")
    if (values, use) != ("terminal", "test")
}


def search(mode: str) -> list[Tree]:
    """Three problems in one of MODES; those that stay unsolved have a second helping of rollouts."""
    released, ppm, training = MODES[mode]
    config = SearchConfig(rollouts=8, candidates=4, escalation=(12,), reference_code=released)
    world = Early(ppm=ppm, rates=RATES)
    return grow_trees(problems(3), world.functions(), config, round=1, training=training)


def stored(tree: Tree) -> dict[str, Any]:
    """What is compared: [parent, text, status, visits, value sum, PPM, grade, candidate] of every node."""
    return {
        "problem": tree.problem.id,
        "rollouts": tree.rollouts,
        "ended": tree.ended,
        "tokens": tree.tokens,
        "nodes": [
            [n.parent, n.text, n.status, n.visits, n.value_sum, n.ppm, n.grade, n.candidate]
            for n in tree.nodes
        ],
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for mode in MODES:
        trees = [stored(tree) for tree in search(mode)]
        lines = [
            json.dumps({**tree, "nodes": None})[: -len("null}")]
            + "[\n  "
            + ",\n  ".join(json.dumps(node) for node in tree["nodes"])
            + "\n ]}"
            for tree in trees
        ]
        (FOLDER / f"{mode}.json").write_text("[" + ",\n ".join(lines) + "]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
