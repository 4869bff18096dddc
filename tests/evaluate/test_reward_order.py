"""The order of a reward model, by brute force."""

import dataclasses
import math
import random
from typing import Any

import pytest

from rstar_jax.curate import CurateConfig, curate
from rstar_jax.evaluate.reward_order import Order, RewardOrder
from rstar_jax.report.results import EvaluateResult, of_json, to_json
from rstar_jax.types import Node, Problem, Tree


def some_tree(number: int, rng: random.Random) -> Tree:
    """A root with six steps, each with two answers, right or wrong, and values at random, some of them
    equal."""
    nodes = [Node(-1, "", "ok", 0, 12, 0.0)]
    for step in range(6):
        at = len(nodes)
        grades = [rng.choice(["right", "wrong"]) for _ in range(2)]
        q = sum(1.0 if grade == "right" else -1.0 for grade in grades)
        nodes.append(Node(0, f"step {step}", "ok", 1, 2, q, ppm=rng.choice([-0.5, 0.1, 0.1, 0.7])))
        for k, grade in enumerate(grades):
            value = 1.0 if grade == "right" else -1.0
            told: dict[str, Any] = {
                "answer": str(k),
                "grade": grade,
                "ppm": rng.choice([-0.9, 0.2, 0.2, 0.8]),
            }
            nodes.append(Node(at, f"answer {k}", "answer", 2, 1, value, **told))
    return Tree(Problem(str(number), "?", "1"), 1, 0, 12, tuple(nodes))


def in_order(margin: float) -> float:
    return 1.0 if margin > 0 else 0.5 if margin == 0 else 0.0


def order_of(trees: list[Tree]) -> Order:
    found = RewardOrder()
    for tree in trees:
        found.add(tree)
    order = found.order()
    assert order is not None
    return order


@pytest.fixture
def trees() -> list[Tree]:
    rng = random.Random(3)
    return [some_tree(i, rng) for i in range(40)]


def test_answers_against_all_pairs(trees: list[Tree]) -> None:
    order, pairs, ends = order_of(trees), list[float](), 0
    for tree in trees:
        answers = [(node.ppm or 0.0, node.grade) for node in tree.nodes if node.grade]
        right = [value for value, grade in answers if grade == "right"]
        wrong = [value for value, grade in answers if grade == "wrong"]
        ends += len(answers)
        pairs += [in_order(r - w) for r in right for w in wrong]
    assert order.answers == ends and order.answer_pairs == len(pairs) > 200
    assert order.answer_accuracy == pytest.approx(sum(pairs) / len(pairs))
    assert order.calibration and 0 < order.calibration < 1


def test_steps_are_those_that_training_would_compare(trees: list[Tree]) -> None:
    order, expected = order_of(trees), list[tuple[int, float]]()
    for tree in trees:
        value = {tree.steps(i): node.ppm or 0.0 for i, node in enumerate(tree.nodes)}
        for pair in curate([tree], CurateConfig(), 1).pairs:
            if not pair.final:
                better, worse = value[(*pair.prefix, *pair.positive)], value[(*pair.prefix, *pair.negative)]
                expected.append((len(pair.prefix) + 1, better - worse))
    assert order.pairs == len(expected) == sum(order.margins) > 40
    assert order.accuracy == pytest.approx(sum(in_order(m) for _, m in expected) / len(expected))
    assert order.loss == pytest.approx(sum(math.log1p(math.exp(-m)) for _, m in expected) / len(expected))
    for depth, (count, accuracy) in order.by_depth.items():
        some = [in_order(m) for d, m in expected if str(d) == depth]
        assert (count, accuracy) == (len(some), pytest.approx(sum(some) / len(some)))


def test_the_reward_model_is_not_judged_by_its_own_values(trees: list[Tree]) -> None:
    """A held-out search backs up what the reward model says: the order is told by the grades all the same."""

    def searched(tree: Tree, sign: int) -> Tree:
        valued = [n if n.ppm is None else dataclasses.replace(n, ppm=sign * n.ppm) for n in tree.nodes]
        nodes = (n.with_stats(n.visits, n.visits * (n.ppm or 0.0), n.parent) for n in valued)
        return dataclasses.replace(tree, nodes=tuple(nodes))

    order, turned = order_of(trees), order_of([searched(tree, -1) for tree in trees])
    assert order_of([searched(tree, 1) for tree in trees]) == order
    assert order.accuracy and order.accuracy not in (0.5, 1.0) and turned.pairs == order.pairs
    assert turned.accuracy == pytest.approx(1 - order.accuracy)


def test_a_step_that_several_trajectories_begin_with_is_one() -> None:
    """Independent trajectories: "a" and "b" below the root, "a" written three times and twice right."""
    nodes = [Node(-1, "", "ok", 0, 4, 0.0)]
    for first, then, grade, value in (
        ("a", "x", "right", 0.8),
        ("b", "x", "wrong", -0.6),
        ("a", "y", "wrong", -0.2),
        ("a", "x", "right", 0.8),
    ):
        of_first = 0.4 if first == "a" else -0.3
        nodes.append(Node(0, first, "ok", 1, 1, 0.0, ppm=of_first))
        nodes.append(Node(len(nodes) - 1, then, "answer", 2, 1, 0.0, ppm=value, answer="1", grade=grade))
    order = order_of([Tree(Problem("1", "?", "1"), 1, 0, 4, tuple(nodes))])
    assert order.by_depth == {"1": [1, 1.0], "2": [1, 1.0]}  # a against b, and below a x against y
    assert order.loss == pytest.approx((math.log1p(math.exp(-0.7)) + math.log1p(math.exp(-1.0))) / 2)
    assert (order.answers, order.answer_pairs) == (4, 4)  # every trajectory's


@pytest.mark.parametrize(("scores", "share"), [("last", 0.0), ("mean", 1.0), ("min", 0.5)])
def test_answers_are_put_in_order_by_what_the_vote_takes(scores: str, share: float) -> None:
    nodes = [Node(-1, "", "ok", 0, 2, 0.0)]
    for first, last, grade in ((0.9, -0.5, "right"), (-0.5, 0.1, "wrong")):
        nodes.append(Node(0, grade, "ok", 1, 1, 0.0, ppm=first))
        told: dict[str, Any] = {"ppm": last, "answer": grade, "grade": grade}
        nodes.append(Node(len(nodes) - 1, "", "answer", 2, 1, 0.0, **told))
    of_tree = RewardOrder(scores)
    of_tree.add(Tree(Problem("1", "?", "1"), 1, 0, 2, tuple(nodes)))
    found = of_tree.order()
    assert found is not None and found.answer_accuracy == share
    assert found.calibration == pytest.approx((0.75 + 0.55) / 2)  # of the values, whatever the vote takes


def test_trees_without_values_tell_nothing(trees: list[Tree]) -> None:
    found = RewardOrder()
    for tree in trees:
        found.add(
            dataclasses.replace(tree, nodes=tuple(dataclasses.replace(n, ppm=None) for n in tree.nodes))
        )
    assert found.order() is None


@pytest.mark.parametrize("valued", ["all", "answers"])  # an ORM values answers alone
def test_it_is_read_back_from_a_manifest(trees: list[Tree], valued: str) -> None:
    alone = Order(pairs=0, by_depth={}, margins=[0] * 8, answers=2, answer_pairs=1, answer_accuracy=1.0)
    result = EvaluateResult(
        policy_pass1={"all": 1.0},
        policy_ungraded=0,
        policy_answered=1.0,
        policy_steps=1,
        policy_failures={},
        unknown_steps=0,
        order=alone if valued == "answers" else order_of(trees),
    )
    read = of_json(EvaluateResult, to_json(result)).order
    assert isinstance(read, Order) and read == result.order
