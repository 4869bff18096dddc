"""Several hosts share out the problems of a search: none is lost, none is searched twice by living hosts."""

import itertools
import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evolve.claiming import LEASE_S, Host, World


def go_on(world, hosts, draw, seconds=2.0, most=4000):
    """Take turns until all hosts that live are done."""
    for _ in range(most):
        at_work = [host for host in hosts if not host.is_dead and not host.is_finished]
        if not at_work:
            return
        world.now += seconds
        for host in draw.sample(at_work, len(at_work)):
            host.turn()
    raise AssertionError("the hosts do not come to an end")


def require_whole(world, hosts):
    """Every tree lies in its shard, once, and whoever lives is told of all."""
    assert world.on_disk() == dict.fromkeys(range(world.problems), 1) and not world.singles
    for host in hosts:
        if not host.is_dead:
            host.fatal = 0
            told = {p for data in host.leases.made() for p in json.loads(data)}
            assert told | set(host.known) == set(range(world.problems))


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 6), st.integers(1, 60), st.integers(1, 12))
def test_living_hosts_search_each_problem_once(draw, count, problems, size):
    world = World(problems, size)
    there = set(draw.sample(range(problems), draw.randrange(problems)))
    world.singles |= {p for p in there}
    for number in range(-(-problems // size)):
        if all(p in there for p in world.block(number)):  # as a scan leaves it
            world.shards.add(number)
            world.singles -= set(world.block(number))
    hosts = [Host(world, i, count, draw.randrange(1, 9), draw, draw.randrange(1, 5)) for i in range(count)]
    go_on(world, hosts, draw)
    require_whole(world, hosts)
    assert Counter(place for _, place in world.started) == dict.fromkeys(set(range(problems)) - there, 1)


@settings(max_examples=80, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 5), st.integers(1, 60), st.integers(1, 12))
def test_of_dead_hosts_others_take_over_what_is_left(draw, count, problems, size):
    world, suspects = World(problems, size), set()
    hosts = [Host(world, i, count, draw.randrange(1, 9), draw, draw.randrange(1, 4)) for i in range(count)]
    for host in draw.sample(hosts, draw.randrange(1, count)):  # one lives
        host.fatal = draw.choice((0, draw.randrange(1, 12), draw.randrange(1, 120)))
        suspects |= {host.name} if host.fatal else set()
    for _ in range(draw.randrange(40)):
        world.now += draw.choice((0.1, 2.0, 9.0))
        for host in draw.sample(hosts, draw.randrange(count + 1)):
            if not host.is_dead and not host.is_finished:
                host.turn()
        # One that did not get its turns for so long is believed to be dead, and is to find that out.
        suspects |= {h.name for h in hosts if world.now - h.beaten > LEASE_S / 2}
    suspects |= {h.name for h in hosts if world.now - h.beaten > LEASE_S / 2}
    go_on(world, hosts, draw)
    require_whole(world, hosts)
    by_place = dict[int, list[str]]()
    for name, place in world.started:
        by_place.setdefault(place, []).append(name)
    assert set(by_place) == set(range(problems))
    for names in by_place.values():
        assert all(name in suspects for name in names[:-1]) or len(names) == 1


@pytest.mark.parametrize("seconds", [0.04, 7.0])
def test_whatever_a_host_was_at_when_it_was_killed_the_other_ends_the_search(seconds):
    killed = 0
    for fatal, dies in itertools.product(range(1, 35), range(2)):
        draw = random.Random(fatal)
        world = World(7, 3)
        hosts = [Host(world, i, 2, 2, draw, pace=1) for i in range(2)]
        hosts[dies].fatal = fatal
        go_on(world, hosts, draw, seconds, most=30_000)
        killed += any(host.is_dead for host in hosts)
        require_whole(world, hosts)
        lives = next(host for host in hosts if not host.is_dead)
        told = {p for data in lives.leases.made() for p in json.loads(data)}
        assert told == set(range(7))  # also by those that were not there to see it
    assert killed > 25


def test_a_part_that_is_as_small_as_can_be_stays_until_it_is_started():
    draw = random.Random(3)
    world = World(4, 4)
    first, second = (Host(world, i, 2, 8, draw) for i in range(2))
    first.leases.fill(4)
    assert first.leases.take(2) == [0, 1]
    first.leases.give_back()  # the others, one by one
    second.leases.fill(1)
    before = dict(world.objects)
    second.leases.give_back()
    assert world.objects == before and second.leases.take(9) in ([2], [3])


@pytest.mark.parametrize("missed", [("0002-0003", "0003-0004"), ("0003-0004",)])
def test_a_listing_that_misses_what_was_given_back_meanwhile_ends_and_joins_nothing(missed):
    """A host gives parts back, and is done with the rest, from the first to the last name of a listing."""
    draw, world = random.Random(3), World(4, 4)
    first, second = (Host(world, i, 2, 8, draw) for i in range(2))
    first.leases.fill(4)
    started, whole = first.leases.take(2), second.names

    def torn(prefix=""):
        second.names = whole
        first.leases.give_back()
        first.leases.fill(1)
        for place in (*started, *first.leases.take(1)):
            first.put(place, None)
            first.leases.stored(place)
        return [name for name in whole(prefix) if not any(part in name for part in missed)]

    second.names = torn
    second.leases.fill(1)
    assert second.names == whole and not second.leases.all_done()
    go_on(world, [first, second], draw)
    require_whole(world, [first, second])


def test_a_host_that_was_suspended_stops_what_it_has_lost_at_its_next_turn():
    draw = random.Random(0)
    world = World(40, 20)
    first, second = (Host(world, i, 2, 30, draw, pace=1) for i in range(2))
    first.turn()
    begun = first.search.places()
    assert begun
    for _ in range(200):  # the first does not run, the second does
        world.now += 5.0
        second.turn()
    assert second.is_finished and world.on_disk() == dict.fromkeys(range(40), 1)
    first.joint.turn()  # before any beat of its own accord
    assert not first.search.places() and not world.singles
    go_on(world, [first], draw)
    assert first.is_finished and len(world.started) == 40 + len(begun)


@pytest.mark.parametrize(("problems", "size", "count"), [(500, 256, 8), (64, 64, 4), (3, 256, 8)])
def test_few_problems_are_shared_out_evenly(problems, size, count):
    draw = random.Random(1)
    world = World(problems, size)
    hosts = [Host(world, i, count, 256, draw, pace=2) for i in range(count)]
    go_on(world, hosts, draw)
    require_whole(world, hosts)
    of = Counter(name for name, _ in world.started)
    fair = -(-problems // count)
    assert max(of.values()) <= 2 * fair and sum(of.values()) == problems
    assert len(of) >= min(count, problems) * 3 // 4


def test_a_slow_host_gives_back_what_it_has_not_started():
    draw = random.Random(2)
    world = World(64 * 20, 64)
    hosts = [Host(world, i, 4, 16, draw, pace=pace) for i, pace in enumerate((8, 8, 8, 1))]
    turns = 0
    while not all(host.is_finished for host in hosts):
        turns, world.now = turns + 1, world.now + 2.0
        for host in hosts:
            if not host.is_finished:
                host.turn()
        assert turns < 500
    of = Counter(name for name, _ in world.started)
    assert sum(of.values()) == len({place for _, place in world.started}) == 64 * 20
    assert of["host3"] <= 64 + 18 and turns <= 64 * 20 / 25 + 25  # 25 of all end in a turn
