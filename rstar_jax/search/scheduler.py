"""The search as a queue of problems: every tree stands at its own point, and none waits for another.

    search = Search(queues)
    tickets = search.submit([SearchRequest(problem, config, round=1), ...])
    for ticket, told in search.poll(): ...      # Part(SearchEvent) at each expansion, in the end the Tree

A poll is a turn: it goes once round the queues; each is handed what is ready in one submit and gives what it
has finished, whatever that is. One tree's slow program or long step so delays that tree alone. Waiting, when
nothing has finished:

- A cooperative queue (the engine) did a bounded piece of work by being polled: go round again.
- Where one queue alone has anything open, which works by itself, and no budget of seconds runs, it is
  waited for.
- Otherwise several work by themselves: sleep, from 0.1 ms doubling up to 5 ms. Bells between threads would
  save at most that, of steps that take a thousand times as long.

Budgets count the seconds of a clock that stands still while a queue compiles programs.

Results of a tree are handed to it as they come. Where a decision depends on several of them (tokens spent, a
vote settled) they are handed over together, in the order asked for, so that nothing depends on who was first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol

from rstar_jax.queues import Part, Queue
from rstar_jax.search import collector
from rstar_jax.search.budget import exhausted_budget, vote_is_decided
from rstar_jax.search.config import SearchConfig
from rstar_jax.search.contract import Leaf, Queues, SearchStats
from rstar_jax.search.dispatch import Dispatcher
from rstar_jax.search.expand import ExpandConfig, Expansion
from rstar_jax.search.grow import SearchState
from rstar_jax.search.time_left import SearchTimes, TreePace
from rstar_jax.types import Ended, Node, Problem, Tree

_NAP, _LONGEST_NAP = 1e-4, 5e-3  # seconds


class Clock(Protocol):
    """Source of time: the module `time`, or a test's."""

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float, /) -> None: ...


@dataclasses.dataclass(frozen=True)
class SearchRequest:
    """A problem and how it is searched.

    round, tree_index: name the randomness, with the problem. training: answers are valued by their grade and
    unsolved trees escalate; else by the PPM. client: who asks. Of one client `config.batch` trees grow at a
    time, in the order they were asked for; clients do not wait for each other's.
    """

    problem: Problem
    config: SearchConfig
    round: int = 0
    tree_index: int = 0
    training: bool = False
    client: Hashable = None


@dataclasses.dataclass(frozen=True)
class SearchEvent:
    """An expansion. leaf, children: what was expanded. tree: makes the tree as it is now; call it before the
    next poll, as the tree goes on."""

    leaf: Leaf
    children: Sequence[Node]
    tree: Callable[[], Tree]


@dataclasses.dataclass
class _Counts:
    """What a client's trees have come to."""

    problems: int = 0
    problems_done: int = 0
    rollouts: int = 0
    trajectories: int = 0
    nodes: int = 0
    tokens: int = 0
    expansions: int = 0


class _Run:
    """One problem in the loop: waiting -> open expansions -> done, by its own state machine or a budget.

            SearchState.start()            Expansion.children known           no leaf is wanted, or over()
    problem ------------------> leaves open ----------------------> update() ------------------------> done
                                    ^                                  |
                                    `------------ new leaves ----------'

    open: its expansions under way, in the order asked for. begun: it has one. pace: of its rollouts.
    """

    def __init__(
        self, ticket: int, request: SearchRequest, growing: SearchState, manner: ExpandConfig, began: float
    ):
        self.ticket, self.request, self.growing, self.manner = ticket, request, growing, manner
        self.began, self.config = began, request.config
        self.together = bool(self.config.max_tokens) or self.config.early_stop
        self.open: dict[Expansion, None] = {}
        self.tokens = 0
        self.begun = False
        self.pace = TreePace(began)
        self.ended: Ended | None = None

    def ready(self, expansion: Expansion) -> list[Expansion]:
        """Return the expansions to hand over, now that this one is complete."""
        if not self.together:
            del self.open[expansion]
            return [expansion]
        if any(other.children is None for other in self.open):
            return []
        done, self.open = list(self.open), {}
        return done

    def over(self, now: Callable[[], float]) -> Ended | None:
        """Name what ends the search before its rollouts are done, if something does."""
        c = self.config
        seconds = now() - self.began if c.max_seconds else 0.0
        if why := exhausted_budget(self.tokens, seconds, c.max_tokens, c.max_seconds):
            return why
        if c.early_stop and vote_is_decided(self.growing.votes(), self.growing.answers_remaining(), c.vote):
            return "vote"
        return None

    def tree(self) -> Tree:
        return dataclasses.replace(
            self.growing.tree(), ended=self.ended or self.growing.ended, tokens=self.tokens
        )


# What makes a request's state machine, once it is begun, and how its leaves are expanded.
Plan = tuple[Callable[[], SearchState], ExpandConfig]


class Search(Queue[SearchRequest, Tree]):
    """Trees of problems, each told when it ends; and, as `Part`s, a SearchEvent at every expansion.

    Its queues are its own while anything is open. What one of them raises ends all that is open, after what
    was finished by then is told. plan: makes a request's tree; raises UserError for one that it refuses, as
    `submit` does then. clock: where time comes from.
    """

    cooperative = True

    def __init__(self, queues: Queues, plan: Callable[[SearchRequest], Plan], *, clock: Clock = time) -> None:
        super().__init__()
        self._plan, self._clock = plan, clock
        self._dispatcher = Dispatcher[_Run](queues)
        self._waiting: dict[Hashable, deque[tuple[int, SearchRequest, Plan]]] = {}
        self._runs: dict[int, _Run] = {}
        self._growing: dict[Hashable, int] = {}  # trees of each client
        self._counts: dict[Hashable, _Counts] = {}
        self._times: dict[Hashable, SearchTimes] = {}
        self._nap = 0.0
        self._failure: Exception | None = None
        self._rarely = contextlib.ExitStack()

    def stats(self, client: Hashable = None, problems: int | None = None) -> SearchStats:
        """Count what a client's trees have come to. problems: how many there are, with those that are not
        submitted yet."""
        counts = vars(self._counts.get(client, _Counts()))
        total = counts["problems"] if problems is None else problems
        return SearchStats(**{**counts, "problems": total}, left=functools.partial(self._left, client, total))

    def _left(self, client: Hashable, problems: int) -> float | None:
        """Estimate the seconds until so many problems of a client are done."""
        if client not in self._times:
            return None
        times, trees = self._times[client], [r for r in self._runs.values() if r.request.client == client]
        under_way = [(run.pace, run.growing.rollouts_remaining()) for run in trees]
        waiting = max(0, problems - self._counts[client].problems_done - len(trees))
        return times.left(self._now(), waiting, under_way)

    def _now(self) -> float:
        """Seconds of the clock, less those in which programs were compiled."""
        return self._clock.monotonic() - self._dispatcher.compile_seconds

    def submit(self, requests: Sequence[SearchRequest]) -> list[int]:
        """Take requests as `Queue.submit`. Raises UserError for one that no strategy takes; then none is
        taken."""
        for request in requests:
            self._plan(request)
        return super().submit(requests)

    def _begin(self, entries: Mapping[int, SearchRequest]) -> None:
        for ticket, request in entries.items():
            self._waiting.setdefault(request.client, deque()).append((ticket, request, self._plan(request)))
            self._counts.setdefault(request.client, _Counts()).problems += 1

    def _work(self, block: bool) -> None:
        """Take a turn; `poll` takes further ones where it is to block."""
        del block
        if not self._open:
            return
        if self._failure is None:
            if not self._runs:
                self._rarely.enter_context(collector.rarely())
            try:
                self._turn()
            except Exception as error:
                self._failure = error
        if self._failure is not None and not self._done:
            failure, self._failure = self._failure, None
            self.cancel(list(self._open))
            raise failure
        if not self._runs:
            self._rarely.close()

    def _turn(self) -> None:
        self._start()
        idle, timed = True, [run for run in self._runs.values() if run.config.max_seconds]
        for kind, finished in self._dispatcher.turn(wait=not timed) if self._runs else ():
            for (_, run, expansion, key), result in finished:
                idle = False
                if run.ticket not in self._runs:  # ended by a result that came with this one
                    continue
                for queue, name, request in expansion.take(kind, key, result):
                    self._dispatcher.ask(queue, request, run, expansion, name)
                if expansion.children is not None:
                    self._hand_over(run, expansion)
        now = self._now() if timed else 0.0
        # A tree has its first expansion, whatever that took: it may have waited for other trees.
        begun = [run for run in timed if run.begun and run.ticket in self._runs]
        self._close([run for run in begun if now - run.began >= run.config.max_seconds], "seconds")
        self._start()
        self._nap = 0.0 if not idle else min(_LONGEST_NAP, 2 * self._nap or _NAP)
        if self._nap and self._runs and not self._done and self._dispatcher.must_nap:
            with self._dispatcher.awaiting():
                self._clock.sleep(self._nap)

    def _start(self) -> None:
        """Begin trees of every client that has fewer than its batch."""
        for client, waiting in self._waiting.items():
            while waiting and self._growing.get(client, 0) < waiting[0][1].config.batch:
                ticket, request, (make, manner) = waiting.popleft()
                run = _Run(ticket, request, make(), manner, now := self._now())
                self._runs[ticket] = run
                times = self._times.setdefault(client, SearchTimes(now))
                self._growing[client] = self._growing.get(client, 0) + 1
                self._expand(run, run.growing.start())
                times.goes_on(run.pace, len(run.open), now)
                if not run.open:
                    self._close([run])

    def _expand(self, run: _Run, leaves: Sequence[Leaf]) -> None:
        for leaf in leaves:
            expansion = Expansion(leaf, run.manner)
            run.open[expansion] = None
            self._dispatcher.ask("propose", leaf, run, expansion, None)

    def _hand_over(self, run: _Run, expansion: Expansion) -> None:
        """Tell a tree of its children, and see how it goes on."""
        growing, counts, wanted = run.growing, self._counts[run.request.client], list[Leaf]()
        rollouts = growing.rollouts
        for complete in run.ready(expansion):
            children = complete.children or []
            run.begun = True
            before = growing.rollouts, growing.trajectories, growing.nodes
            wanted += growing.update(complete.leaf, children)
            run.tokens += complete.tokens
            counts.tokens += complete.tokens
            counts.expansions += 1
            counts.rollouts += growing.rollouts - before[0]
            counts.trajectories += growing.trajectories - before[1]
            counts.nodes += growing.nodes - before[2]
            self._tell(run.ticket, Part(SearchEvent(complete.leaf, children, run.tree)))
        if ended := growing.rollouts - rollouts:
            self._times[run.request.client].rollouts(run.pace, ended, self._now())
        if not run.open and not wanted:
            self._close([run])
        elif wanted and (why := run.over(self._now)):
            self._close([run], why)
        else:
            self._expand(run, wanted)
            if len(run.open) != run.pace.lanes:
                self._times[run.request.client].goes_on(run.pace, len(run.open), self._now())

    def _close(self, runs: Sequence[_Run], ended: Ended | None = None) -> None:
        self._leave(runs)
        for run in runs:
            run.ended = ended
            self._counts[run.request.client].problems_done += 1
            self._times[run.request.client].ended(run.pace, run.growing.rollouts_remaining())
            self._finish(run.ticket, run.tree())

    def _leave(self, runs: Sequence[_Run]) -> None:
        if at_work := {run for run in runs if run.open}:
            self._dispatcher.forget(at_work)
        for run in runs:
            del self._runs[run.ticket]
            self._times[run.request.client].goes_on(run.pace, 0, self._now())
            self._growing[run.request.client] -= 1

    def _drop(self, tickets: set[int]) -> None:
        for client, waiting in self._waiting.items():
            self._waiting[client] = deque(entry for entry in waiting if entry[0] not in tickets)
        self._leave([self._runs[ticket] for ticket in tickets & self._runs.keys()])
        if not self._runs:
            self._rarely.close()
