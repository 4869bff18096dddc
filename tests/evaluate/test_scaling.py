"""Test-time scaling: what is cut, what it took, and who votes."""

import dataclasses

import pytest

from rstar_jax import parquet
from rstar_jax.evaluate.scaling import ONE_RIGHT, cuts
from rstar_jax.search.votes import final_answer
from rstar_jax.types import Node, Tree
from tests.report.a_run import problems, tree

ANSWERS = {
    0: [("3", "wrong", -0.9), ("2", "right", 0.8), ("3", "wrong", -0.8), ("7", "wrong", 0.1)],
    1: [("2", "right", 0.5)],
    2: [],
    3: [("1/2", "wrong", 0.2), ("1/2", "wrong", 0.9), ("2.0", "right", 0.3), ("2", "right", 0.4)],
}


@pytest.fixture
def shard(tmp_path):
    trees = [tree(problem, ANSWERS[i]) for i, problem in enumerate(problems(4))]
    parquet.write_rows(tmp_path / "search-00000.parquet", Tree, trees[:3])
    parquet.write_rows(tmp_path / "search-00001.parquet", Tree, trees[3:])
    return [tmp_path / "search-00000.parquet", tmp_path / "search-00001.parquet"], trees


def test_the_last_cut_is_the_vote_over_whole_trees(shard):
    files, trees = shard
    found = cuts(files, ["majority", "weighted", "best"])
    assert [cut.trajectories for cut in found] == [1, 2, 4]
    for vote in ("majority", "weighted", "best"):
        answers = [final_answer(t, vote, equal=lambda a, b: float(eval(a)) == float(eval(b))) for t in trees]
        right = sum(answer in ("2", "2.0") for answer in answers) / len(trees)
        assert found[-1].shares[vote] == right, vote


def test_shares_of_the_first_trajectories(shard):
    first, second, _ = cuts(shard[0], ["majority", "best"])
    assert first.shares == {"majority": 0.25, "best": 0.25, ONE_RIGHT: 0.25}
    # Of equally many the one that the PPM likes better leads, as in every vote.
    assert second.shares == {"majority": 0.5, "best": 0.5, ONE_RIGHT: 0.5}


def test_tokens_are_those_until_the_last_candidate_beside_the_answer(shard):
    files, trees = shard
    found = cuts(files, ["majority"])
    whole = sum(t.tokens for t in trees) / len(trees)
    assert found[-1].tokens == whole
    assert found[-1].ppm_tokens == sum(len(a) for a in ANSWERS.values()) * 20 / 4
    # 30 tokens of nodes a trajectory, each for 60 written, as half were repeats that were dropped.
    assert found[0].tokens == pytest.approx((60 + 60 + 0 + 60) / 4)
    assert found[0].ppm_tokens == pytest.approx(3 * 20 / 4)


def test_only_the_final_answers_of_a_search_vote(tmp_path):
    made = tree(problems(1)[0], [("3", "wrong", 0.9), ("2", "right", 0.1)])
    chosen = dataclasses.replace(made, finals=(5,))
    assert made.nodes[5].grade == "right"
    parquet.write_rows(tmp_path / "a-0.parquet", Tree, [chosen])
    (only,) = cuts([tmp_path / "a-0.parquet"], ["best"])
    assert only.shares == {"best": 1.0, ONE_RIGHT: 1.0} and only.tokens == chosen.tokens


def test_without_a_ppm_votes_are_the_majority(tmp_path):
    made = tree(problems(1)[0], [("3", "wrong", 0.0), ("2", "right", 0.0), ("2.0", "right", 0.0)])
    nodes = tuple(dataclasses.replace(node, ppm=None) for node in made.nodes)
    parquet.write_rows(tmp_path / "a-0.parquet", Tree, [dataclasses.replace(made, nodes=nodes)])
    found = cuts([tmp_path / "a-0.parquet"], ["weighted", "best"], top_k=1)
    assert found[-1].shares == {"weighted": 1.0, "best": 0.0, ONE_RIGHT: 1.0}
    assert found[-1].ppm_tokens == 0


def test_no_trees_and_no_answers(tmp_path):
    assert cuts([], ["majority"]) == []
    lone = Tree(problems(1)[0], 1, 0, 0, (Node(-1, "", "ok", 0, 0, 0.0),))
    parquet.write_rows(tmp_path / "a-0.parquet", Tree, [lone])
    assert cuts([tmp_path / "a-0.parquet"], ["majority"]) == []
