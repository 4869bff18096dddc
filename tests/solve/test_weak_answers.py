"""An answer that little speaks for says so, and why."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest

from rstar_jax.report.answer import answer_of, weaknesses
from rstar_jax.report.events import Events
from rstar_jax.report.transcript import Transcript
from rstar_jax.search import votes
from rstar_jax.solve.ask import watched
from rstar_jax.text.grammar import CODE_STEPS
from tests.search.scripted import grow_trees
from tests.solve.test_ask import CONFIG, FUNCTIONS, PROBLEM, asked, desk_of


def classes(*given):
    return [votes.Class(answer, count, weight, best, 1) for answer, count, weight, best in given]


@pytest.mark.parametrize(
    ("found", "vote", "read", "weak"),
    [
        (classes(("1", 4, 3.6, 0.9)), "weighted", True, {}),
        (classes(("1", 2, 1.8, 0.9)), "weighted", True, {"few"}),
        (classes(("1", 2, 0.0, -1.0)), "majority", False, {"few"}),
        (
            classes(("1", 3, 0.0, -1.0), ("2", 2, 0.0, -1.0), ("3", 2, 0.0, -1.0)),
            "majority",
            False,
            {"share"},
        ),
        (classes(("1", 3, 2.7, 0.9), ("2", 2, 0.1, -0.9), ("3", 2, 0.1, -0.9)), "weighted", True, set()),
        (classes(("1", 3, 0.9, 0.2), ("2", 4, 0.8, -0.2), ("3", 2, 0.2, -0.8)), "weighted", True, {"share"}),
        (classes(("1", 5, 0.4, -0.8)), "weighted", True, {"ppm"}),
        (classes(("1", 5, 0.0, -1.0)), "best", True, {"ppm"}),
        (classes(("1", 1, 0.1, -0.9), ("2", 1, 0.2, -0.8)), "majority", True, {"few", "ppm"}),
    ],
)
def test_what_makes_an_answer_weak(found, vote, read, weak):
    told = weaknesses(found, vote, read)
    assert set(weaknesses(found, vote, read, exhausted=True)) == set(weak) - {"few"}
    assert set(told) == set(weak) and all(told.values())


def test_a_weak_answer_says_so_in_words_and_json():
    status, text = asked(dataclasses.replace(CONFIG, rollouts=1))
    assert status == 0 and "a weak answer: only 1 trajectory came to an answer" in text
    out = io.StringIO()
    watched(
        [PROBLEM],
        FUNCTIONS.queues(),
        desk_of(dataclasses.replace(CONFIG, rollouts=1), Events(out, "answer", lambda: 0.0)),
    )
    answer = json.loads(out.getvalue().splitlines()[0])
    assert "few" in answer["weak"] and answer["warning"].startswith("only 1 trajectory")
    (tree,) = grow_trees([PROBLEM], FUNCTIONS, dataclasses.replace(CONFIG, rollouts=40), round=0)
    strong = answer_of(tree, [votes.Class("3", 9, 8.0, 0.9, 1)], "weighted", CODE_STEPS, 0.0)
    assert strong.weak == [] and strong.warning == "" and strong.share == 1.0
    script = io.StringIO()
    Transcript(script, "brief", CODE_STEPS, lambda: 0.0).concludes(strong)
    assert "weak" not in script.getvalue()
