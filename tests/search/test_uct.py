"""Selection, backup and closing against a plain Python tree that computes the formula anew."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax.search.uct import UNVISITED, Statistics

WIDTH = 3


class Plain:
    """One node; the rules as they are written, one object at a time."""

    def __init__(self, parent=None, prior=0.0, visits=0, value_sum=0.0, closed=False):
        self.parent, self.prior, self.closed = parent, prior, closed
        self.visits, self.value_sum, self.children = visits, value_sum, []

    def score(self, c, unvisited):
        if not self.visits:
            return self.prior + (1e6 if unvisited == "first" else 0.0)
        bonus = math.sqrt(math.log(self.parent.visits) / self.visits) if self.parent.visits else 0.0
        return self.value_sum / self.visits + c * bonus

    def select(self, c, unvisited):
        """The node, and whether another choice on the way came so near that rounding may decide."""
        node, near = self, False
        while choices := [child for child in node.children if not child.closed]:
            scores = sorted((child.score(c, unvisited) for child in choices), reverse=True)
            near |= any(0 < scores[0] - other < 1e-9 for other in scores[1:])
            node = max(choices, key=lambda child: child.score(c, unvisited))
        return node, near

    def backup(self, value):
        self.visits, self.value_sum = self.visits + 1, self.value_sum + value
        if self.parent:
            self.parent.backup(value)

    def close(self):
        self.closed = True
        if self.parent and all(child.closed for child in self.parent.children):
            self.parent.close()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), turns=st.integers(1, 12), unvisited=st.sampled_from(["value", "first"]))
def test_lists_agree_with_plain_trees(seed, turns, unvisited):
    draw, numbers, nodes = random.Random(seed), Statistics(UNVISITED[unvisited]), [Plain()]

    def selected():
        node, near = nodes[0].select(2.0, unvisited)
        found = numbers.select(0, 2.0)
        assert near or found == nodes.index(node)
        return found

    for _ in range(turns):
        leaf = selected()
        count = 0 if nodes[leaf].children else draw.randrange(WIDTH + 1)
        prior = [draw.choice((-0.5, 0.0, 0.25)) for _ in range(count)]
        visits = [draw.randrange(2) for _ in range(count)]
        closed = [draw.random() < 0.2 for _ in range(count)]
        sums = [p * n for p, n in zip(prior, visits, strict=True)]
        numbers.append(leaf, prior, visits, sums, closed)
        for entry in zip(prior, visits, sums, closed, strict=True):
            nodes[leaf].children.append(Plain(nodes[leaf], *entry))
        nodes += nodes[leaf].children if count else []
        leaf = selected()
        value = draw.choice((-1.0, 1.0))
        numbers.back_up(leaf, value)
        nodes[leaf].backup(value)
        if draw.random() < 0.4:
            numbers.close_up(leaf)
            nodes[leaf].close()
        assert numbers.visits == [node.visits for node in nodes]
        assert numbers.value_sums == pytest.approx([node.value_sum for node in nodes], abs=1e-12)
        assert [numbers.closed(i) for i in range(len(nodes))] == [node.closed for node in nodes]


def fanned(visits, values, unvisited="value"):
    """A root with 4 visits and children with these."""
    numbers = Statistics(UNVISITED[unvisited])
    numbers.append(0, [0.0] * len(visits))
    for child, (n, value) in enumerate(zip(visits, values, strict=True), 1):
        for _ in range(n):
            numbers.back_up(child, value / n)
    numbers.back_up(0, 0.0, 4 - sum(visits))
    return numbers


def test_the_formula_is_the_papers():
    # sqrt(ln 4 / 3) = 0.680, sqrt(ln 4 / 1) = 1.177: 2/3 + 2 * 0.680 = 2.026 against 0 + 2 * 1.177 = 2.355.
    numbers = fanned((3, 1, 0), (2.0, 0.0, 0.0))
    assert numbers.select(0, 2.0) == 2
    assert numbers.select(0, 1.0) == 1  # 1.346 against 1.177
    assert numbers.visits[:2] == [4, 3] and numbers.value_sums[1] == pytest.approx(2.0)


def test_what_an_unvisited_child_is_worth_can_be_chosen():
    assert fanned((1, 1, 0), (1.0, 1.0, 0.0)).select(0, 2.0) == 1  # the first of equals
    assert fanned((1, 1, 0), (1.0, 1.0, 0.0), "first").select(0, 2.0) == 3


def test_a_visit_that_is_taken_back_leaves_nothing():
    numbers = Statistics()
    numbers.append(0, [0.3, 0.2])
    numbers.back_up(1, -1.0)
    assert numbers.select(0, 0.0) == 2
    numbers.back_up(1, 1.0, -1)
    assert numbers.visits == [0, 0, 0] and numbers.value_sums == [0.0] * 3 and numbers.select(0, 0.0) == 1


def test_thousands_of_visits_are_as_any():
    numbers = Statistics()
    numbers.append(0, [0.0, 0.0])
    for _ in range(5000):
        numbers.back_up(1, 0.5)
    numbers.back_up(2, -1.0)
    bonus = math.sqrt(math.log(5001))
    assert numbers.select(0, 1.6 / bonus) == 2 and numbers.select(0, 1.4 / bonus) == 1


def test_close_one_leaves_the_ancestors_open():
    numbers = Statistics()
    numbers.append(0, [0.0] * 3)
    for child in (1, 2, 3):
        numbers.close_one(child)
    assert [numbers.closed(i) for i in range(4)] == [False, True, True, True]
    assert numbers.select(0, 2.0) == 0
    numbers.close_up(3)
    assert numbers.closed(0)
