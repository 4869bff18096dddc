"""What claims cost where there are many of them: as many blocks as 747,000 problems make, by 64 hosts."""

import random

from tests.evolve.claiming import Host, World

BLOCKS, SIZE, HOSTS = 747_000 // 256, 8, 64  # blocks are small here, so that the test is


def test_claims_of_64_hosts_on_as_many_blocks_as_747_000_problems_make_cost_little():
    draw, world = random.Random(0), World(BLOCKS * SIZE, SIZE)
    paces = [draw.choice((2, 3, 4)) for _ in range(HOSTS - 1)] + [1]
    hosts = [Host(world, i, HOSTS, SIZE, draw, pace) for i, pace in enumerate(paces)]
    turns = 0
    while not all(host.is_finished for host in hosts):
        world.now, turns = world.now + 10.0, turns + 1
        for host in hosts:
            if not host.is_finished:
                host.turn()
    assert not world.singles and len(world.shards) == BLOCKS
    assert len(world.started) == len({place for _, place in world.started}) == BLOCKS * SIZE
    # What the slowest has begun is not given away.
    assert turns <= BLOCKS * SIZE / sum(paces) + 3 * SIZE
    beats = HOSTS * turns
    # A block: claimed, then said to be made and done. Few claims fail.
    assert world.counts["create"] <= 3 * BLOCKS and world.counts["write"] <= beats + 1.5 * BLOCKS
    # A beat looks at each claim that is held, the first host's at the beats of all.
    assert world.counts["read"] <= (4 + 2) * beats
    assert world.counts["listed"] <= 30 * HOSTS * 2 * BLOCKS
