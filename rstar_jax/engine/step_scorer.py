"""Values of candidate steps: what was read of a text is kept, each candidate's own tokens are run once."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from jax.sharding import Mesh

from rstar_jax.engine import pool
from rstar_jax.engine.buckets import score_bucket
from rstar_jax.engine.catalogue import GROUP, Catalogue
from rstar_jax.engine.clock import compile_ahead, compile_soon, dispatch, guarded, timed
from rstar_jax.engine.pages import Branch
from rstar_jax.engine.prefixes import Prefix, PrefixCache, PrefixCaches
from rstar_jax.engine.requests import DecodeConfig, ScoreRequest, Stats, check_prefix, check_tokens
from rstar_jax.engine.shape import EngineModel
from rstar_jax.errors import UserError
from rstar_jax.models import RewardModel
from rstar_jax.queues import Queue


class _Asked(NamedTuple):
    """A request that waits: prefix and those suffixes that fit behind it, by their places in the answer."""

    ticket: int
    request: ScoreRequest
    prefix: list[int]
    suffixes: dict[int, list[int]]


class _Group(NamedTuple):
    """Up to GROUP suffixes of one request. read: where its prefix lies. which: places in the answer."""

    asked: _Asked
    read: Branch | None
    which: list[int]

    @property
    def longest(self) -> int:
        return max(len(self.asked.suffixes[k]) for k in self.which)


def _batches(
    block: Sequence[_Asked], read: Sequence[Branch | None], groups: int
) -> Iterator[tuple[list[_Group], int]]:
    """So many groups at a time of what is asked, and the columns that their suffixes take."""
    found = []
    for asked, branch in zip(block, read, strict=True):
        # Like lengths together: the longest of a batch sets the padded length of all.
        order = sorted(asked.suffixes, key=lambda k, asked=asked: len(asked.suffixes[k]))
        found += [_Group(asked, branch, order[at : at + GROUP]) for at in range(0, len(order), GROUP)]
    found.sort(key=lambda group: group.longest)
    for at in range(0, len(found), groups):
        some = found[at : at + groups]
        yield some, score_bucket(max(group.longest for group in some))


class StepScorer(Queue[ScoreRequest, np.ndarray]):
    """Values from a reward model. `stats` counts since the scorer was made.

    scale: values are tanh(raw / scale); 1 as in arXiv 2501.04519, 5 as in the released code. config: of the
    engine; how it samples does not matter here. mesh, demand: as for StepDecoder. The model's
    parameters are read anew whenever nothing is being scored.
    """

    cooperative = True

    def __init__(
        self,
        model: RewardModel,
        config: DecodeConfig,
        *,
        scale: float = 1.0,
        mesh: Mesh | None = None,
        demand: int = 0,
    ) -> None:
        if not 0 < scale < float("inf"):
            raise UserError(f"scale: {scale} given, a positive number expected.")
        super().__init__()
        self.stats = Stats()
        self._model, self._config, self._scale = model, config, scale
        shape = EngineModel.of(model.decoder, config.kernels)
        self._caches = PrefixCaches(shape, mesh, config, self.stats, demand)
        self._waiting: list[deque[_Asked]] = [deque() for _ in self._caches.replicas]
        self._in_flight: list[list[tuple[list[_Group], jax.Array]]] = [[] for _ in self._caches.replicas]
        self._values: dict[int, np.ndarray] = {}  # of what is not done
        self._missing: dict[int, int] = {}  # of its suffixes

    @property
    def compile_seconds(self) -> float:
        return self.stats.compile_seconds

    def submit(self, requests: Sequence[ScoreRequest]) -> list[int]:
        """Take requests as `Queue.submit`; results are values, float32 [n] in [-1, 1].

        A value stands at the last token of its suffix; an empty suffix has that of the prefix's last token,
        a text longer than the context has -1.
        Raises UserError for an empty prefix and tokens outside of the vocabulary; then none is taken.
        """
        V = self._model.decoder.config.vocab_size
        for i, request in enumerate(requests):
            check_prefix(request.prefix, V, f"request {i}")
            for k, suffix in enumerate(request.suffixes):
                check_tokens(suffix, V, f"request {i}, suffix {k}")
        return super().submit(requests)

    def _begin(self, entries: Mapping[int, ScoreRequest]) -> None:
        for ticket, request in entries.items():
            room = self._config.context - len(request.prefix)
            which = [k for k, suffix in enumerate(request.suffixes) if len(suffix) <= room]
            self._values[ticket] = np.full(len(request.suffixes), -1.0, np.float32)
            self._missing[ticket] = len(which)
            if not which:
                self._complete(ticket)
                continue
            prefix, suffixes = request.prefix.tolist(), {k: request.suffixes[k].tolist() for k in which}
            if not all(suffixes.values()):  # the prefix's last token then is everybody's first
                suffixes = {k: [prefix[-1], *suffix] for k, suffix in suffixes.items()}
                prefix = prefix[:-1]
            replica = self._caches.replica(request.problem)
            self._waiting[replica].append(_Asked(ticket, request, prefix, suffixes))

    def _work(self, block: bool) -> None:
        """Start what waits where nothing is under way, and wait until something is done."""
        del block
        self.load()
        with guarded():
            while True:
                for replica, flight in enumerate(self._in_flight):
                    if flight and (not self._done or cast(Any, flight[-1][1]).is_ready()):
                        self._harvest(replica)
                    if not self._in_flight[replica] and self._waiting[replica]:
                        self._start(replica)
                if self._done or not any(self._in_flight):
                    return

    def programs(self, shortest: int = 1) -> list[Callable[[], None]]:
        """Return functions that compile what requests may need, as `StepDecoder.programs`."""
        self.load()
        found = (row for cache in self._caches.replicas for row in cache.catalogue.scoring(shortest))
        return [functools.partial(compile_ahead, self.stats, program) for program in found]

    def _drop(self, tickets: set[int]) -> None:
        for ticket in tickets:
            self._values.pop(ticket, None)
            self._missing.pop(ticket, None)
        for replica, waiting in enumerate(self._waiting):
            self._waiting[replica] = deque(asked for asked in waiting if asked.ticket in self._values)
        self._tell()

    def _tell(self) -> None:
        """Tell how many batches the device works at. Those whose requests were all cancelled are nobody's."""
        self.stats.on_device(sum(map(len, self._in_flight)) if self._open else 0)

    def held(self) -> dict[str, int]:
        """Count what the cache holds now: pages, pages_mb, pages_used, tokens_held, tokens_evicted."""
        return self._caches.held()

    def load(self) -> None:
        """Lays the parameters out and makes the cache, unless something is being scored."""
        if not any(self._in_flight):
            self._caches.load(self._model.params())

    def _complete(self, ticket: int) -> None:
        del self._missing[ticket]
        self._finish(ticket, self._values.pop(ticket))

    def _start(self, replica: int) -> None:
        """Reads the prefixes of the first that wait and of others of like length, and starts their values."""
        cache, waiting = self._caches.replicas[replica], self._waiting[replica]
        rows = cache.catalogue
        P = rows.columns(len(waiting[0].prefix))
        block = [asked for asked in waiting if rows.columns(len(asked.prefix)) == P][: rows.together]
        self._prepare(rows, P, block)
        read = cache.read([Prefix(asked.request.key, asked.prefix) for asked in block])
        block = block[: len(read)]
        taken = {asked.ticket for asked in block}
        self._waiting[replica] = deque(asked for asked in waiting if asked.ticket not in taken)
        for some, T in _batches(block, read, rows.groups):
            self._in_flight[replica].append((some, self._run(cache, some, P, T)))
        for branch in read:
            if branch is not None:
                cache.tree.release(branch)
        self._tell()

    def _prepare(self, rows: Catalogue, P: int, block: Sequence[_Asked]) -> None:
        """Start compiling what scores these, while what reads their prefixes is compiled."""
        widths = {T for _, T in _batches(block, [None] * len(block), rows.groups)}
        scoring = [(rows.score(P, T), rows.store(rows.groups * GROUP, rows.groups, GROUP, T)) for T in widths]
        compile_soon([program for both in scoring for program in both])

    def _run(self, cache: PrefixCache, groups: list[_Group], P: int, T: int) -> jax.Array:
        """Starts the values [B, GROUP] of some groups, of at most T tokens, and keeps what is read."""
        rows, B = cache.catalogue, cache.catalogue.groups
        tokens, last = np.zeros((B, GROUP, T), np.int32), np.zeros((B, GROUP), np.int32)
        slots = np.full((B, GROUP, T), cache.pages * cache.page_size, np.int32)
        length, copies, held = np.zeros(B, np.int32), [], list[Branch]()
        for b, group in enumerate(groups):
            asked, length[b] = group.asked, len(group.asked.prefix)
            for g, k in enumerate(group.which):
                suffix = asked.suffixes[k]
                tokens[b, g, : len(suffix)], last[b, g] = suffix, len(suffix) - 1
                key = cache.key(Prefix(asked.request.key, asked.prefix))
                grown = cache.tree.grow(key, group.read, len(asked.prefix), suffix)
                if grown is not None:
                    slots[b, g, : len(suffix)] = grown[1].slots
                    copies += grown[1].copies
                    held.append(grown[0])  # until it is written, or another might get its pages
                self.stats.scored += len(suffix)
                self.stats.busy += len(suffix)
        self.stats.steps += tokens.size
        arguments = cache.tables([group.read for group in groups], B, P), length, tokens, last
        raw, new = dispatch(self.stats, rows.score(P, T), cache.params, cache.pool, *arguments)
        todo = pool.orders(copies, B * GROUP, cache.pages, slots)
        cache.store(rows.store(B * GROUP, *tokens.shape), new, todo)
        for branch in held:
            cache.tree.release(branch)
        return raw

    def _harvest(self, replica: int) -> None:
        for groups, raw in self._in_flight[replica]:
            with timed(self.stats):
                values = np.tanh(jax.device_get(raw) / self._scale)
            for b, group in enumerate(groups):
                ticket = group.asked.ticket
                if ticket not in self._values:  # cancelled
                    continue
                self._values[ticket][group.which] = values[b, : len(group.which)]
                self._missing[ticket] -= len(group.which)
                if not self._missing[ticket]:
                    self._complete(ticket)
        self._in_flight[replica] = []
        self._tell()
