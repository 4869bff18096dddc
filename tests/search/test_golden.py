"""`reference_code` mode against searches by the authors' released code (folder RSTAR_GOLDEN_DIR)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rstar_jax.curate import CurateConfig, curate
from rstar_jax.types import Tree
from tests.search.golden import Playback, tags

FOLDER = os.environ.get("RSTAR_GOLDEN_DIR")
pytestmark = [
    pytest.mark.external,
    pytest.mark.skipif(not FOLDER, reason="RSTAR_GOLDEN_DIR is not set"),
]
SEARCHES = [
    pytest.param(stored, id=f"{path.stem}-{stored['problem']['id']}")
    for path in sorted(Path(FOLDER or ".").glob("*.json") if FOLDER else ())
    for stored in json.loads(path.read_text())
]


def statistics(tree: Tree) -> dict[str, Any]:
    return {
        tag: (node.q if node.visits else 0.0, node.visits)
        for tag, node in zip(tags(tree), tree.nodes, strict=True)
    }


def same(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    assert {tag: visits for tag, (_, visits) in found.items()} == {t: v for t, (_, v) in expected.items()}
    assert {t: q for t, (q, _) in found.items()} == pytest.approx(
        {t: q for t, (q, _) in expected.items()}, abs=tolerance
    )


@pytest.mark.parametrize("stored", SEARCHES)
def test_the_tree_is_the_same(stored):
    tree = Playback(stored).search()
    expected = stored["nodes"]
    same(statistics(tree), {tag: (node["q"], node["visits"]) for tag, node in expected.items()}, 1e-9)
    for tag, node in zip(tags(tree), tree.nodes, strict=True):
        assert node.depth == expected[tag]["depth"]
        if node.status == "answer":
            assert expected[tag]["terminal"] and node.answer == expected[tag]["final_answer"]
        elif node.status != "ok":
            assert expected[tag]["terminal"]
        if node.status in ("ok", "answer"):
            assert node.text == expected[tag]["text"]


@pytest.mark.parametrize("stored", [p for p in SEARCHES if p.id.endswith(("p0", "p1"))])
def test_every_snapshot_is_the_same(stored):
    snapshots = stored["after_each_rollout"]
    for rollouts, snapshot in enumerate(snapshots[:4], 1):
        found = statistics(Playback(stored).search(rollouts))
        same(found, {tag: tuple(entry) for tag, entry in snapshot.items()}, 1e-9)


@pytest.mark.parametrize("stored", SEARCHES)
def test_solutions_and_pairs_are_the_same(stored):
    curated = curate([Playback(stored).search()], CurateConfig(pairs="reference_code"), 1)
    assert ["".join(row.steps) for row in curated.sft] == [row["response"] for row in stored["sft"]]
    assert [row.mean_q for row in curated.sft] == pytest.approx(
        [r["mean_q"] for r in stored["sft"]], abs=1e-9
    )
    found = [
        ("".join(p.prefix), "".join(p.positive), "".join(p.negative), pytest.approx(p.margin, abs=1e-9))
        for p in curated.pairs
    ]
    start = "code."  # the prompt's last word; a prefix follows it
    assert found == [
        (p["prefix"].partition(start)[2], p["pos"], p["neg"], p["margin"]) for p in stored["pairs"]
    ]


@pytest.mark.parametrize("stored", SEARCHES)
def test_the_released_filter_keeps_as_many_pairs(stored):
    config = CurateConfig(pairs="reference_code", min_margin=0.5, min_edits=20)
    assert len(curate([Playback(stored).search()], config, 1).pairs) == stored["n_pairs_kept"]
