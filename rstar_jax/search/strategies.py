"""The strategies by name, and the two ways to run one: to the end, or watched."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.queues import Part
from rstar_jax.search import beam, chains, mcts, repeated
from rstar_jax.search.config import SearchConfig
from rstar_jax.search.contract import OnProgress, Queues
from rstar_jax.search.expand import ExpandConfig
from rstar_jax.search.grow import SearchState, TreeId
from rstar_jax.search.scheduler import Clock, Search, SearchEvent, SearchRequest
from rstar_jax.settings import nearest
from rstar_jax.types import Problem, Tree


@dataclasses.dataclass(frozen=True)
class Strategy:
    """make: a problem's tree that grows by itself. manner: how its leaves are expanded.

    leaves: how many it may ask for at a time. needs_ppm: it ranks by the PPM's values and is nothing without.
    paths: trajectories that share no step, side by side from the root; 0 of a strategy that grows trees.
    """

    make: Callable[[Problem, SearchConfig, TreeId], SearchState]
    manner: Callable[[SearchConfig], ExpandConfig]
    leaves: Callable[[SearchConfig], int]
    needs_ppm: bool = False
    paths: Callable[[Any], int] = lambda _: 0


def _rollouts(config: Any) -> int:
    return config.rollouts


STRATEGIES: dict[str, Strategy] = {
    "greedy": Strategy(chains.greedy, chains.greedy_manner, lambda c: 1, paths=lambda c: 1),
    "sample": Strategy(chains.sampled, chains.greedy_manner, _rollouts, paths=_rollouts),
    "best_of_n": Strategy(chains.sampled, chains.ranked_manner, _rollouts, needs_ppm=True, paths=_rollouts),
    "beam": Strategy(beam.beam, mcts.manner, lambda c: c.beam_width, needs_ppm=True),
    "dvts": Strategy(beam.diverse, mcts.manner, lambda c: c.subtrees * c.beam_width, needs_ppm=True),
    "mcts": Strategy(mcts.Mcts, mcts.manner, lambda c: c.parallel_leaves),
    "mcts_repeated": Strategy(
        repeated.repeated, mcts.manner, lambda c: c.searches * c.parallel_leaves, needs_ppm=True
    ),
}


def strategy_of(config: SearchConfig, *, ppm: bool) -> Strategy:
    """The strategy that a config names. ppm: whether there is one. Raises UserError for an unknown strategy,
    or one that needs a PPM where there is none."""
    name = config.strategy
    if name not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise UserError(
            f"search.strategy: '{name}' given, one of {known} expected. {nearest(name, STRATEGIES)}"
        )
    strategy = STRATEGIES[name]
    if strategy.needs_ppm and not ppm:
        raise UserError(
            f"search.strategy: '{name}' ranks by a PPM's values, but there is no PPM here. Give one, or take "
            f"a strategy that does without: {', '.join(n for n, s in STRATEGIES.items() if not s.needs_ppm)}."
        )
    return strategy


def search_queue(queues: Queues, *, clock: Clock = time) -> Search:
    """Make the queue of problems to search.

    Its `submit` raises UserError for an unknown strategy, or one that needs a PPM where there is none; its
    `poll` if a value of the PPM is not finite.
    """

    def plan(request: SearchRequest) -> tuple[Callable[[], SearchState], ExpandConfig]:
        config = request.config
        strategy = strategy_of(config, ppm=queues.score is not None)
        if request.training and config.early_stop:
            raise UserError(
                "search.early_stop: True given while training data are made, where every trajectory counts. "
                "Leave it out."
            )
        manner = strategy.manner(config)
        if queues.score is None:
            manner = dataclasses.replace(manner, score="nothing")
        tree_id = TreeId(request.round, request.tree_index, request.training)
        return functools.partial(strategy.make, request.problem, config, tree_id), manner

    return Search(queues, plan, clock=clock)


def watch_trees(
    problems: Sequence[Problem],
    queues: Queues,
    config: SearchConfig,
    *,
    round: int,
    tree_index: int = 0,
    training: bool = False,
    on_progress: OnProgress | None = None,
    clock: Clock = time,
) -> Generator[tuple[int, SearchEvent | Tree], None, None]:
    """A search that tells of every expansion, and can be left at any moment.

    Yields which of the problems, and an expansion (with the tree so far: `votes.final_answer` of it is the
    best answer so far) or, at its end, its tree. Parameters and errors as of `grow_trees`.
    """
    request = functools.partial(
        SearchRequest, config=config, round=round, tree_index=tree_index, training=training
    )
    search = search_queue(queues, clock=clock)
    for problem in problems[:1]:
        search.cancel(search.submit([request(problem)]))  # raises for what is wrong with all of them

    def told() -> Generator[tuple[int, SearchEvent | Tree], None, None]:
        waiting, places = iter(enumerate(problems)), dict[int, int]()

        def submit() -> None:
            # So many at a time: of a million problems most are not there before it is their turn.
            fresh = list(itertools.islice(waiting, 2 * config.batch - len(places)))
            tickets = search.submit([request(problem) for _, problem in fresh])
            places.update(zip(tickets, (place for place, _ in fresh), strict=True))

        try:
            submit()
            while places:
                for ticket, result in search.poll():
                    if isinstance(result, Part):
                        yield places[ticket], result.result
                    else:
                        yield places.pop(ticket), result
                if on_progress is not None:
                    on_progress(search.stats(problems=len(problems)))
                submit()
        finally:
            search.cancel(list(places))

    return told()


def grow_trees(
    problems: Sequence[Problem],
    queues: Queues,
    config: SearchConfig,
    *,
    round: int,
    tree_index: int = 0,
    training: bool = False,
    on_progress: OnProgress | None = None,
    clock: Clock = time,
) -> list[Tree]:
    """One tree for each problem, in their order, the same whatever else is searched with it.

    round, tree_index: which round of self-evolution, and which tree of each problem this is; both name the
    randomness, so another one is another tree.
    training: answers are valued by their grade and unsolved trees escalate; else by the PPM.
    on_progress: called with the counts so far, whenever something happened or might have; what it raises ends
    the search. clock: where time comes from.
    Raises UserError for an unknown strategy, one that needs a PPM where there is none, or if a value of the
    PPM is not finite.
    """
    options = {"round": round, "tree_index": tree_index, "training": training}
    watched = watch_trees(problems, queues, config, **options, on_progress=on_progress, clock=clock)
    found = {place: told for place, told in watched if isinstance(told, Tree)}
    return [found[place] for place in range(len(problems))]
