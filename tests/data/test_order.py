"""The order of rows is a function of seed and position: hosts and restarts do not change it."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_jax.data.order import Epochs, order, positions
from rstar_jax.errors import UserError

runs = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 7)), min_size=4, max_size=4)


@given(st.integers(1, 60), st.integers(1, 3), st.integers(-5, 5), runs)
def test_three_resumes_on_other_host_counts_give_the_same_order(size, epochs, seed, runs):
    """runs: for each start hosts, and how many rows each of them learns before all are killed."""
    rows = Epochs(list(range(size)), seed=seed, epochs=epochs)
    unbroken, start, learnt = list(rows), 0, []
    for number, (hosts, steps) in enumerate(runs):
        shares = [positions(len(rows), start=start, host=host, hosts=hosts) for host in range(hosts)]
        assert len({len(share) for share in shares}) == 1
        steps = len(shares[0]) if number == len(runs) - 1 else min(steps, len(shares[0]))
        learnt += [rows[share[step]] for step in range(steps) for share in shares]
        start += hosts * steps
    assert learnt == unbroken[: len(learnt)]
    assert len(rows) - len(learnt) < runs[-1][0]


def test_every_epoch_is_a_permutation_of_its_own():
    first, second = order(1000, 0, 0), order(1000, 0, 1)
    for rows in (first, second, order(1000, 1, 0)):
        assert sorted(rows.tolist()) == list(range(1000))
    # Two permutations that have nothing to do with each other agree in one place on average.
    for other in (second, order(1000, 1, 0), np.arange(1000)):
        assert (first == other).sum() < 10
    rows = Epochs(range(1000), seed=0, epochs=2)
    assert list(rows) == [*first, *second]
    assert pickle.loads(pickle.dumps(rows))[1007] == rows[1007]  # grain's workers are processes


def test_an_order_stays_what_it_is_in_later_releases():
    assert order(8, 3, 2).tolist() == [2, 7, 4, 1, 5, 3, 0, 6]


def test_what_is_not_there_is_refused():
    rows = Epochs("abc", seed=0, epochs=2)
    for position in (-1, 6):
        with pytest.raises(IndexError):
            rows[position]
    with pytest.raises(UserError, match="host: 2 of 2 given"):
        positions(6, host=2, hosts=2)
    with pytest.raises(UserError, match="hosts: 0 given, 1 or more"):
        positions(6, hosts=0)
    with pytest.raises(UserError, match="start: 7 given"):
        positions(6, start=7)
