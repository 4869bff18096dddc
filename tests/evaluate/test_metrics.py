"""Metrics of samples, against votes held in every order and counts by hand."""

import itertools
import math

import numpy as np
import pytest

from rstar_jax.errors import UserError
from rstar_jax.evaluate import metrics
from rstar_jax.evaluate.metrics import Samples
from rstar_jax.evaluate.prediction import Prediction
from rstar_jax.search import votes


def samples(*problems: list[tuple[int, bool, float | None]], levels=None, chosen=(), tool=()) -> Samples:
    """Problems of (number of the answer, whether it is right, score) each."""
    rows = [(f"p{i}", row) for i, problem in enumerate(problems) for row in problem]
    level = levels or [1] * len(problems)
    table = {
        "problem_id": [name for name, _ in rows],
        "level": [level[int(name[1:])] for name, _ in rows],
        "chosen": [i in chosen for i in range(len(rows))],
        "same": [same for _, (same, _, _) in rows],
        "grade": [None if same < 0 else "right" if right else "wrong" for _, (same, right, _) in rows],
        "score": [score for _, (_, _, score) in rows],
        "tool": [i in tool for i in range(len(rows))],
    }
    return metrics.of_columns([table])


def random_problem(rng: np.random.Generator, n: int, scored: bool = True) -> list:
    same = rng.integers(-1, 3, n)
    # Few different scores, so that there are ties.
    return [(int(s), s == 1, float(rng.integers(-2, 3)) / 2 if scored else None) for s in same]


def in_every_order(problem: list, k: int, vote: str) -> float:
    """How often a vote of k samples, in any order that they may come, takes a right answer."""
    right, orders = 0, list(itertools.permutations(problem, k))
    for order in orders:
        given = [votes.Ballot(str(same), score) for same, _, score in order if same >= 0]
        if vote == "best":
            given = given and [max(given, key=lambda ballot: -1 if ballot.score is None else ballot.score)]
        found = votes.classes(given, str.__eq__)
        right += bool(found) and max(found, key=votes.VOTES[vote]).answer == "1"
    return right / len(orders)


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_votes_of_some_samples_are_what_every_order_gives_on_average(k, scored):
    rng = np.random.default_rng(k)
    problems = [random_problem(rng, 5, scored) for _ in range(6)]
    of = samples(*problems)
    for name, vote in (("maj", "majority"), ("best", "best"), ("weighted", "weighted")):
        if scored or name == "maj":
            expected = [in_every_order(problem, k, vote) for problem in problems]
            np.testing.assert_allclose(metrics.values(of, f"{name}@{k}"), expected, atol=1e-9)


def test_draws_come_near_the_expectation_and_are_the_same_each_time():
    rng = np.random.default_rng(0)
    problem = random_problem(rng, 20)
    assert math.comb(20, 5) > metrics._FEW
    right, same = [s == 1 for s, _, _ in problem], [s for s, _, _ in problem]
    draws = [rng.permutation(20)[:5] for _ in range(20_000)]
    hits = 0.0
    for drawn in draws:
        counts = np.bincount([same[i] + 1 for i in drawn], minlength=4)[1:]
        hits += (counts[1] == counts.max() and counts[1] > 0) / max((counts == counts.max()).sum(), 1)
    found = metrics.values(samples(problem), "maj@5")
    assert any(right) and abs(found[0] - hits / len(draws)) < 0.03
    assert found == metrics.values(samples(problem), "maj@5")


def test_pass_and_avg_by_hand():
    of = samples(
        [(0, True, None), (1, False, None), (1, False, None), (-1, False, None)], [(0, True, None)] * 4
    )
    assert metrics.values(of, "pass@1").tolist() == [0.25, 1.0]
    assert metrics.values(of, "pass@2").tolist() == [0.5, 1.0]
    assert metrics.values(of, "avg@4").tolist() == [0.25, 1.0]
    assert metrics.values(of, "pass@all").tolist() == [1.0, 1.0]
    figure = metrics.figures(of, ["pass@2"])["pass@2"]
    assert figure.value == 0.75 and figure.problems == 2 and 0 < figure.low < 0.75 < figure.high <= 1


def test_all_is_as_many_as_each_problem_has():
    of = samples([(0, True, 0.1)], [(0, True, 0.1), (1, False, 0.9), (1, False, 0.8)])
    assert metrics.values(of, "maj@all").tolist() == [1.0, 0.0]
    assert metrics.values(of, "best@all").tolist() == [1.0, 0.0]
    assert metrics.values(of, "avg@all").tolist() == [1.0, 1 / 3]
    assert metrics.known(of) == ["pass@1", *(f"{k}@all" for k in ("pass", "avg", "maj", "best", "weighted"))]


def test_condemned_trajectories_have_no_weight():
    of = samples([(0, True, 0.2), (1, False, -1.0), (1, False, -1.0)])
    assert metrics.values(of, "weighted@3").tolist() == [1.0]
    assert metrics.values(of, "maj@3").tolist() == [0.0]


def test_an_answer_without_a_score_is_the_least_liked():
    of = samples([(0, True, None), (1, False, -0.5)], [(0, False, None), (1, True, -0.5), (-1, False, 0.9)])
    assert metrics.values(of, "best@all").tolist() == [0.0, 1.0]
    assert metrics.values(of, "weighted@all").tolist() == [0.0, 1.0]


def test_the_protocols_own_answer_and_figures_apart():
    rows = [(0, True, None), (1, False, None)]
    of = samples(rows, rows, rows, levels=[1, 2, 0], chosen={0, 3}, tool={0, 2})  # sample 2 is not chosen
    assert metrics.values(of, "search").tolist() == [1.0, 0.0, 0.0]
    levels = metrics.by_level(of, "search")
    assert {name: figure.value for name, figure in levels.items()} == {"level1": 1.0, "level2": 0.0}
    tool, others = metrics.by_tool(of)
    assert tool and others and (tool.value, tool.problems, others.problems) == (1.0, 1, 2)


def test_what_is_known_of_samples():
    assert metrics.known(samples([(0, True, None)])) == ["pass@1"]
    four = samples([(0, True, 0.5)] * 4, chosen={0})
    kinds = [f"{kind}@{k}" for kind in ("maj", "best", "weighted") for k in (2, 4)]
    assert metrics.known(four) == ["pass@1", "pass@2", "pass@4", "avg@4", *kinds, "search"]
    assert metrics.figures(four, metrics.known(four)).keys() == set(metrics.known(four))


def test_rows_are_read_problem_by_problem():
    def prediction(problem: str, sample: int) -> Prediction:
        return Prediction(
            benchmark="b",
            problem_id=problem,
            level=2,
            sample=sample,
            chosen=sample == 1,
            question="?",
            reference="1",
            text="",
            answer="1",
            same=0,
            grade="right" if problem == "a" else "ungraded",
            released="right",
            score=None,
            steps=1,
            tokens=1,
            tool=False,
            ended="answer",
        )

    many = metrics._ROWS - 1  # so that a problem lies in two parts
    rows = [*(prediction("a", i) for i in range(many)), *(prediction("b", i) for i in range(3))]
    of = metrics.of_predictions(iter(rows))
    assert of.problems.tolist() == ["a", "b"] and of.counts.tolist() == [many, 3]
    assert metrics.values(of, "search").tolist() == metrics.values(of, "pass@1").tolist() == [1.0, 0.0]
    with pytest.raises(UserError, match="problem 'a' do not lie together"):
        metrics.of_predictions([*rows, rows[0]])
    with pytest.raises(UserError, match="no sample given"):
        metrics.of_predictions([])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("maj@0", "'0' samples given, a number from 1 on or all expected, as in maj@8"),
        ("maj@-1", "'-1' samples given"),
        ("pass", "'' samples given"),
        ("maj@9", "2 samples of some problem, at least 9 expected"),
        ("mjr@8", "Did you mean 'maj@8'?"),
        ("serch", "Did you mean 'search'?"),
        ("best@1", "no PPM scored these samples"),
    ],
)
def test_what_cannot_be_had_is_refused(name, said):
    of = samples([(0, True, None)] * 2)
    with pytest.raises(UserError) as error:
        metrics.values(of, name)
    assert said in str(error.value)
