"""Solutions of held-out problems that a policy is measured on: the suite's own, or what was found before."""

import types

import pytest

from rstar_jax import parquet, records
from rstar_jax.evolve import heldout_solutions
from rstar_jax.evolve.heldout_solutions import FOUND, SUITE
from rstar_jax.evolve.settings import ProblemSettings, RunSettings
from rstar_jax.problems.suite import generate
from rstar_jax.tasks import VerifySettings
from rstar_jax.train import TrainConfig
from rstar_jax.types import Tree
from tests.report import a_run


@pytest.fixture
def context(tmp_path):
    """What the module reads of a context: a run's folder, its options, its task, problems of a file."""
    return types.SimpleNamespace(
        settings=RunSettings(problems=ProblemSettings(seed=3)),
        heldout=a_run.problems(4),
        task=VerifySettings().make_task(),
        folder=lambda round, stage: tmp_path / (f"round{round}" if round else "base") / stage,
    )


def evaluated(context, round, *trees, kind="policy"):
    """An evaluation that is done, before a round or of it. trees: the answers of each problem's."""
    folder = context.folder(round, "evaluate")
    found = [a_run.tree(p, answers) for p, answers in zip(context.heldout, trees, strict=False) if answers]
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_rows(folder / f"{kind}-00000.parquet", Tree, found)
    records.write_signed(folder / "DONE.json", {"name": "", "result": {}, "outputs": {}})


RIGHT, WRONG = ("2", "right", 0.5), ("3", "wrong", 0.5)


def test_of_the_suite_they_are_its_own(context):
    context.heldout = generate(9, seed=3, split="heldout")
    rows, source = heldout_solutions.of(context, 1)
    assert source == SUITE and [row.problem_id for row in rows] == [p.id for p in context.heldout]
    assert all(
        rf"\boxed{{{p.answer}}}" in row.steps[-1] for p, row in zip(context.heldout, rows, strict=True)
    )
    assert rows[0].question == context.heldout[0].question


def test_of_others_they_are_the_right_ones_of_evaluations_before_this_training(context, monkeypatch):
    evaluated(context, 0, [WRONG], [WRONG, RIGHT])
    evaluated(context, 1, [WRONG], [RIGHT], kind="search")
    evaluated(context, 2, [RIGHT], [RIGHT], [RIGHT])

    def found(round):
        rows, source = heldout_solutions.of(context, round)
        assert source == FOUND and all(row.steps == ("a step", "<answer>") for row in rows)
        return [row.problem_id for row in rows]

    assert found(0) == found(1) == found(2) == ["p1"]  # round 2's own evaluation comes after its training
    assert found(3) == ["p1", "p0", "p2"]  # one of each problem, the earliest
    monkeypatch.setattr(heldout_solutions, "AT_MOST", 2)
    assert found(3) == ["p1", "p0"]
    (context.folder(2, "evaluate") / "DONE.json").unlink()  # under way
    assert found(3) == ["p1"]


def test_the_last_parameters_are_kept_where_nothing_tells_the_best(context):
    said: list[str] = []
    context.progress = types.SimpleNamespace(log=said.append)
    best = TrainConfig(keep="best")
    assert heldout_solutions.keeping(context, best, None, "PPM") == TrainConfig(keep="last")
    assert "the PPM: train.keep=best given, but no held-out rows" in said[0]
    assert heldout_solutions.keeping(context, best, lambda _: {}, "PPM") is best and len(said) == 1


def test_where_nothing_was_evaluated_there_are_none(context):
    assert heldout_solutions.of(context, 4) == ([], FOUND)
