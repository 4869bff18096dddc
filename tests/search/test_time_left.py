"""The time left against schedules whose end is known: injected times, no clock."""

from __future__ import annotations

import dataclasses
import random

import pytest

from rstar_jax.search.time_left import EndedTrees, Load, SearchTimes, TreePace, time_left
from tests.search.fake_queues import Clock, timed
from tests.search.scripted import World, grow_trees, problems
from tests.search.test_scheduler import config_of

EDGE = 1e-9


@dataclasses.dataclass
class Tree:
    """goal: rollouts that it may have; it may end before, as nothing is left to expand."""

    pace: TreePace
    goal: int
    rollouts: list[float]  # seconds of each, alone
    rest: float = 0.0  # of the one under way

    def __post_init__(self):
        self.rest = self.rollouts[0]

    @property
    def remaining(self):
        return self.goal - self.pace.rollouts


def estimates(works, batch, share=None, goal=0):
    """The end of a search, and (time, estimate) in the midst of all that happens between two rollouts' ends.

    works: of each tree, the seconds of its rollouts alone. share: how many trees the engine holds at full
    speed; more go slower together.
    """
    now, begun, trees, times, found = 0.0, 0, [], SearchTimes(0.0), []
    while begun < len(works) or trees:
        while begun < len(works) and len(trees) < batch:
            trees.append(Tree(TreePace(now), goal or len(works[begun]), works[begun]))
            begun += 1
            times.goes_on(trees[-1].pace, 1, now)
        speed = min(1.0, share / len(trees)) if share else 1.0
        step = min(tree.rest for tree in trees) / speed
        for part in (0.25, 0.75):
            at, under_way = now + part * step, [(tree.pace, tree.remaining) for tree in trees]
            found.append((at, times.left(at, len(works) - begun, under_way)))
        now += step
        for tree in list(trees):
            tree.rest -= step * speed
            if tree.rest <= EDGE:
                times.rollouts(tree.pace, 1, now)
                if tree.pace.rollouts < len(tree.rollouts):
                    tree.rest = tree.rollouts[tree.pace.rollouts]
                else:
                    trees.remove(tree)
                    times.goes_on(tree.pace, 0, now)
                    times.ended(tree.pace, tree.remaining)
    return now, found


def errors(works, batch, share=None, since=0.1, goal=0):
    """Errors of the predicted end as shares of the whole run, after a share of it; the estimate is above 0
    throughout."""
    end, found = estimates(works, batch, share, goal)
    assert all(left > 0 for _, left in found if left is not None)
    return [(at + left - end) / end for at, left in found if left is not None and at >= since * end]


def varied(draw, count=16):
    return [draw.uniform(0.5, 1.5) for _ in range(count)]


@pytest.mark.parametrize(("batch", "share"), [(16, None), (16, 4), (200, None)])
def test_trees_of_a_kind_are_foreseen_within_a_third_of_the_run(batch, share):
    draw = random.Random(batch)
    for works in ([[1.0] * 16] * 80, [varied(draw) for _ in range(80)]):
        assert max(map(abs, errors(works, batch, share, since=0.2))) < 0.34


def test_a_tail_of_slow_trees_is_foreseen_as_they_show_their_pace():
    """Paces by a Pareto law of index 2: within 0.4 of the run after a tenth of it, a sixth after half."""
    draw = random.Random(3)
    works = [[factor * seconds for seconds in varied(draw)] for factor in map(draw.paretovariate, [2] * 80)]
    assert max(map(abs, errors(works, 80, since=0.1))) < 0.4
    assert max(map(abs, errors(works, 80, since=0.5))) < 1 / 6


@pytest.mark.parametrize("batch", [16, 80])
def test_trees_that_end_before_their_rollouts_are_done_do_not_mislead(batch):
    """One to five of sixteen rollouts, and nothing is left to expand."""
    draw = random.Random(batch)
    works = [varied(draw, draw.randint(1, 5)) for _ in range(80)]
    assert max(map(abs, errors(works, batch, since=0.25, goal=16))) < 0.5


@pytest.mark.parametrize("slow", [1, 30])
def test_where_all_share_a_full_engine_their_getting_faster_is_learnt(slow):
    """Eighty trees side by side on an engine that holds eight: each gets ten times as fast towards the end,
    which nothing tells at first; once it is half over that is known."""
    draw = random.Random(5)
    works = [varied(draw) for _ in range(80)]
    works[60] = [slow * seconds for seconds in works[60]]
    found = errors(works, 80, 8, since=0.5)
    assert min(found) > -0.2 and max(found) < 0.65


@pytest.mark.parametrize("place", [10, 60])
def test_one_slow_tree_is_foreseen_long_before_it_is_alone(place):
    """Thirty times as slow: the others end after a tenth of the run."""
    draw = random.Random(place)
    works = [varied(draw) for _ in range(80)]
    works[place] = [30 * seconds for seconds in works[place]]
    assert max(map(abs, errors(works, 40, since=0.3))) < 0.25


@pytest.mark.parametrize("share", [None, 8])
def test_a_tree_that_stands_still_is_expected_to_go_on(share):
    """A program that hangs in the last rollout of all, which nothing foretold: "98 %, 0:03 left" for 100 s is
    what an overall rate makes of it. Told is half as long as it has stood, never less."""
    draw = random.Random(7)
    works = [varied(draw) for _ in range(79)] + [[1.0] * 15 + [100.0]]
    end, found = estimates(works, 40, share)
    at, left = found[-1]  # in the midst of that rollout, all others done
    stood = at - max(before for before, _ in found[:-2])
    assert left > 0.4 * stood and at + left - end < 0.25 * end


def test_the_more_it_has_stood_the_longer_it_is_expected_to():
    pace = TreePace(0.0)
    pace.goes_on(1, 0.0)
    pace.ended(3, 3.0)
    told = [time_left(3.0 + stood, 0.0, 0, [(pace, 1)], EndedTrees(99, 396, 396.0)) for stood in range(200)]
    assert told == sorted(told) and told[0] > 0.3 and told[100] == pytest.approx(50)


def test_trajectories_that_go_on_together_are_no_queue():
    """Sixteen at a time end about when one does, not sixteen times as late."""
    pace = TreePace(0.0)
    pace.goes_on(16, 0.0)
    pace.ended(1, 10.0)
    pace.goes_on(15, 10.0)
    assert 3 < time_left(10.0, 0.0, 0, [(pace, 15)], EndedTrees(3, 48, 480.0)) < 20


def test_nothing_is_told_before_anything_is_known():
    pace = TreePace(0.0)
    pace.goes_on(1, 0.0)
    assert time_left(5.0, 0.0, 3, [(pace, 4)], EndedTrees()) is None
    assert time_left(5.0, 0.0, 0, [], EndedTrees(3, 12, 9.0)) is None


@pytest.mark.parametrize("strategy", ["mcts", "mcts_repeated", "sample", "beam", "greedy"])
def test_a_search_tells_it_while_it_runs(strategy):
    """Checks of one problem take thirty times as long; told at the end is less than at the middle, and never
    nothing while a tree is open."""
    clock, told = Clock(), []
    slow = lambda request: 15.0 if request[0].id == "p5" else 0.5  # noqa: E731
    queues = timed(World(ppm=True).functions(), clock, chunk=0.1, check=slow)

    def tell(stats):
        if stats.problems_done < stats.problems:
            told.append((clock.now, stats.left()))

    grow_trees(problems(9), queues, config_of(strategy), round=1, clock=clock, on_progress=tell)
    known = [(at, left) for at, left in told if left is not None]
    assert known and all(left > 0 for _, left in known)
    late = [at + left for at, left in known if at > 0.5 * clock.now]
    assert all(0.6 * clock.now < end < 1.6 * clock.now for end in late)


def test_rollouts_that_are_expected_follow_what_a_tree_has_come_to():
    """Unsolved trees that went beyond the first total count to the last one."""
    clock, seen = Clock(), []
    world = World(rates=(0.0, 0.9, 0.1))  # never right
    queues = timed(world.functions(), clock)
    config = config_of("mcts", rollouts=4, escalation=(8, 64), candidates=8)
    tell = lambda stats: seen.append((stats.rollouts, stats.left()))  # noqa: E731
    grow_trees(problems(1), queues, config, round=1, training=True, clock=clock, on_progress=tell)
    first = max(left for rollouts, left in seen if rollouts == 3)
    assert min(left for rollouts, left in seen if rollouts == 5) > 5 * first


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_how_much_trees_share_is_read_from_their_paces(power):
    load, now, lanes = Load(0.0), 0.0, 64
    load.change(lanes, now)
    assert load.sharing() == 0  # nothing to compare with
    while lanes > 4:
        now += 20 * lanes**power / lanes
        load.ended(20)
        load.change(-lanes // 2, now)
        lanes //= 2
    assert load.sharing() == pytest.approx(power, abs=0.01)


def test_the_slowest_tree_gets_what_the_others_leave_where_they_share():
    trees = [(TreePace(0.0), 1) for _ in range(9)] + [(TreePace(0.0), 16)]
    for pace, _ in trees:
        pace.goes_on(1, 0.0)
        pace.ended(4, 4.0)
    alone, shared = (time_left(4.0, 0.0, 0, trees, EndedTrees(), sharing) for sharing in (0.0, 1.0))
    assert alone > 12 and shared < alone / 4


def test_a_tree_that_has_not_begun_takes_as_long_as_any():
    """All lanes at their last rollouts, and one tree to come."""
    trees = [(TreePace(0.0), 1) for _ in range(4)]
    for pace, _ in trees:
        pace.goes_on(1, 0.0)
        pace.ended(15, 15.0)
    assert (
        time_left(15.0, 0.0, 0, trees, EndedTrees()) < 1 < 14 < time_left(15.0, 0.0, 1, trees, EndedTrees())
    )
