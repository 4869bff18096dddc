"""The loop: trees that wait for nobody, results in any order, and every way in which a search may end."""

from __future__ import annotations

import dataclasses
import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar_jax.errors import UserError
from rstar_jax.queues import Batched, Coded
from rstar_jax.search import STRATEGIES, Queues, SearchConfig, collector, votes
from tests.search.fake_queues import Clock, all_open, shuffled, timed
from tests.search.scripted import Early, World, grow_trees, problems, watch_trees

CONFIG = SearchConfig(rollouts=6, candidates=4, searches=3, subtrees=3, beam_width=2, batch=3)
RATES = (0.5, 0.3, 0.1, 0.1)


def config_of(strategy, **options):
    return dataclasses.replace(CONFIG, strategy=strategy, **options)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), strategy=st.sampled_from(sorted(STRATEGIES)), how=st.integers(0, 4))
def test_the_order_of_results_changes_nothing(seed, strategy, how):
    functions = Early(ppm=True, rates=RATES).functions()
    options = (
        {},
        {"max_tokens": 40},
        {"reference_code": True},
        {"early_stop": True, "vote": "majority"},
        {"parallel_leaves": 3} if strategy.startswith("mcts") else {"batch": 1},
    )[how]
    config = config_of(strategy, **options)
    queues = shuffled(functions, seed)
    found = grow_trees(problems(5), queues, config, round=1)
    assert found == grow_trees(problems(5), functions, config, round=1)
    assert all_open(queues) == 0


def test_a_slow_tree_delays_itself_alone():
    functions = World(ppm=True).functions()
    clock = Clock()
    queues = timed(functions, clock, chunk=0.1, check=lambda request: 1e4 if request[0].id == "p0" else 0.5)
    ends = {}
    for news in watch_trees(problems(4), queues, config_of("mcts"), round=1, clock=clock):
        if news.done:
            ends[news.problem_index] = clock.now
    assert set(ends) == {0, 1, 2, 3} and ends[0] > 1e4 and max(ends[1], ends[2], ends[3]) < 500
    alone = Clock()
    queues = timed(functions, alone, chunk=0.1, check=lambda request: 0.5)
    grow_trees(problems(4)[1:], queues, config_of("mcts"), round=1, clock=alone)
    assert max(ends[1], ends[2], ends[3]) < 2 * alone.now


def test_nobody_spins_while_others_work():
    """Queues with threads of their own: sleeps between polls, none longer than 5 ms."""
    clock = Clock()
    queues = timed(World(ppm=True).functions(), clock, check=lambda r: 3.0, grade=lambda r: 1.0)
    grow_trees(problems(3), queues, config_of("mcts"), round=1, clock=clock)
    polls = sum(s.polls for s in (queues.propose, queues.check, queues.grade, queues.score))
    assert clock.naps and max(clock.naps) <= 5e-3
    assert polls < 4 * clock.now / 5e-3


def test_an_engine_that_works_when_polled_is_not_slept_over():
    clock = Clock()
    queues = timed(World(ppm=True).functions(), clock, chunk=0.05, check=lambda r: 0.01)
    for news in watch_trees(problems(3), queues, config_of("sample"), round=1, clock=clock):
        assert news.problem_index in range(3)
    assert sum(clock.naps) < 0.1 * clock.now


def test_what_is_ready_together_is_asked_for_together():
    world = World()
    clock, submits = Clock(), []
    queues = timed(world.functions(), clock)
    for name in ("propose", "check"):
        queue = getattr(queues, name)
        submit = queue.submit
        queue.submit = lambda requests, submit=submit, name=name: (
            submits.append((name, len(requests))) or submit(requests)
        )
    grow_trees(problems(3), queues, config_of("mcts"), round=1, clock=clock)
    assert submits[0] == ("propose", 3) and submits[1][0] == "check" and submits[1][1] > 3


class Broken(Exception):
    """What a queue of the test raises."""


@pytest.mark.parametrize("name", ["propose", "check", "grade", "score"])
@pytest.mark.parametrize("when", ["submit", "poll"])
def test_what_a_service_raises_ends_the_search_and_leaves_nothing_open(name, when):
    queues = shuffled(World(ppm=True).functions(), 1)

    def fail(*_):
        raise Broken(name)

    setattr(getattr(queues, name), when, fail)
    with pytest.raises(Broken, match=name):
        grow_trees(problems(4), queues, config_of("mcts"), round=1)
    assert all_open(queues) == 0


def test_a_stop_request_ends_the_search_and_leaves_nothing_open():
    queues, seen = shuffled(World(ppm=True).functions(), 2), []

    def on_progress(stats):
        seen.append(stats)
        if stats.nodes > 20:
            raise InterruptedError("stop")

    with pytest.raises(InterruptedError):
        grow_trees(problems(4), queues, config_of("mcts"), round=1, on_progress=on_progress)
    assert all_open(queues) == 0 and seen[-1].nodes > 20


def test_a_search_that_is_watched_can_be_left():
    queues = shuffled(World(ppm=True).functions(), 3)
    watched = watch_trees(problems(4), queues, config_of("mcts"), round=1)
    next(watched)
    watched.close()
    assert all_open(queues) == 0


def test_a_ticket_of_somebody_else_is_named():
    queues = shuffled(World().functions(), 4)
    queues.check.poll = lambda block: [(12345, None)]
    with pytest.raises(RuntimeError, match="'check' reported ticket 12345"):
        grow_trees(problems(1), queues, config_of("mcts"), round=1)


def test_a_program_that_never_ends_costs_the_budget_of_seconds_and_no_more():
    clock = Clock()
    hangs = lambda r: r[0].id == "p1" and len(r[1]) > 1  # noqa: E731
    queues = timed(World().functions(), clock, check=lambda r: 1e9 if hangs(r) else 0.2)
    found = grow_trees(problems(3), queues, config_of("mcts", max_seconds=60.0), round=1, clock=clock)
    assert [tree.ended for tree in found] == ["rollouts", "seconds", "rollouts"]
    assert 60 <= clock.now < 61 and len(found[1].nodes) > 1 and all_open(queues) == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_tree_ends_with_its_seconds_before_it_has_an_expansion(strategy):
    """Where a first step waits for compiling or for other trees, a small budget left nothing at all."""
    clock = Clock()
    queues = timed(World(ppm=True).functions(), clock, check=lambda r: 30.0)
    found = grow_trees(problems(3), queues, config_of(strategy, max_seconds=1.5), round=1, clock=clock)
    assert all(len(tree.nodes) > 1 for tree in found) and any(tree.ended == "seconds" for tree in found)
    assert 30 <= clock.now < 35 and all_open(queues) == 0


class Compiles(Batched):
    """Candidates take a second; before every fourth batch a program may be compiled for 100 s."""

    def __init__(self, function, clock, seconds):
        super().__init__(function)
        self.clock, self.seconds, self.polls, self.compiled = clock, seconds, 0, 0.0

    @property
    def compile_seconds(self):
        return self.compiled

    def _work(self, block):
        if self._open:
            self.polls += 1
            compiling = self.seconds if self.polls % 4 == 0 else 0.0
            self.clock.now += 1.0 + compiling
            self.compiled += compiling
        super()._work(block)


@pytest.mark.parametrize("behind", [False, True])
def test_compiling_costs_no_budget_of_seconds(behind):
    """Also behind a queue that asks another; the trees are those of a search that compiles nothing."""
    found = []
    for seconds in (0.0, 100.0):
        clock = Clock()
        functions = World(ppm=True).functions()
        queue = Compiles(functions.propose, clock, seconds)
        propose = Coded(queue, lambda leaf: leaf, lambda _, found: found) if behind else queue
        queues = dataclasses.replace(functions.queues(), propose=propose)
        config = config_of("mcts", rollouts=50, max_seconds=20.0)
        found.append(grow_trees(problems(2), queues, config, round=1, clock=clock))
        assert 18 < clock.now - queue.compiled < 25 and (queue.compiled > 200) == (seconds > 0)
    assert found[0] == found[1] and found[0][0].ended == "seconds"


def test_progress_is_told_while_nothing_finishes():
    """So that a stop request is heard, and a display goes on."""
    clock, told = Clock(), []
    queues = timed(World().functions(), clock, check=lambda r: 100.0)
    config = config_of("mcts", max_seconds=50.0)
    tell = lambda stats: told.append(clock.now)  # noqa: E731
    grow_trees(problems(2), queues, config, round=1, clock=clock, on_progress=tell)
    assert sum(1 < now < 50 for now in told) > 1000


def test_progress_is_told_while_steps_are_written():
    """An engine that works when polled is left after each chunk, not when a leaf is done."""
    clock, told = Clock(), []
    queues = timed(World().functions(), clock, chunk=0.5, propose=lambda leaf: 100.0)
    tell = lambda stats: told.append(clock.now)  # noqa: E731
    grow_trees(problems(1), queues, config_of("greedy"), round=1, clock=clock, on_progress=tell)
    assert sum(now < 100 for now in told) >= 199


def test_the_answer_so_far_is_there_at_any_moment():
    found = {}
    config = config_of("mcts", vote="majority")
    for news in watch_trees(problems(3), World(ppm=True).functions(), config, round=1):
        tree = news.tree()
        assert news.done == (not news.children and news.leaf is None)
        if news.problem_index in found:
            assert len(found[news.problem_index].nodes) <= len(tree.nodes)
        found[news.problem_index] = tree
        answer = votes.final_answer(tree, "majority", equal=str.__eq__)
        assert (answer is None) == (not tree.trajectories())
    assert [found[i] for i in range(3)] == grow_trees(
        problems(3), World(ppm=True).functions(), config, round=1
    )


def test_an_unknown_strategy_is_named():
    with pytest.raises(UserError, match=r"search.strategy: 'beem' given.*Did you mean 'beam'"):
        grow_trees(problems(1), World().functions(), config_of("beem"), round=1)


@pytest.mark.parametrize("strategy", ["best_of_n", "beam", "dvts", "mcts_repeated"])
def test_what_ranks_by_a_ppm_asks_for_one(strategy):
    with pytest.raises(UserError, match=f"'{strategy}' ranks by a PPM's values"):
        grow_trees(problems(1), World().functions(), config_of(strategy), round=1)


def test_services_are_used_as_they_are():
    queues = shuffled(World(ppm=True).functions(), 5)
    assert isinstance(queues, Queues)
    grow_trees(problems(2), queues, config_of("greedy"), round=1)
    assert queues.score.submits == []  # nobody reads a PPM's values here


def test_the_garbage_collector_comes_rarely_until_the_last_search_has_ended():
    before, running = gc.get_threshold(), collector.THRESHOLDS
    one, other = (watch_trees(problems(2), World().functions(), config_of("mcts"), round=1) for _ in range(2))
    next(one), next(other)
    assert gc.get_threshold() == running != before
    one.close()
    assert gc.get_threshold() == running
    for _ in other:
        pass
    assert gc.get_threshold() == before
    try:
        gc.set_threshold(0)  # turned off by somebody
        next(one := watch_trees(problems(1), World().functions(), config_of("mcts"), round=1))
        assert gc.get_threshold()[0] == 0
        one.close()
        assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)
