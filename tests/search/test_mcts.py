"""The tree search in the scripted world: its invariants, its independence of batches, its bad input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rstar_jax.errors import UserError
from rstar_jax.search import SearchConfig
from rstar_jax.types import Candidate, StepVerdict
from tests.search.scripted import DEPTH, Functions, World, grow_trees, problems

CONFIG = SearchConfig(rollouts=8, candidates=4)


def searched(world, config=CONFIG, n=6, **how):
    return grow_trees(problems(n), world.functions(), config, round=1, **({"training": True} | how))


def scripted(propose=None, check=None, score=None):
    """Functions that give every leaf the same."""
    world = World()
    return Functions(
        (lambda leaves: [propose(leaf) for leaf in leaves]) if propose else world.propose,
        (lambda requests: [check(steps) for _, steps in requests]) if check else world.check,
        world.grade,
        score,
    )


def step(text):
    return Candidate(text, (1,), -0.1, "step")


def one(functions, config=CONFIG, **how):
    return grow_trees(problems(1), functions, config, round=1, **({"training": True} | how))[0]


@pytest.mark.parametrize("ppm", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_invariants_of_a_finished_tree(ppm, training):
    for tree in searched(World(ppm=ppm, rates=(0.5, 0.3, 0.1, 0.1)), training=training):
        below = tree.children()
        visited = [i for i, node in enumerate(tree.nodes) if node.status == "answer" and node.visits]
        assert tree.nodes[0].visits == len(visited) <= tree.rollouts <= CONFIG.rollouts
        for i, node in enumerate(tree.nodes):
            assert -1 <= node.q <= 1
            assert node.parent < i and (i == 0 or node.depth == tree.nodes[node.parent].depth + 1)
            if node.status == "unknown":
                assert (node.visits, node.q, below[i], node.ppm) == (0, 0.0, [], None)
            elif node.status not in ("ok", "answer"):
                assert (node.visits, node.value_sum, below[i], node.ppm) == (1, -1.0, [], None)
            elif i and node.status == "ok":
                first = ppm and 1  # q(s)^0 counts as a visit
                through = [a for a in visited if i in tree.path(a)]
                assert node.visits == first + len(through)
                values = sum(tree.nodes[a].value_sum for a in through) + (node.ppm if ppm else 0)
                assert node.value_sum == pytest.approx(values, abs=1e-5)
            elif node.status == "answer":
                value = {"right": 1.0, "wrong": -1.0}[node.grade] if training else (node.ppm or 0.0)
                assert not node.visits or node.value_sum == pytest.approx(value)
            assert len({tree.nodes[c].text for c in below[i]}) == len(below[i])
            assert sum(tree.nodes[c].status == "answer" for c in below[i]) <= 1


@pytest.mark.parametrize("ppm", [False, True])
def test_trees_do_not_depend_on_what_is_searched_with_them(ppm):
    config = dataclasses.replace(CONFIG, escalation=(12,))
    world = World(ppm=ppm)
    together = searched(world, config)
    two_at_a_time = searched(world, dataclasses.replace(config, batch=2))
    alone = [grow_trees([p], world.functions(), config, round=1, training=True)[0] for p in problems(6)]
    assert together == two_at_a_time == alone


def test_another_index_is_another_tree():
    assert searched(World(), tree_index=1)[0].nodes != searched(World(), tree_index=0)[0].nodes
    assert searched(World(), tree_index=1)[0].tree_index == 1


def test_each_leaf_is_asked_for_once_and_no_tree_waits():
    world = World()
    searched(world, n=5)
    asked = [(leaf.problem.id, leaf.node) for leaves in world.calls for leaf in leaves]
    assert len(asked) == len(set(asked))
    waves = {
        p.id: [p.id in {leaf.problem.id for leaf in leaves} for leaves in world.calls] for p in problems(5)
    }
    for present in waves.values():  # in every wave from the first to its last
        assert present == sorted(present, reverse=True)


def test_unsolved_trees_go_on_and_keep_what_they_have():
    hopeless = World(rates=(0.0, 1.0, 0.0))
    config = dataclasses.replace(CONFIG, rollouts=2, escalation=(3, 5))
    assert {tree.rollouts for tree in searched(hopeless, config)} == {5}
    assert {tree.rollouts for tree in searched(hopeless, config, training=False)} == {2}
    assert {tree.rollouts for tree in searched(World(rates=(1.0, 0.0, 0.0)), config)} == {2}
    short = searched(hopeless, dataclasses.replace(CONFIG, rollouts=2))
    long = searched(hopeless, config)
    for before, after in zip(short, long, strict=True):
        assert [n.text for n in before.nodes] == [n.text for n in after.nodes[: len(before.nodes)]]


def test_progress_adds_up():
    seen = []
    found = searched(World(), dataclasses.replace(CONFIG, batch=2), on_progress=seen.append)
    last = seen[-1]
    assert (last.problems, last.problems_done) == (6, 6)
    assert last.tokens == sum(tree.tokens for tree in found) > sum(n.tokens for t in found for n in t.nodes)
    assert last.rollouts == sum(tree.rollouts for tree in found)
    assert last.nodes == sum(len(tree.nodes) - 1 for tree in found)
    assert last.trajectories == sum(len(tree.trajectories()) for tree in found)
    assert [s.problems_done for s in seen] == sorted(s.problems_done for s in seen)


def test_only_lost_code_ends_at_once_and_teaches_nothing():
    tree = one(World(rates=(0, 0, 0, 1)).functions())
    assert tree.rollouts == 1 and {node.status for node in tree.nodes[1:]} == {"unknown"}
    assert all((node.visits, node.value_sum) == (0, 0.0) for node in tree.nodes)


def test_only_broken_code_ends_at_once():
    tree = one(World(rates=(0, 0, 1)).functions())
    assert tree.rollouts == 1 and tree.nodes[0].visits == 0
    assert {node.status for node in tree.nodes[1:]} == {"exception"}


@pytest.mark.parametrize("ppm", [False, True])
@pytest.mark.parametrize("reference_code", [False, True])
def test_a_step_nothing_is_known_of_is_as_if_it_had_not_been_proposed(ppm, reference_code):
    world = World(ppm=ppm)

    def grown(lost):
        def propose(leaves):
            named = [
                dataclasses.replace(leaf, node=leaf.steps) for leaf in leaves
            ]  # not by the node's number
            known = [[world.candidate(leaf, k) for k in range(leaf.n - 1)] for leaf in named]
            return [[*lost, *candidates] for candidates in known]

        functions = dataclasses.replace(world.functions(), propose=propose)
        config = dataclasses.replace(CONFIG, reference_code=reference_code)
        found = grow_trees(problems(6), functions, config, round=1, training=True)
        return found, [
            {t.steps(i): (n.visits, n.value_sum) for i, n in enumerate(t.nodes) if n.status != "unknown"}
            for t in found
        ]

    trees, values = grown([step("# lost ")])
    assert all(any(n.status == "unknown" for n in t.nodes) for t in trees)
    assert values == grown([])[1]


def test_identical_candidates_are_one_child():
    tree = one(
        scripted(propose=lambda leaf: [step("#same")] * leaf.n), dataclasses.replace(CONFIG, max_depth=4)
    )
    assert [node.depth for node in tree.nodes] == [0, 1, 2, 3, 4]
    assert tree.nodes[-1].status == "depth" and tree.nodes[-1].value_sum == -1.0
    assert tree.rollouts == 1  # the dead end closes the whole path


@pytest.mark.parametrize(
    "candidates",
    [
        [],
        [Candidate("", (), 0.0, "step")],
        [Candidate("", (), 0.0, "length")] * 3,
        [Candidate("# and on" * 50, (1,) * 50, -9.0, "length")],
    ],
)
def test_nothing_usable_ends_defined(candidates):
    def empty_is_malformed(steps):
        return StepVerdict(steps[-1], "ok" if steps[-1] else "malformed")

    tree = one(scripted(propose=lambda leaf: candidates, check=empty_is_malformed))
    assert tree.rollouts == 1 and len(tree.nodes) == 1 + bool(candidates)
    assert not tree.solved and not tree.trajectories()
    assert all(node.status == "malformed" for node in tree.nodes[1:])


def test_steps_without_end_stop_at_the_depth_limit():
    count = iter(range(10**6))
    functions = scripted(propose=lambda leaf: [step(f"#{next(count)}") for _ in range(leaf.n)])
    tree = one(functions, dataclasses.replace(CONFIG, max_depth=3))
    assert max(node.depth for node in tree.nodes) == 3
    assert tree.rollouts == CONFIG.rollouts and tree.nodes[0].visits == 0


def test_a_ppm_that_gives_nan_is_named():
    functions = scripted(score=lambda requests: [np.full(len(texts), np.nan) for _, _, texts in requests])
    with pytest.raises(UserError, match=r"p0: the PPM gave nan"):
        one(functions)


def test_training_without_a_reference_backs_nothing_up():
    unknown = [dataclasses.replace(p, answer="") for p in problems(3)]
    for tree in grow_trees(unknown, World().functions(), CONFIG, round=1, training=True):
        assert tree.nodes[0].visits == 0 and tree.rollouts > 0
        assert {n.grade for n in tree.nodes if n.status == "answer"} <= {"ungraded"}
        assert all(n.q == 0.0 for n in tree.nodes if n.status in ("ok", "answer"))


@pytest.mark.parametrize("reference_code", [False, True])
def test_one_ungraded_answer_among_others_moves_no_value(reference_code):
    """Every value is a mean of +1 and -1 alone, of as many answers as there were visits."""
    world, config = World(rates=(0.5, 0.5, 0.0)), dataclasses.replace(CONFIG, reference_code=reference_code)

    def grade(requests):
        grades = zip(requests, world.grade(requests), strict=True)
        return ["ungraded" if answer == "1" else g for (_, answer), g in grades]

    functions = dataclasses.replace(world.functions(), grade=grade)
    found = grow_trees(problems(6), functions, config, round=1, training=True)
    assert {n.grade for tree in found for n in tree.nodes} == {None, "right", "wrong", "ungraded"}
    for tree in found:
        for i, node in enumerate(tree.nodes):
            counted = [
                n for j, n in enumerate(tree.nodes) if n.visits and n.grade and i in (0, *tree.path(j))
            ]
            assert "ungraded" not in {n.grade for n in counted}
            if node.status in ("ok", "answer"):
                assert node.visits == len(counted)
                assert node.value_sum == sum({"right": 1, "wrong": -1}[n.grade] for n in counted)


def test_too_many_candidates_are_refused():
    with pytest.raises(ValueError, match="4 candidates asked for, 5 given"):
        one(scripted(propose=lambda leaf: [step(str(i)) for i in range(5)]))


def test_no_problems_no_trees():
    assert grow_trees([], World().functions(), CONFIG, round=1, training=True) == []


def test_the_first_answer_of_an_expansion_stays_with_the_other_steps():
    def propose(leaf):
        texts = ["\\boxed{1}", "#a good step", "\\boxed{3}", "#another"]
        return [Candidate(t, (1,), 0.0, "answer" if "boxed" in t else "step") for t in texts]

    paper = one(scripted(propose=propose), dataclasses.replace(CONFIG, rollouts=1))
    assert [n.text for n in paper.nodes[1:4]] == ["\\boxed{1}", "#a good step", "#another"]
    released = one(scripted(propose=propose), dataclasses.replace(CONFIG, rollouts=1, reference_code=True))
    assert [n.text for n in released.nodes[1:]] == ["\\boxed{1}"]


def test_the_released_depth_limit_is_one_deeper_after_a_shorter_first_rollout():
    functions = scripted(propose=lambda leaf: [step(f"#{leaf.node} {k}") for k in range(leaf.n)])
    config = dataclasses.replace(CONFIG, max_depth=2, reference_code=True)
    first = one(functions, dataclasses.replace(config, rollouts=1))
    assert {(node.depth, node.status) for node in first.nodes} == {(0, "ok"), (1, "ok"), (2, "ok")}
    second = one(functions, dataclasses.replace(config, rollouts=2))
    assert {(node.depth, node.status) for node in second.nodes[len(first.nodes) :]} == {(3, "depth")}


@pytest.mark.parametrize(
    "wrong", [{"rollouts": 0}, {"candidates": 0}, {"max_depth": 0}, {"batch": -1}, {"temperature": -0.1}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(UserError, match=f"search.{next(iter(wrong))}: .* given"):
        SearchConfig(**wrong)


def test_escalation_must_grow():
    with pytest.raises(UserError, match=r"search.escalation: \(16, 64\) given"):
        SearchConfig(rollouts=16, escalation=(16, 64))


def test_a_good_ppm_finds_more_than_none():
    """The PPM that knows which moves are good beats the search without one."""

    def knows(requests):
        return [
            np.array([sum(" good " in s for s in (*steps, t)) / DEPTH for t in ts])
            for _, steps, ts in requests
        ]

    world = World(rates=(0.2, 0.8, 0.0))
    config = dataclasses.replace(CONFIG, rollouts=4)
    without = grow_trees(problems(40), world.functions(), config, round=1, training=True)
    guided = dataclasses.replace(world.functions(), score=knows)
    with_ppm = grow_trees(problems(40), guided, config, round=1, training=True)
    assert sum(t.solved for t in with_ppm) > sum(t.solved for t in without) + 5
