"""The search stage's shards: whose they are, and what ends the batches in flight."""

import time
from types import SimpleNamespace

import pytest

from rstar_jax.evolve import seek
from rstar_jax.evolve.settings import RunSettings, SearchSettings
from rstar_jax.report.progress import Progress
from rstar_jax.search import SearchStats
from rstar_jax.types import Node, Problem, Tree

PROBLEMS = [Problem(str(i), f"What is {i}?", str(i)) for i in range(4)]
REASONER = SimpleNamespace(services=lambda round: None, meter=SimpleNamespace(tokens=0))


def tree(problem: Problem) -> Tree:
    root = Node(-1, "", "ok", depth=0, visits=0, value_sum=0.0)
    return Tree(problem, 1, 0, 1, (root,))


def grow(folder, problems, streams=1):
    settings = RunSettings(search=SearchSettings(batch=2, streams=streams))
    context = SimpleNamespace(settings=settings, progress=Progress(enabled=False))
    return seek._grow(context, REASONER, problems, 1, 0, folder)


@pytest.fixture
def searched(monkeypatch):
    """The problems of every search, which gives bare trees."""
    asked = []

    def search(problems, *_, **__):
        asked.append(list(problems))
        return [tree(problem) for problem in problems]

    monkeypatch.setattr(seek, "grow_trees", search)
    return asked


def test_shards_that_are_there_are_not_searched_again(tmp_path, searched):
    for _ in range(2):
        grow(tmp_path, PROBLEMS)
    assert searched == [PROBLEMS[:2], PROBLEMS[2:]]


def test_a_shard_of_other_problems_is_put_aside(tmp_path, searched, caplog):
    grow(tmp_path, PROBLEMS)
    other = [*PROBLEMS[:3], Problem("4", "What is 4?", "4")]
    grow(tmp_path, other)
    assert searched[2:] == [other[2:]]
    assert "not of the problems that belong here" in caplog.text
    assert (tmp_path / "trees-0-00001.parquet.damaged-1").exists()
    assert [t.problem for t in seek.read_trees(tmp_path)] == other


def test_an_interrupt_ends_the_other_stream_with_its_turn(tmp_path, monkeypatch):
    def search(problems, *_, on_progress, **__):
        if problems[0] is PROBLEMS[0]:
            raise KeyboardInterrupt
        for _ in range(500):
            time.sleep(0.01)
            on_progress(SearchStats(2, 0, 0, 0, 0, 0, 0))
        return [tree(problem) for problem in problems]

    monkeypatch.setattr(seek, "grow_trees", search)
    with pytest.raises(KeyboardInterrupt):
        grow(tmp_path, PROBLEMS, streams=2)
    assert not list(tmp_path.iterdir())
