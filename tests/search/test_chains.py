"""Greedy paths and independent samples."""

from __future__ import annotations

import dataclasses

import pytest

from rstar_jax.search import SearchConfig
from tests.search.scripted import DEPTH, World, grow_trees, problems

CONFIG = SearchConfig(rollouts=5, strategy="sample")
GREEDY = dataclasses.replace(CONFIG, strategy="greedy")


def sampled(world, n=10, config=CONFIG):
    return grow_trees(problems(n), world.functions(), config, round=1, training=True)


def test_greedy_is_one_path_at_temperature_zero():
    world = World(rates=(0.8, 0.1, 0.1))
    found = sampled(world, 20, GREEDY)
    assert {(leaf.n, leaf.temperature) for leaves in world.calls for leaf in leaves} == {(1, 0.0)}
    assert len(world.calls) == DEPTH + 1
    for problem, tree in zip(problems(20), found, strict=True):
        assert tree.problem == problem and tree.rollouts == 1
        assert [node.parent for node in tree.nodes] == [*range(-1, len(tree.nodes) - 1)]
        assert tree.nodes[-1].status != "ok"
    assert 0 < sum(tree.solved for tree in found) < 20


def test_samples_share_nothing_and_repeats_count():
    found = sampled(World(rates=(0.9, 0.1, 0.0)))
    for tree in found:
        below = tree.children()
        assert len(below[0]) == len(tree.trajectories()) == 5
        assert all(len(children) <= 1 for children in below[1:])
        assert tree.nodes[0].visits == 5 and all(node.visits == 1 for node in tree.nodes[1:])
        for trajectory in tree.trajectories():
            assert set(trajectory.q) == {1.0 if trajectory.grade == "right" else -1.0}


def test_a_failed_step_ends_its_chain_alone():
    for tree in sampled(World()):
        ends = [i for i, children in enumerate(tree.children()) if not children]
        assert len(ends) == 5
        for i in ends:
            way = [tree.nodes[j] for j in tree.path(i)]
            if way[-1].status == "answer":
                assert len({node.q for node in way}) == 1
            else:
                assert [node.q for node in way] == [0.0] * (len(way) - 1) + [-1.0]


def test_a_step_nothing_is_known_of_has_no_visit_and_no_value():
    found = sampled(World(rates=(0.4, 0.1, 0.1, 0.4)))
    lost = [node for tree in found for node in tree.nodes if node.status == "unknown"]
    assert lost and {(node.visits, node.value_sum) for node in lost} == {(0, 0.0)}
    for tree in found:
        ends = [n for n, below in zip(tree.nodes, tree.children(), strict=True) if not below]
        first = [n for n in tree.nodes if n.parent == 0]
        assert len(ends) == 5 and tree.nodes[0].visits == sum(n.status != "unknown" for n in first)


@pytest.mark.parametrize("config", [GREEDY, CONFIG])
def test_chains_do_not_depend_on_their_batch(config):
    functions = World().functions()
    together = grow_trees(problems(5), functions, config, round=1)
    two = grow_trees(problems(5), functions, dataclasses.replace(config, batch=2), round=1)
    alone = [grow_trees([p], functions, config, round=1)[0] for p in problems(5)]
    assert together == two == alone


def test_chains_stop_at_the_depth_limit():
    config = dataclasses.replace(CONFIG, max_depth=2)
    for tree in sampled(World(rates=(1, 0, 0)), 3, config):
        assert [node.status for node in tree.nodes if node.depth == 2] == ["depth"] * 5
