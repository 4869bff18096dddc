"""What a report says of the problems' sources: rows left out, answers that are known to be wrong."""

from __future__ import annotations

import json

import pytest

from rstar_jax.data.corrections import KNOWN, corrections
from rstar_jax.data.load import load_problems
from rstar_jax.evolve.kept import keep_sources
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.evolve.summary import collect
from rstar_jax.report.tables import render
from rstar_jax.settings import to_dict

LINES = [json.loads(line) for line in KNOWN.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("option", "what"), [("", "--config.problems.corrections=known mends them"), ("known", "corrected")]
)
def test_known_wrong_answers_are_told_of_the_problems_that_there_are(tmp_path, option, what):
    path = tmp_path / "own.jsonl"
    rows = [{"id": f"w{i}", "question": line["question"], "answer": "999"} for i, line in enumerate(LINES)]
    path.write_text("\n".join(map(json.dumps, [*rows, {"id": "r", "question": "1 + 1?", "answer": "2"}, {}])))
    spec = f"jsonl:{path}*0.5"
    mended = corrections(option, "config.problems.corrections")
    found = load_problems(spec, seed=0, split="train", bad="drop", mended=mended)
    there = [problem.id for problem in found if problem.id.startswith("w")]
    assert 0 < len(there) < len(rows)
    keep_sources(tmp_path, {"train": found})
    report = collect(tmp_path, to_dict(RunSettings()))
    assert report["sources"]["train"]["known_wrong"] == there
    told = " ".join(render(report).split())
    assert (
        f"Problems, train: {len(there)} with answers known to be wrong ({', '.join(there)}): {what}" in told
    )
    assert f"Problems, train: {len(found)}; rows left out: 1 no question" in told


def test_nothing_is_told_where_nothing_is_wrong(tmp_path):
    keep_sources(tmp_path, {"train": load_problems("3", seed=0, split="train")})
    report = collect(tmp_path, to_dict(RunSettings()))
    assert report["sources"]["train"]["problems"] == 3
    assert "Problems, train" not in render(report)
