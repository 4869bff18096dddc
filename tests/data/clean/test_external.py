"""Overlaps between real sets that another method found, where a folder of them is named."""

from __future__ import annotations

import collections
import json
import os
from pathlib import Path

import pytest

from rstar_jax.data.clean import Against, CleanConfig
from rstar_jax.data.clean.forms import forms
from rstar_jax.types import Problem

FOLDER = Path(os.environ.get("RSTAR_DATA_DIR", ""))
LISTED = FOLDER / "overlap.jsonl"


def load(name: str) -> list[Problem]:
    with open(FOLDER / f"{name}.jsonl", encoding="utf-8") as lines:
        return [Problem(row["id"], row["problem"], str(row["answer"])) for row in map(json.loads, lines)]


@pytest.mark.external
@pytest.mark.skipif(not os.environ.get("RSTAR_DATA_DIR"), reason="RSTAR_DATA_DIR is unset")
def test_all_listed_overlaps_are_found():
    if not LISTED.is_file():
        pytest.skip("no overlap.jsonl in RSTAR_DATA_DIR")
    listed = collections.defaultdict(set)
    for row in map(json.loads, LISTED.read_text(encoding="utf-8").splitlines()):
        listed[row["train"]].add((row["train_id"], row["bench"], row["bench_id"]))
    missing = {}
    for train, pairs in listed.items():
        problems = load(train)
        against = Against({name: load(name) for name in {bench for _, bench, _ in pairs}}, CleanConfig())
        texts = forms([problem.question for problem in problems])
        found = {(problems[o.row].id, *against.problems[o.other][:2]) for o in against.overlaps(texts)}
        if pairs - found:
            missing[train] = pairs - found
    assert missing == {} and sum(map(len, listed.values())) > 0
