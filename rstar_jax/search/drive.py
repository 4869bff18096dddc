"""The loop that all strategies share: every tree stands at its own point, and none waits for another.

A turn goes once round the queues; each is handed what is ready in one submit and gives what it has
finished, whatever that is. One tree's slow program or long step so delays that tree alone. Waiting, when
nothing has finished:

- A cooperative queue (the engine) did a bounded piece of work by being polled: go round again.
- Where one queue alone has anything open, which works by itself, and no budget of seconds runs, it is
  waited for.
- Otherwise several work by themselves: sleep, from 0.1 ms doubling up to 5 ms. Bells between threads would
  save at most that, of steps that take a thousand times as long.

Results of a tree are handed to it as they come. Where a decision depends on several of them (tokens spent, a
vote settled) they are handed over together, in the order asked for, so that nothing depends on who was first.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Protocol

from rstar_jax.queues import Part, Queue
from rstar_jax.search import collector
from rstar_jax.search.budget import exhausted_budget, vote_is_decided
from rstar_jax.search.config import SearchConfig
from rstar_jax.search.contract import Leaf, OnProgress, Queues, SearchStats
from rstar_jax.search.expand import ExpandConfig, Expansion
from rstar_jax.search.grow import SearchState
from rstar_jax.types import Ended, Node, Problem, Tree

_NAP, _LONGEST_NAP = 1e-4, 5e-3  # seconds


class Clock(Protocol):
    """Source of time: the module `time`, or a test's."""

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float, /) -> None: ...


@dataclasses.dataclass(frozen=True)
class SearchEvent:
    """An expansion, or the end of a tree.

    problem_index: which of the problems. leaf, children: empty at an end. tree: makes the
    tree as it is now; call it at once, as the tree goes on.
    """

    problem_index: int
    done: bool
    tree: Callable[[], Tree]
    leaf: Leaf | None = None
    children: Sequence[Node] = ()


class _Run:
    """One problem in the loop: waiting -> open expansions -> done, by its own state machine or a budget.

            SearchState.start()            Expansion.children known           no leaf is wanted, or over()
    problem ------------------> leaves open ----------------------> update() ------------------------> done
                                    ^                                  |
                                    `------------ new leaves ----------'

    open: its expansions under way, in the order asked for. begun: it has one.
    """

    def __init__(self, problem_index: int, growing: SearchState, began: float, together: bool):
        self.problem_index, self.growing, self.began, self.together = problem_index, growing, began, together
        self.open: dict[Expansion, None] = {}
        self.tokens = 0
        self.begun = False
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

    def tree(self) -> Tree:
        return dataclasses.replace(
            self.growing.tree(), ended=self.ended or self.growing.ended, tokens=self.tokens
        )


class _Dispatcher:
    """The queues: what is to be asked, what is open, and whose it is."""

    def __init__(self, queues: Queues):
        self._queues: dict[str, Queue] = {"check": queues.check, "grade": queues.grade}
        if queues.score is not None:
            self._queues["score"] = queues.score
        self._queues["propose"] = queues.propose
        self._ready: dict[str, list[tuple[Any, tuple[_Run, Expansion, Any]]]] = {
            name: [] for name in self._queues
        }
        self._open: dict[str, dict[int, tuple[_Run, Expansion, Any]]] = {name: {} for name in self._queues}

    def ask(self, kind: str, request: Any, run: _Run, expansion: Expansion, key: Any) -> None:
        self._ready[kind].append((request, (run, expansion, key)))

    def turn(self, wait: bool) -> Iterator[list[tuple[str, _Run, Expansion, Any, Any]]]:
        """Go once round the queues: hands out what is ready, takes what has finished.

        wait: for a queue that alone has anything to do and does it by itself. A cooperative one
        is left after each piece of work, so that whoever watches or ends the search is heard. Candidates are
        asked for last, with what the other queues have just made ready.
        """
        if not any(self._open.values()) and not any(self._ready.values()):
            raise RuntimeError("trees wait for results, but nothing was asked for")
        for name, queue in self._queues.items():
            if ready := self._ready[name]:
                self._ready[name] = []
                tickets = queue.submit([request for request, _ in ready])
                self._open[name].update(zip(tickets, (whose for _, whose in ready), strict=True))
            if self._open[name]:
                alone = not any(
                    self._open[other] or self._ready[other] for other in self._open if other != name
                )
                yield self._finished(name, queue.poll(wait and alone and not queue.cooperative))

    def _finished(
        self, name: str, results: list[tuple[int, Any]]
    ) -> list[tuple[str, _Run, Expansion, Any, Any]]:
        tickets, finished = self._open[name], []
        for ticket, result in results:
            if ticket not in tickets:
                raise RuntimeError(
                    f"'{name}' reported ticket {ticket}, which this search did not ask for or had already: "
                    "two searches may not share a queue at a time"
                )
            early = isinstance(result, Part)
            whose = tickets[ticket] if early else tickets.pop(ticket)
            finished.append(("sample", *whose, result.result) if early else (name, *whose, result))
        return finished

    @property
    def must_nap(self) -> bool:
        """Return whether everything open works by itself."""
        return not any(self._queues[name].cooperative for name, tickets in self._open.items() if tickets)

    def forget(self, run: _Run | None = None) -> None:
        """Drops all that is asked for a run, or for all of them."""
        for name, queue in self._queues.items():
            self._ready[name] = [entry for entry in self._ready[name] if run and entry[1][0] is not run]
            mine = [t for t, whose in self._open[name].items() if run is None or whose[0] is run]
            for ticket in mine:
                del self._open[name][ticket]
            if mine:
                queue.cancel(mine)


def stream(
    problems: Sequence[Problem],
    make: Callable[[Problem], SearchState],
    manner: ExpandConfig,
    queues: Queues,
    config: SearchConfig,
    *,
    on_progress: OnProgress | None = None,
    clock: Clock = time,
) -> Generator[SearchEvent, None, None]:
    """Searches every problem, `config.batch` at a time, and tells of every expansion as it happens.

    Ends with the last problem; closing the iterator, or what any queue or `on_progress` raises, ends it at
    once. Either way nothing stays open in the queues.
    """
    dispatcher, runs, waiting = _Dispatcher(queues), dict[_Run, None](), iter(enumerate(problems))
    done = expansions = tokens = nap = 0
    rollouts = trajectories = nodes = 0
    together = bool(config.max_tokens) or config.early_stop

    def expand(run: _Run, leaves: list[Leaf]) -> None:
        for leaf in leaves:
            expansion = Expansion(leaf, manner)
            run.open[expansion] = None
            dispatcher.ask("propose", leaf, run, expansion, None)

    def over(run: _Run) -> Ended | None:
        seconds = clock.monotonic() - run.began if config.max_seconds else 0.0
        if why := exhausted_budget(run.tokens, seconds, config.max_tokens, config.max_seconds):
            return why
        if config.early_stop and vote_is_decided(
            run.growing.votes(), run.growing.answers_remaining(), config.vote
        ):
            return "vote"
        return None

    def close(run: _Run) -> SearchEvent:
        nonlocal done
        if run.open:
            dispatcher.forget(run)
        del runs[run]
        done += 1
        return SearchEvent(run.problem_index, True, run.tree)

    def begin() -> Iterator[SearchEvent]:
        while len(runs) < config.batch and (entry := next(waiting, None)) is not None:
            run = _Run(entry[0], make(entry[1]), clock.monotonic(), together)
            runs[run] = None
            expand(run, run.growing.start())
            if not run.open:
                yield close(run)

    def hand_over(run: _Run, expansion: Expansion) -> Iterator[SearchEvent]:
        nonlocal expansions, tokens, rollouts, trajectories, nodes
        growing, wanted = run.growing, []
        for complete in run.ready(expansion):
            children = complete.children or []
            run.begun = True
            run.tokens += complete.tokens
            tokens += complete.tokens
            expansions += 1
            before = growing.rollouts, growing.trajectories, growing.nodes
            wanted += growing.update(complete.leaf, children)
            rollouts += growing.rollouts - before[0]
            trajectories += growing.trajectories - before[1]
            nodes += growing.nodes - before[2]
            yield SearchEvent(run.problem_index, False, run.tree, complete.leaf, children)
        if not run.open and not wanted:
            yield close(run)
        elif wanted and (why := over(run)):
            run.ended = why
            yield close(run)
        else:
            expand(run, wanted)

    try:
        with collector.rarely():
            yield from begin()
            while runs:
                idle = True
                for finished in dispatcher.turn(wait=not config.max_seconds):
                    for kind, run, expansion, key, result in finished:
                        idle = False
                        if run not in runs:  # ended by a result that came with this one
                            continue
                        for queue, name, request in expansion.take(kind, key, result):
                            dispatcher.ask(queue, request, run, expansion, name)
                        if expansion.children is not None:
                            yield from hand_over(run, expansion)
                if config.max_seconds:
                    now = clock.monotonic()
                    # A tree has its first expansion, whatever that took: programs may have been compiled.
                    for run in [r for r in runs if r.begun and now - r.began >= config.max_seconds]:
                        run.ended = "seconds"
                        yield close(run)
                yield from begin()
                if on_progress is not None:
                    counts = (rollouts, trajectories, nodes, tokens, expansions)
                    on_progress(SearchStats(len(problems), done, *counts))
                nap = 0.0 if not idle else min(_LONGEST_NAP, 2 * nap or _NAP)
                if nap and runs and dispatcher.must_nap:
                    clock.sleep(nap)
    finally:
        dispatcher.forget()
