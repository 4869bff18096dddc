"""Interface of a search: its services, its requests, and the counts it tells while it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from rstar_jax.types import Candidate, Grade, Problem, StepVerdict

Request = TypeVar("Request", contravariant=True)
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A node that wants `n` candidate steps.

    steps: the texts from the root's child down to the node. tree, node: with the round and the problem they
    name the randomness, so that a search gives the same trees whatever else is searched with it, and in
    whatever order results come. No two leaves of a problem have the same.
    """

    problem: Problem
    steps: tuple[str, ...]
    tree_index: int
    node: int
    n: int
    temperature: float


# A trajectory whose last step is to be checked; an answer to be graded.
CheckRequest = tuple[Problem, tuple[str, ...]]
GradeRequest = tuple[Problem, str]
# A request to score: problem, the texts of the steps so far, the new steps' texts.
ScoreRequest = tuple[Problem, tuple[str, ...], list[str]]

# What an answer is worth while training; an ungraded one has no value.
GRADE_VALUES: dict[str, float] = {"right": 1.0, "wrong": -1.0}


class Service(Protocol[Request, Result]):
    """Something that answers requests while the search goes on: the engine, the sandbox, the grader, the PPM.

    One search at a time may use it. What `submit` or `poll` raises ends the search.
    works_in_poll: its work is done by whoever polls: every poll that finds requests open does a bounded
        piece of it (a chunk of decoding). False if it works by itself (threads, processes).
    """

    works_in_poll: bool

    def submit(self, requests: Sequence[Request]) -> list[int]:
        """Takes requests that are ready at the same time; returns their tickets, in order. Never waits."""
        ...

    def poll(self, wait: bool) -> list[tuple[int, Result]]:
        """Return what is finished and was not reported yet, in any order. wait: at least one, if any is
        open."""
        ...

    def cancel(self, tickets: Iterable[int]) -> None:
        """These are not wanted any more, and are not reported from now on; their work may be spared."""
        ...


@dataclasses.dataclass(frozen=True)
class Services:
    """The policy, the interpreter, the grader and the PPM, each at its own pace.

    propose: a leaf's candidates, at most n. Before the list it may report the same ticket with single
        candidates as they are sampled: these are then checked while the others are still written.
    check: the verdict on the last step of a trajectory.
    grade: an answer against its problem's reference; "ungraded" where that could not be found out.
    score: one float array of values in [-1, 1], one for each new step; None without a PPM.
    """

    propose: Service[Leaf, list[Candidate] | Candidate]
    check: Service[CheckRequest, StepVerdict]
    grade: Service[GradeRequest, Grade]
    score: Service[ScoreRequest, np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Functions:
    """The same as plain functions, each called with all requests that are ready, and waited for."""

    propose: Callable[[Sequence[Leaf]], list[list[Candidate]]]
    check: Callable[[Sequence[CheckRequest]], list[StepVerdict]]
    grade: Callable[[Sequence[GradeRequest]], list[Grade]]
    score: Callable[[Sequence[ScoreRequest]], list[np.ndarray]] | None = None


@dataclasses.dataclass(frozen=True)
class SearchStats:
    """Progress of a search: counts since its start, all problems together.

    trajectories: answers reached and valued. nodes: made, failed ones included. tokens: written by the
    policy, dropped repeats included. expansions: leaves that got their children.
    """

    problems: int
    problems_done: int
    rollouts: int
    trajectories: int
    nodes: int
    tokens: int
    expansions: int


# Called after every turn of the loop, which is a chunk of decoding at most; it may raise to end the search.
OnProgress = Callable[[SearchStats], None]
