"""Work of rounds: rollouts by escalation, tokens, and hours on groups of devices."""

import dataclasses

import pytest

from rstar_jax.plan.cost import QWEN_7B, Shape
from rstar_jax.plan.estimate import Assumed
from rstar_jax.plan.pace import Pace
from rstar_jax.plan.workload import SearchShape, expanding, rollouts, round_work, search_hours
from rstar_jax.topologies import CHIPS

ASSUMED = Assumed()
PACE = Pace(Shape.of(QWEN_7B), CHIPS["v5p"])
LOAD = SearchShape(leaves=32, rows=4, tensor=1, size=2, chunk=16)


def work(problems=1000, each=16.0, candidates=8, ppm=True, solved=0.6):
    return round_work(2, problems, each, candidates, ppm, solved, (2, 1), 4096, ASSUMED)


def test_rollouts_of_those_that_are_unsolved():
    assert rollouts(8, (), 1, 0.0, 0.6) == 8
    # Half way from 40 to 60 percent are solved when 32 are begun: half of the problems go on.
    assert rollouts(16, (32,), 1, 0.4, 0.6) == pytest.approx(16 + 0.5 * 16)
    assert rollouts(16, (32,), 1, 1.0, 1.0) == 16
    # In three parts, 10 percent at a time; whoever is left has a whole tree once more.
    found = rollouts(16, (64, 128), 2, 0.6, 0.9)
    assert found == pytest.approx(16 + 0.3 * 48 + 0.2 * 64 + 0.1 * 128)


def test_work_grows_with_problems_and_rollouts():
    one, two = work(), work(problems=2000)
    assert two.written == 2 * one.written and two.policy_tokens == 2 * one.policy_tokens
    assert work(each=32.0).programs == 2 * one.programs
    assert one.written == 1000 * 16 * 4 * 8 * 80  # half of 8 steps of 80 tokens, 8 candidates
    assert work(solved=0.3).policy_tokens == one.policy_tokens / 2


def test_hours_divide_over_groups():
    one, two = (search_hours(PACE, LOAD, work(), devices, ASSUMED) for devices in (4, 8))
    assert one == pytest.approx(2 * two)
    pairs = dataclasses.replace(LOAD, tensor=2)
    assert expanding(PACE, pairs, work(), ASSUMED).total < expanding(PACE, LOAD, work(), ASSUMED).total
    assert search_hours(PACE, pairs, work(), 8, ASSUMED) > two  # less than twice as fast, half as many groups


def test_a_ppm_reads_what_is_written():
    with_one, without = (expanding(PACE, LOAD, work(ppm=ppm), ASSUMED) for ppm in (True, False))
    assert without.score == 0 < with_one.score
    assert with_one.decode == without.decode and with_one.prefill > without.prefill
