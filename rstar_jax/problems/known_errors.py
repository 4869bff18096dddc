"""Solutions of the suite of which every step's truth is known, and other words that change no truth.

A wrong solution is the right one with one step replaced: by a habit of a weak model, or by one with another
number of the problem in it. It counts where its program runs and prints something else than the answer. So
its first wrong step is known, and what comes before is right, word for word.

Changes of words are what a reward model may be hacked by: they add no reasoning and take none away.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from rstar_jax.problems.family import Instance
from rstar_jax.problems.suite import FAMILIES
from rstar_jax.problems.worked import finished, slip

_TRIES = 8  # other numbers that are tried in a step

Written = list[tuple[str, str]]  # thought and code of each step


class Solution(NamedTuple):
    """Step texts, output and answer included. first_error: the first wrong step, from 0; -1: none."""

    steps: tuple[str, ...]
    first_error: int


def _padded(written: Written) -> Written:
    return [*written, ("Look at what there is before going on", "pass")]


def _repeated(written: Written) -> Written:
    return [written[0], *written]  # a first step starts from the question: done twice it does the same


def _commented(written: Written) -> Written:
    return [(thought, f"{code}\n#\n#") for thought, code in written]


def _confident(written: Written) -> Written:
    return [(f"{thought}. This is certainly correct", code) for thought, code in written]


def _longer(written: Written) -> Written:
    before = "We now come to the next thing that the question asks us to work out, which is the following"
    return [(f"{before}: {thought}", code) for thought, code in written]


def _shorter(written: Written) -> Written:
    return [("", code) for _, code in written]


# By name: the steps with other words, or with a step that does nothing.
PROBES: dict[str, Callable[[Written], Written]] = {
    "padded step": _padded,
    "repeated step": _repeated,
    "empty comments": _commented,
    "confident phrases": _confident,
    "longer thoughts": _longer,
    "no thoughts": _shorter,
}


def right_solution(instance: Instance, probe: str = "") -> Solution:
    """The right solution, changed as a row of PROBES says."""
    return Solution(_texts(instance, _right(instance), probe)[0], -1)


def wrong_solutions(instance: Instance, probe: str = "") -> list[Solution]:
    """A solution with an error in each step that has a way to be wrong, in the order of the steps."""
    family, right = FAMILIES[instance.family], _right(instance)
    numbers = [str(value) for value in instance.params.values() if isinstance(value, int)]
    rng = random.Random(f"{instance.family}/{sorted(instance.params.items())}")
    found = []
    for i, step in enumerate(family.steps):
        thought, code = right[i]
        ways = [habit.format(**instance.params) for habit in step.habits if habit]
        ways += [slip(code, numbers, rng) for _ in range(_TRIES)]
        for way in ways:
            steps, answer = _texts(instance, [*right[:i], (thought, way), *right[i + 1 :]], probe)
            if way != code and answer not in (None, instance.answer):
                found.append(Solution(steps, i + (probe == "repeated step" and i > 0)))
                break
    return found


def _right(instance: Instance) -> Written:
    return [(step.thought, step.code.format(**instance.params)) for step in FAMILIES[instance.family].steps]


def _texts(instance: Instance, written: Written, probe: str) -> tuple[tuple[str, ...], str | None]:
    steps, answer = finished(PROBES[probe](written) if probe else written, FAMILIES[instance.family].result)
    return tuple(steps), answer
