"""A stage that searches says how many problems its budgets left without an answer."""

import contextlib
import types

import pytest

from rstar_jax.evolve import search_stages, stage_table, summary
from rstar_jax.evolve.settings import EvaluateSettings, RunSettings
from rstar_jax.evolve.shards import Shards, Source
from rstar_jax.evolve.stages import Workdir
from rstar_jax.report import results, tables
from rstar_jax.types import Candidate, Problem, StepVerdict
from tests.search.scripted import Functions

HELDOUT = [Problem(f"p{i}", f"What is {i}?", str(i)) for i in range(5)]


def propose(leaves):
    """Of the first two problems an answer at once, of the others one step after the other."""
    last = {True: ("1", "answer"), False: ("# on", "step")}
    texts = [last[leaf.problem in HELDOUT[:2]] for leaf in leaves]
    return [[Candidate(text, (1,) * 5, -1.0, finish)] for text, finish in texts]


def check(requests):
    return [
        StepVerdict("1", "answer", answer="1") if steps[-1] == "1" else StepVerdict(steps[-1], "ok")
        for _, steps in requests
    ]


ALONE = {
    "policy_pass1": {"all": 0.0},
    "policy_ungraded": 0,
    "policy_answered": 0.0,
    "policy_steps": 0,
    "policy_failures": {},
    "unknown_steps": 0,
}
FUNCTIONS = Functions(propose, check, lambda requests: ["wrong"] * len(requests))


@pytest.mark.parametrize(
    ("budget", "cut_off"), [({"max_seconds": 1e-9}, 3), ({"max_tokens": 5}, 3), ({"max_seconds": 1e9}, 0)]
)
def test_problems_without_an_answer_in_their_budget_are_counted(tmp_path, monkeypatch, budget, cut_off):
    settings, told = RunSettings(evaluate=EvaluateSettings(candidates=1, **budget)), []

    def grow(title, name, problems, config):
        shards = Shards(tmp_path / "round1/evaluate", name, problems, Source(1), size=9)
        shards.grow(FUNCTIONS.queues(), config)
        return shards

    @contextlib.contextmanager
    def seeker(*_):
        reasoner = types.SimpleNamespace(same=lambda *_: False, grade=FUNCTIONS.grade)
        yield types.SimpleNamespace(grow=grow, reasoner=reasoner, result=dict)

    monkeypatch.setattr(search_stages, "open_seeker", seeker)
    monkeypatch.setattr(search_stages, "_policy_alone", lambda _: dict(ALONE))
    with Workdir(tmp_path, settings) as work:
        context = types.SimpleNamespace(
            settings=settings,
            work=work,
            heldout=HELDOUT,
            models=lambda *_: None,
            progress=types.SimpleNamespace(log=told.append),
        )
        result = results.to_json(stage_table.run(context, "evaluate", 1))
    ((option, value),) = budget.items()
    said = f"3 of 5 held-out problems had no answer yet when config.evaluate.{option}={value} was spent"
    assert result["search_cut_off"] == cut_off and len(told) == bool(cut_off)
    assert all(said in line and "raise it" in line for line in (*told, result["note"]) if line)
    counts = dict.fromkeys(("trajectories", "steps", "tokens", "sft_rows", "pairs", "ungraded"), 0)
    curated = results.CurateResult(
        **counts, coverage={}, difficulty={}, dropped={}, failures={}, unknown_steps=0, ungradable=[]
    )
    evaluated = results.of_json(results.EvaluateResult, result)
    row = summary._round(1, {"curate": curated, "evaluate": evaluated})
    shown = tables.render({"rounds": [results.to_json(row)]})
    assert ("held-out problems cut off by a budget" in shown) == (said in shown) == bool(cut_off)
