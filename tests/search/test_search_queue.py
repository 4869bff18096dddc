"""The search as a queue of problems: configs and clients side by side, each with its own trees."""

from __future__ import annotations

import dataclasses

import pytest

from rstar_jax.errors import UserError
from rstar_jax.queues import Part, call
from rstar_jax.search import STRATEGIES, SearchConfig, SearchRequest, search_queue
from rstar_jax.types import Tree
from tests.search.fake_queues import Clock, all_open, shuffled, timed
from tests.search.scripted import World, grow_trees, problems

LIVELY = (0.5, 0.3, 0.1, 0.1)
CONFIG = SearchConfig(rollouts=4, candidates=3, batch=2, searches=2, subtrees=2, beam_width=2)


def requests(count, config=CONFIG, client=None, start=0):
    return [SearchRequest(p, config, round=1, client=client) for p in problems(count, start)]


def test_requests_of_different_strategies_at_a_time_get_the_trees_that_each_gets_alone():
    asked, wanted = [], []
    for i, strategy in enumerate(STRATEGIES):
        config = dataclasses.replace(CONFIG, strategy=strategy, rollouts=2 + i)
        asked += requests(3, config, client=strategy)
        wanted += grow_trees(problems(3), World(ppm=True, rates=LIVELY).functions(), config, round=1)
    queues = shuffled(World(ppm=True, rates=LIVELY).functions(), 7)
    assert call(search_queue(queues), asked) == wanted
    assert all_open(queues) == 0


def test_expansions_are_told_as_parts_and_the_tree_at_the_end():
    search = search_queue(World(ppm=True).functions().queues())
    (ticket,) = search.submit(requests(1))
    events, trees = [], []
    while told := search.poll(block=True):
        for number, what in told:
            assert number == ticket and not trees
            (events if isinstance(what, Part) else trees).append(what)
    (tree,) = trees
    assert isinstance(tree, Tree) and len(tree.nodes) - 1 == sum(len(e.result.children) for e in events) > 3
    stats = search.stats()
    assert (stats.problems, stats.problems_done, stats.expansions) == (1, 1, len(events))
    assert search.poll(block=True) == []


def test_a_client_with_one_problem_does_not_wait_for_one_with_many():
    """By the clock of the queues: with 40 problems ahead of it, two at a time, it takes as long as alone."""
    found = {}
    for ahead in (0, 40):
        clock = Clock()
        queues = timed(World(ppm=True, rates=LIVELY).functions(), clock, chunk=0.1)
        search = search_queue(queues, clock=clock)
        search.submit(requests(ahead, client="many"))
        for _ in range(5 if ahead else 0):
            search.poll()
        began = clock.now
        (mine,) = search.submit(requests(1, client="one", start=50))
        while mine not in dict(entry for entry in search.poll() if not isinstance(entry[1], Part)):
            pass
        found[ahead] = clock.now - began
        assert search.stats("one").problems_done == 1
        assert search.stats("many").problems_done < 10
        search.cancel(list(search._open))
        assert all_open(queues) == 0
    assert found[40] < 1.5 * found[0] + 1


def test_a_client_has_no_more_trees_at_a_time_than_its_batch():
    world = World(ppm=True, rates=LIVELY)
    search = search_queue(world.functions().queues())
    small, large = (dataclasses.replace(CONFIG, batch=n) for n in (1, 4))
    search.submit([*requests(9, small, client="small"), *requests(9, large, client="large", start=20)])
    most = {"small": 0, "large": 0}
    while search._open:
        search.poll()
        for client in most:
            most[client] = max(most[client], sum(r.request.client == client for r in search._runs.values()))
    assert most == {"small": 1, "large": 4}


def test_what_is_cancelled_leaves_nothing_and_the_rest_goes_on():
    queues = shuffled(World(ppm=True, rates=LIVELY).functions(), 3)
    search = search_queue(queues)
    tickets = search.submit(requests(6))
    search.poll()
    search.cancel(tickets[:5])  # two of them are under way
    found = {}
    while told := search.poll(block=True):
        found |= {ticket: tree for ticket, tree in told if not isinstance(tree, Part)}
    (wanted,) = grow_trees(problems(1, 5), World(ppm=True, rates=LIVELY).functions(), CONFIG, round=1)
    assert found == {tickets[5]: wanted} and all_open(queues) == 0


def test_queues_hear_of_all_trees_that_go_at_once():
    """Tree by tree, a server with a slot for each would be asked for those that go next."""
    queues = shuffled(World(ppm=True, rates=LIVELY).functions(), 3)
    search = search_queue(queues)
    tickets = search.submit(requests(6, dataclasses.replace(CONFIG, batch=6)))
    while len(queues.propose.open) < 3:
        search.poll()
    search.cancel(tickets)
    assert queues.propose.cancels == 1 and all_open(queues) == 0


def test_trees_whose_seconds_run_out_together_go_at_once():
    clock = Clock()
    config = dataclasses.replace(CONFIG, rollouts=64, batch=6, max_seconds=30.0)
    functions = World(ppm=True, rates=LIVELY).functions()
    queues = shuffled(functions, 5)
    search = search_queue(queues, clock=clock)
    tickets = search.submit(requests(6, config))
    while not all(run.begun and run.open for run in search._runs.values()) or len(search._runs) < 6:
        search.poll()
    before, clock.now = queues.propose.cancels, clock.now + 1000.0
    found = {}
    while len(found) < 6:
        found |= {ticket: tree for ticket, tree in search.poll() if not isinstance(tree, Part)}
    assert found.keys() == set(tickets) and queues.propose.cancels <= before + 1 and all_open(queues) == 0


def test_what_is_finished_is_told_before_what_failed_is_raised():
    world = World(rates=(1, 0, 0))
    easy = dataclasses.replace(CONFIG, strategy="sample", rollouts=1, max_depth=4, batch=9)

    def grade(asked):
        if any(problem.id == "p1" for problem, _ in asked):
            raise OSError("the grader is tired")
        return world.grade(asked)

    functions = dataclasses.replace(world.functions(), grade=grade)
    search = search_queue(functions.queues())
    (first,) = search.submit(requests(1, easy))
    search.poll()
    search.submit(requests(1, easy, start=1))
    told = []
    with pytest.raises(OSError, match="tired"):
        while True:
            told += [ticket for ticket, what in search.poll(block=True) if isinstance(what, Tree)]
    assert told == [first] and search.poll(block=True) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": dataclasses.replace(CONFIG, strategy="beem")}, "Did you mean 'beam'"),
        ({"config": dataclasses.replace(CONFIG, strategy="beam")}, "there is no PPM here"),
        (
            {"config": dataclasses.replace(CONFIG, early_stop=True, vote="majority"), "training": True},
            "every trajectory counts",
        ),
    ],
)
def test_a_request_that_no_strategy_takes_is_refused_at_once(change, message):
    search = search_queue(World().functions().queues())
    good = requests(2)
    with pytest.raises(UserError, match=message):
        search.submit([*good, dataclasses.replace(good[0], **change)])
    assert not search._open
