"""Bad policies, PPMs and problems under every strategy: defined outcomes, never a hang."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rstar_jax.errors import UserError
from rstar_jax.search import STRATEGIES, SearchConfig, votes
from rstar_jax.types import Candidate, StepVerdict
from tests.search.scripted import Functions, World, grow_trees, problems

CONFIG = SearchConfig(rollouts=6, candidates=4, searches=3, subtrees=3, beam_width=2, max_depth=5)
LIVELY = (0.6, 0.3, 0.1)

BAD = {
    "never ends a step": [Candidate("# and on" * 50, (1,) * 50, -9.0, "length")] * 4,
    "broken code": [Candidate(f"# fails {k}", (1,), -1.0, "step") for k in range(4)],
    "identical": [Candidate("# good 1", (1,), -1.0, "step")] * 4,
    "empty": [Candidate("", (), 0.0, "step")] * 4,
    "nothing": [],
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_policy_ends_defined(strategy, bad, training):
    def check(requests):
        return [
            StepVerdict(steps[-1], "malformed") if not steps[-1] else World.verdict(steps[-1])
            for _, steps in requests
        ]

    world = World(ppm=True)
    functions = Functions(lambda ls: [BAD[bad][: l.n] for l in ls], check, world.grade, world.score)  # noqa: E741
    config = dataclasses.replace(CONFIG, strategy=strategy)
    for tree in grow_trees(problems(3), functions, config, round=1, training=training):
        assert not tree.solved and not tree.trajectories() and tree.ended in ("rollouts", "exhausted")
        assert votes.final_answer(tree, "weighted", equal=str.__eq__) is None
        depth = CONFIG.max_depth if bad == "identical" else min(1, len(BAD[bad]))
        assert max(node.depth for node in tree.nodes) == depth
        last = {node.status for node in tree.nodes if node.depth == depth and depth}
        assert last <= {"malformed", "exception", "depth"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.5, np.float32(-1.0001)])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_ppm_that_gives_no_number_between_its_bounds_is_named(strategy, value):
    world = World(ppm=True)
    score = lambda requests: [np.full(len(texts), value) for _, _, texts in requests]  # noqa: E731
    functions = dataclasses.replace(world.functions(), score=score)
    config = dataclasses.replace(CONFIG, strategy=strategy)
    if strategy in ("greedy", "sample"):  # they never ask it
        found = grow_trees(problems(2), functions, config, round=1)
        assert all(node.ppm is None for tree in found for node in tree.nodes)
        return
    with pytest.raises(UserError, match=rf"problem p\d: the PPM gave {value:.4}.* \[-1, 1\] exp"):
        grow_trees(problems(2), functions, config, round=1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_depth_0_is_refused_and_at_depth_1_only_answers_stand(strategy):
    with pytest.raises(UserError, match=r"search.max_depth: 0 given, at least 1 expected"):
        SearchConfig(strategy=strategy, max_depth=0)
    shallow = dataclasses.replace(CONFIG, strategy=strategy, max_depth=1)
    functions = World(ppm=True, rates=LIVELY).functions()
    for tree in grow_trees(problems(5), functions, shallow, round=1):
        assert {n.status for n in tree.nodes[1:]} <= {"depth", "exception"} and len(tree.nodes) > 1
        assert {n.depth for n in tree.nodes[1:]} == {1} and not tree.trajectories()
    texts = [Candidate(f"\\boxed{{{k}}}", (1,), 0.0, "answer") for k in range(9)]
    functions = World(ppm=True).functions()
    answers = dataclasses.replace(functions, propose=lambda leaves: [texts[: leaf.n] for leaf in leaves])
    config = dataclasses.replace(CONFIG, strategy=strategy, max_depth=1)
    for tree in grow_trees(problems(2), answers, config, round=1):
        assert votes.final_answer(tree, "weighted", equal=str.__eq__) in set("0123456789")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_training_without_a_reference_solves_nothing_and_ends(strategy):
    unknown = [dataclasses.replace(p, answer="") for p in problems(3)]
    config = dataclasses.replace(CONFIG, strategy=strategy)
    functions = World(ppm=True, rates=LIVELY).functions()
    for tree in grow_trees(unknown, functions, config, round=1, training=True):
        assert not tree.solved and tree.rollouts > 0
        assert {n.grade for n in tree.nodes if n.status == "answer"} <= {"ungraded"}
        assert {n.value_sum for n in tree.nodes if n.status == "answer"} <= {0.0}
