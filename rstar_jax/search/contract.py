"""Interface of a search: the queues it asks, its requests, and the counts it tells while it runs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

import numpy as np

from rstar_jax.queues import Queue
from rstar_jax.types import Candidate, CheckRequest, Grade, GradeRequest, Handle, Problem, StepVerdict


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A node that wants `n` candidate steps.

    steps: the texts from the root's child down to the node. tree_index, node: with the round and the problem
    they name the randomness, so that a search gives the same trees whatever else is searched with it, and in
    whatever order results come. No two leaves of a problem have the same.
    token_ids: of each step, those that it was sampled with; empty if not known. handle: where the text that
    ends here is kept; None: it is looked for, or read again.
    """

    problem: Problem
    steps: tuple[str, ...]
    tree_index: int
    node: int
    n: int
    temperature: float
    token_ids: tuple[tuple[int, ...], ...] = ()
    handle: Handle | None = dataclasses.field(default=None, compare=False, repr=False)


# A request to score: problem, the texts of the steps so far, the new steps' texts.
ScoreRequest = tuple[Problem, tuple[str, ...], list[str]]

# What an answer is worth while training; an ungraded one has no value.
GRADE_VALUES: dict[str, float] = {"right": 1.0, "wrong": -1.0}


@dataclasses.dataclass(frozen=True)
class Queues:
    """The policy, the interpreter, the grader and the PPM, each at its own pace; one search at a time.

    propose: a leaf's candidates, at most n. Those that nobody can go on from are told so by their handles.
    check: the verdict on the last step of a trajectory.
    grade: an answer against its problem's reference; "ungraded" where that could not be found out.
    score: one float array of values in [-1, 1], one for each new step; None without a PPM.
    awaiting: makes a context for the time in which the search can do nothing but wait for queues that work by
        themselves.
    """

    propose: Queue[Leaf, list[Candidate]]
    check: Queue[CheckRequest, StepVerdict]
    grade: Queue[GradeRequest, Grade]
    score: Queue[ScoreRequest, np.ndarray] | None = None
    awaiting: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext


@dataclasses.dataclass(frozen=True)
class SearchStats:
    """Progress of a search: counts since its start, all problems together.

    trajectories: answers reached and valued. nodes: made, failed ones included. tokens: written by the
    policy, dropped repeats included. expansions: leaves that got their children. left: estimates the seconds
    until all are done, when called; None while nothing tells (`time_left.time_left`).
    """

    problems: int
    problems_done: int
    rollouts: int
    trajectories: int
    nodes: int
    tokens: int
    expansions: int
    left: Callable[[], float | None] = dataclasses.field(default=lambda: None, compare=False, repr=False)


# Called after every turn of the loop, which is a chunk of decoding at most; it may raise to end the search.
OnProgress = Callable[[SearchStats], None]
