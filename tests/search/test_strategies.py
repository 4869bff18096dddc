"""Each strategy in the scripted world: what it asks for, what it chooses, what ends it."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from rstar_jax.errors import UserError
from rstar_jax.search import STRATEGIES, SearchConfig, votes
from rstar_jax.search.rules import REFERENCE_RULES
from rstar_jax.types import Candidate, Origin
from tests.search.fake_queues import Clock, timed
from tests.search.scripted import DEPTH, Early, Functions, World, grow_trees, problems

CONFIG = SearchConfig(rollouts=6, candidates=4, searches=3, subtrees=3, beam_width=2, max_depth=5)
LIVELY = (0.6, 0.3, 0.1)


def grown(strategy="mcts", *, world=None, n=5, training=False, round=1, tree_index=0, **options):
    world = world or World(ppm=True, rates=LIVELY)
    config = dataclasses.replace(CONFIG, strategy=strategy, **options)
    return grow_trees(
        problems(n), world.functions(), config, round=round, tree_index=tree_index, training=training
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("training", [False, True])
def test_every_strategy_gives_whole_trees_of_its_own(strategy, training):
    world = World(ppm=True, rates=(0.5, 0.3, 0.1, 0.1))
    found = grown(strategy, world=world, training=training)
    leaves = [leaf for leaves in world.calls for leaf in leaves]
    assert len({(leaf.problem.id, leaf.tree_index, leaf.node) for leaf in leaves}) == len(leaves)
    for problem, tree in zip(problems(5), found, strict=True):
        assert tree.problem == problem and tree.ended in ("rollouts", "exhausted")
        assert tree.tokens >= sum(node.tokens for node in tree.nodes)
        asked = {
            (Origin(leaf.tree_index, leaf.node, leaf.n, leaf.temperature), leaf.steps)
            for leaf in leaves
            if leaf.problem == problem
        }
        for i, node in enumerate(tree.nodes[1:], 1):
            assert 0 <= node.parent < i and node.depth == tree.nodes[node.parent].depth + 1
            assert -1 <= node.q <= 1
            # All that it takes to sample it again: the leaf that it was proposed at.
            assert (node.origin, tree.steps(node.parent)) in asked
        counted = [i for i, node in enumerate(tree.nodes) if node.status == "answer" and node.visits]
        assert set(votes.finals(tree)) <= set(counted)
    one_by_one = [
        grow_trees(
            [p],
            World(ppm=True, rates=(0.5, 0.3, 0.1, 0.1)).functions(),
            dataclasses.replace(CONFIG, strategy=strategy),
            round=1,
            training=training,
        )[0]
        for p in problems(5)
    ]
    assert one_by_one == found


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_says_how_many_leaves_it_may_ask_for(strategy):
    """And asks for as many: slots beyond these would be decoded for nobody."""
    options = {"parallel_leaves": 2} if strategy.startswith("mcts") else {}
    config = dataclasses.replace(CONFIG, strategy=strategy, **options)
    clock, open_now = Clock(), [0]
    queues = timed(World(ppm=True, rates=LIVELY).functions(), clock, propose=lambda leaf: 1 + leaf.node % 3)
    submit = queues.propose.submit

    def count(requests):
        tickets = submit(requests)
        open_now.append(len(queues.propose.open))
        return tickets

    queues.propose.submit = count
    grow_trees(problems(12), queues, dataclasses.replace(config, batch=1), round=1, clock=clock)
    assert max(open_now) == STRATEGIES[strategy].leaves(config)


def test_what_was_given_up_on_its_way_is_no_repeat():
    def propose(leaves):
        return [
            [Candidate("To", (1,), -1.0, "length", "no <code>")] * 2
            + [Candidate("long", (1,), -1.0, "length")] * 2
            for _ in leaves
        ]

    functions = dataclasses.replace(World().functions(), propose=propose)
    (tree,) = grow_trees(problems(1), functions, CONFIG, round=1)
    assert [(node.text, node.status, node.detail) for node in tree.nodes[1:]] == [
        ("To", "malformed", "no <code>"),
        ("To", "malformed", "no <code>"),
        ("long", "malformed", "length"),
    ]


def test_candidates_are_named_as_they_were_drawn():
    world = World(ppm=True, rates=LIVELY)
    for tree in grown(world=world):
        for node in tree.nodes[1:]:
            leaf = next(
                leaf
                for leaves in world.calls
                for leaf in leaves
                if leaf.problem == tree.problem and leaf.node == node.origin.node
            )
            assert world.candidate(leaf, node.candidate).text == node.text


def test_step_beam_search_keeps_the_best_of_all_beams():
    world = World(ppm=True, rates=(0.6, 0.4))
    for tree in grown("beam", world=world):
        mine = [leaf for leaves in world.calls for leaf in leaves if leaf.problem == tree.problem]
        for depth in range(DEPTH + 1):
            expanded = [leaf for leaf in mine if len(leaf.steps) == depth]
            assert len(expanded) == (1 if depth == 0 else CONFIG.beam_width)
            assert all(leaf.n == CONFIG.candidates for leaf in expanded)
            if depth:
                level = [i for i, node in enumerate(tree.nodes) if node.depth == depth]
                best = sorted(level, key=lambda i: -tree.nodes[i].ppm)[: CONFIG.beam_width]
                assert {leaf.steps for leaf in expanded} == {tree.steps(i) for i in best}
        answers = [n for n in tree.nodes if n.status == "answer"]
        chosen = [n for n in answers if n.visits]
        assert len(chosen) == tree.rollouts == CONFIG.beam_width
        assert min(n.ppm for n in chosen) >= max((n.ppm for n in answers if not n.visits), default=-1)


def test_an_answer_keeps_its_beam():
    """The best candidate of the first depth is an answer: one of the two beams is then taken."""

    def propose(leaves):
        return [
            [
                Candidate("\\boxed{1}", (1,), 0.0, "answer"),
                *(Candidate(f"#step {len(leaf.steps)} {k}", (1,), 0.0, "step") for k in range(3)),
            ]
            for leaf in leaves
        ]

    def score(requests):
        return [np.array([1.0 if "boxed" in t else 0.1 for t in texts]) for _, _, texts in requests]

    world = World()
    functions = Functions(propose, world.check, world.grade, score)
    config = dataclasses.replace(CONFIG, strategy="beam")
    (tree,) = grow_trees(problems(1), functions, config, round=1)
    assert [n.depth for n in tree.nodes if n.status == "answer" and n.visits] == [1, 2]
    assert max(n.depth for n in tree.nodes) == 2


def test_diverse_subtrees_know_nothing_of_each_other():
    for tree in grown("dvts", beam_width=1):
        below = tree.children()
        assert len(below[0]) > CONFIG.candidates  # roots of several searches
        gone_on = [i for i in below[0] if below[i]]
        assert 1 < len(gone_on) <= CONFIG.subtrees
    apart = grown("dvts", beam_width=1, subtrees=1)
    for one, several in zip(apart, grown("dvts", beam_width=1), strict=True):
        assert [n.text for n in several.nodes[: len(one.nodes)]] == [n.text for n in one.nodes]


def test_repeated_searches_are_those_of_other_indices_and_each_has_one_vote():
    config = {"scores": "mean"}
    apart = [grown(tree_index=i) for i in range(CONFIG.searches)]
    for p, tree in enumerate(grown("mcts_repeated", **config)):
        trees = [of[p] for of in apart]
        assert tree.nodes[1:] == tuple(
            dataclasses.replace(n, parent=n.parent + shift if n.parent else 0)
            for t, shift in zip(trees, shifts(trees), strict=True)
            for n in t.nodes[1:]
        )
        assert tree.nodes[0].visits == sum(t.nodes[0].visits for t in trees)
        best = [max(votes.score(t, i, "mean") for i in votes.finals(t)) for t in trees if votes.finals(t)]
        assert [votes.score(tree, i, "mean") for i in tree.finals] == best


def shifts(trees):
    return [0, *itertools.accumulate(len(t.nodes) - 1 for t in trees)][: len(trees)]


def test_best_of_n_reads_steps_or_answers():
    for scores, read in (("min", {"ok", "answer"}), ("orm", {"answer"})):
        found = grown("best_of_n", scores=scores)
        assert {n.status for t in found for n in t.nodes if n.ppm is not None} == read
        assert all(len(t.children()[0]) == CONFIG.rollouts for t in found)


def test_a_budget_of_tokens_ends_at_the_expansion_that_reaches_it():
    for strategy in STRATEGIES:
        free, bound = grown(strategy), grown(strategy, max_tokens=12)
        for whole, cut in zip(free, bound, strict=True):
            assert (cut.ended == "tokens") == (whole.tokens > cut.tokens)
            assert cut.ended != "tokens" or cut.tokens >= 12
            assert cut.tokens <= whole.tokens and len(cut.nodes) <= len(whole.nodes)
        assert strategy == "greedy" or any(t.ended == "tokens" for t in bound)


def test_a_budget_of_seconds_ends_a_search_on_time():
    clock = Clock()
    queues = timed(World(ppm=True, rates=LIVELY).functions(), clock)
    config = dataclasses.replace(CONFIG, rollouts=100, max_seconds=20.0)
    for tree in grow_trees(problems(2), queues, config, round=1, clock=clock):
        assert tree.ended == "seconds" and len(tree.nodes) > 10
    assert clock.now < 21


@pytest.mark.parametrize("strategy", ["sample", "best_of_n", "mcts", "beam", "dvts", "mcts_repeated"])
@pytest.mark.parametrize("vote", ["majority", "weighted"])
def test_a_settled_vote_ends_a_search_and_is_what_the_whole_search_says(strategy, vote):
    world = Early(ppm=True, rates=LIVELY)  # samples of one length would all end at a time
    options = {"rollouts": 12, "vote": vote, "searches": 7, "subtrees": 5, "beam_width": 3, "world": world}
    whole = grown(strategy, n=8, **options)
    early = grown(strategy, n=8, early_stop=True, **options)
    for all_of_it, part in zip(whole, early, strict=True):
        answers = [votes.final_answer(t, vote, equal=str.__eq__) for t in (all_of_it, part)]
        assert part.ended != "vote" or answers[0] == answers[1]
        assert len(part.nodes) <= len(all_of_it.nodes)
    if vote == "majority" and strategy in ("sample", "mcts"):
        assert any(t.ended == "vote" and t.tokens < w.tokens for t, w in zip(early, whole, strict=True))


def test_parallel_leaves_make_trees_of_the_same_kind():
    world = World(ppm=True, rates=LIVELY)
    alone = grown(world=world, rollouts=12)
    turns = len(world.calls)
    world = World(ppm=True, rates=LIVELY)
    for tree in grown(world=world, rollouts=12, parallel_leaves=4):
        visited = [i for i, n in enumerate(tree.nodes) if n.status == "answer" and n.visits]
        assert tree.nodes[0].visits == len(visited) <= tree.rollouts <= 12
        for i, node in enumerate(tree.nodes):
            if node.status == "ok" and i:
                assert node.visits == 1 + sum(i in tree.path(a) for a in visited)
                values = node.ppm + sum(tree.nodes[a].value_sum for a in visited if i in tree.path(a))
                assert node.value_sum == pytest.approx(values)
    assert len(world.calls) < 0.6 * turns
    assert grown(rollouts=12, parallel_leaves=1, virtual_loss=3.0) == alone


def test_more_parallel_leaves_than_rollouts_cost_nothing_and_change_nothing():
    for options in ({}, {"escalation": (9, 12), "training": True}):
        assert grown(rollouts=4, parallel_leaves=10**9, **options) == grown(
            rollouts=4, parallel_leaves=12, **options
        )


def test_escalation_may_ask_for_more_candidates():
    hopeless = World(rates=(0.0, 1.0, 0.0))
    grown(world=hopeless, training=True, rollouts=2, escalation=(4, 8), escalation_candidates=(6, 9))
    widths = [leaf.n for leaves in hopeless.calls for leaf in leaves if leaf.problem.id == "p0"]
    assert widths == sorted(widths) and set(widths) == {4, 6, 9}


def test_budgets_follow_the_difficulty():
    found = {
        rates: {t.rollouts for t in grown(world=World(rates=rates), training=True, **BY_DIFFICULTY)}
        for rates in ((1, 0, 0), (0, 1, 0))
    }
    assert found == {(1, 0, 0): {2}, (0, 1, 0): {9}}
    mixed = grown(world=World(rates=(0.7, 0.3)), n=30, training=True, **BY_DIFFICULTY)
    for tree in mixed:
        grades = [t.grade for t in tree.trajectories()]
        if tree.rollouts == 5:
            assert {"right", "wrong"} <= set(grades)
    assert {t.rollouts for t in mixed} >= {2, 5, 9}
    assert {t.rollouts for t in grown(**BY_DIFFICULTY)} == {2}  # at test time nobody knows


BY_DIFFICULTY = {"rollouts": 2, "by_difficulty": (2, 5, 9)}


def test_each_rule_of_the_reference_code_makes_a_difference_and_all_are_it():
    options = {"world": World(rates=(0.5, 0.2, 0.3)), "n": 20, "training": True, "max_depth": 3}
    paper = grown(**options)
    assert grown(reference_rules=REFERENCE_RULES, **options) == grown(reference_code=True, **options) != paper
    answers_early = {"answer_alone", "answers_at_once"}  # need an expansion of answers beside steps
    for rule in REFERENCE_RULES:
        world = Early(rates=(0.5, 0.2, 0.3)) if rule in answers_early else options["world"]
        rest = {**options, "world": world}
        # Nobody stands so deep but where there is an extra depth.
        beside = ("extra_depth",) if rule == "short_first" else ()
        assert grown(reference_rules=(*beside, rule), **rest) != grown(reference_rules=beside, **rest), rule


def test_other_choices_have_flags_that_measure_them():
    plain = grown()
    for flag in ({"first_visit": False}, {"drop_repeats": False}, {"unvisited": "first"}, {"c": 0.1}):
        world = Repeating(ppm="unvisited" not in flag, rates=LIVELY)
        assert grown(**flag, world=world) != grown(world=world), flag
    assert any(n.visits == 0 for t in grown(first_visit=False) for n in t.nodes if n.status == "ok")
    assert all(n.visits for t in plain for n in t.nodes[1:] if n.status == "ok")


class Repeating(World):
    """The last candidate is the first again."""

    def candidate(self, leaf, k):
        return super().candidate(leaf, 0 if k == leaf.n - 1 else k)


@pytest.mark.parametrize(
    "wrong",
    [
        {"escalation": (64,), "by_difficulty": (16, 32, 64)},
        {"strategy": "beam", "escalation": (64,)},
        {"strategy": "sample", "by_difficulty": (16, 16, 32)},
        {"strategy": "dvts", "parallel_leaves": 2},
        {"reference_code": True, "parallel_leaves": 2},
        {"scores": "orm"},
        {"early_stop": True, "vote": "best"},
        {"early_stop": True, "top_k": 4},
        {"early_stop": True, "scores": "min"},
        {"early_stop": True, "reference_rules": ("answers_at_once",)},
    ],
)
def test_what_does_not_go_together_is_refused(wrong):
    with pytest.raises(UserError, match=r"search: .* and .* do not go together \(.*\)\. Leave one out\."):
        SearchConfig(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vote": "majorty"}, "search.vote: 'majorty' given, one of best, majority, weighted expected"),
        ({"scores": "median"}, "search.scores: 'median' given"),
        ({"reference_rules": ("lazy",)}, "search.reference_rules: .*'lazy_closing'"),
        ({"escalation": (64,), "escalation_candidates": (8, 8)}, "search.escalation_candidates"),
        ({"escalation": (64,), "escalation_candidates": (2**17,)}, "a number from 1 to 65536 for each"),
        ({"candidates": 2**16 + 1}, "search.candidates: 65537 given, at most 65536 expected"),
        ({"by_difficulty": (8, 16, 32)}, r"search.by_difficulty: \(8, 16, 32\) given, .* \(16, 32, 128\)"),
        ({"max_tokens": -1}, "search.max_tokens: -1 given"),
        ({"max_seconds": float("nan")}, "search.max_seconds: nan given"),
        ({"beam_width": 0}, "search.beam_width: 0 given"),
    ],
)
def test_settings_are_checked(wrong, message):
    with pytest.raises(UserError, match=message):
        SearchConfig(**wrong)


def test_training_data_are_not_cut_by_a_vote():
    with pytest.raises(UserError, match=r"search.early_stop"):
        grown(early_stop=True, training=True)
