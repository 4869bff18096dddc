"""Candidate steps for many leaves at once: the host's side of decoding.

1. Requests wait, grouped by the rows that a leaf of theirs fills.
2. What the cache lacks of their prefixes is read (`prefixes.py`), and they are admitted into free slots.
3. All slots of a batch advance by a chunk of tokens, in one device call (`batch.py`).
4. What was written goes into pages; leaves whose candidates are all done leave, their slots are free for 2.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rstar_jax.engine import sampling
from rstar_jax.engine.batch import Batch, Rules
from rstar_jax.engine.buckets import cache_bucket, suffix_bucket
from rstar_jax.engine.clock import compile_ahead, guarded
from rstar_jax.engine.prefixes import PrefixCaches
from rstar_jax.engine.requests import (
    Cut,
    DecodeConfig,
    Sample,
    Stats,
    StepRequest,
    check_prefix,
    check_tokens,
)
from rstar_jax.engine.shape import EngineModel
from rstar_jax.engine.stops import build
from rstar_jax.errors import UserError
from rstar_jax.models import Decoder, candidates
from rstar_jax.queues import Queue
from rstar_jax.types import HOTTEST, MOST_CANDIDATES, Finish

Waiting = deque[tuple[int, StepRequest]]


class StepDecoder(Queue[StepRequest, list[Sample]]):
    """Samples steps from a policy. `stats` counts since the decoder was made.

    stops: tokens, or sequences of tokens, that end a step, and how. forbidden: tokens never sampled (padding,
    or what only the interpreter or the user writes). bias: what is added to the logits of some tokens.
    opening: how the candidates of requests that ask for it must begin (`stops.Table`, [states, V]).
    on_progress: called with `stats` after every chunk. demand: tokens of the texts that will be gone back to,
    for the size of the cache; 0: not known.
    Raises UserError for ids outside of the vocabulary or if every token is forbidden.

    mesh: with axes as of `sharding.make_mesh`: tensor (and expert) hold one model together, the devices of
    the other axes decode each for themselves, with caches of their own. None: one device.

    The model's parameters are read anew whenever nothing is being decoded, so it may be trained in between.
    """

    cooperative = True

    def __init__(
        self,
        model: Decoder,
        stops: Mapping[int | tuple[int, ...], Finish],
        config: DecodeConfig,
        *,
        seed: int,
        forbidden: Sequence[int] = (),
        bias: Mapping[int, float] | None = None,
        opening: np.ndarray | None = None,
        mesh: Mesh | None = None,
        on_progress: Callable[[Stats], None] | None = None,
        demand: int = 0,
    ) -> None:
        super().__init__()
        V = model.config.vocab_size
        check_tokens(np.array(list(forbidden), np.int64), V, "forbidden")
        self.stats = Stats()
        self._model, self._config = model, config
        added = dict(bias or {}) | dict.fromkeys(forbidden, -np.inf)
        check_tokens(np.array(list(added), np.int64), V, "bias")
        for token, value in added.items():
            if not value < np.inf:
                raise UserError(f"bias: {value} given for token {token}, a number or -inf expected.")
        if sum(value == -np.inf for value in added.values()) == V:
            raise UserError(f"forbidden: all {V} tokens of the vocabulary given, at least one must be left.")
        sequences = [(int(stop),) if isinstance(stop, int | np.integer) else stop for stop in stops]
        # One that cannot end a candidate before its length does costs a little, and is left out.
        guard = config.guard if config.guard < min(config.max_step_tokens, config.context) else 0
        cuts: list[Cut] = [""] * len(stops)
        self._rules = Rules(
            finish=[*stops.values(), "length", "length"],
            cut=[*cuts, "repeats", "astray"],
            table=build(sequences, V, guard, opening),
            bias=_as_array(added, V) if added else None,
            seed=sampling.seed_key(seed),
        )
        shape, rules = EngineModel.of(model, config.kernels), (self._rules.table, self._rules.bias)
        self._caches = PrefixCaches(shape, mesh, config, self.stats, demand, *rules)
        self._waiting: dict[tuple[int, int], Waiting] = {}  # by cache and rows of a leaf
        self._batches: dict[tuple[int, int], list[Batch]] = {}
        self._on_progress = on_progress

    @property
    def compile_seconds(self) -> float:
        return self.stats.compile_seconds

    def submit(self, requests: Sequence[StepRequest]) -> list[int]:
        """Take requests as `Queue.submit`.

        A request's samples do not depend on the other requests, but for roundings (`DecodeConfig`). A prefix
        that fills the context gives samples without tokens that finish by "length".
        Raises UserError for n < 0, a temperature that is negative or no number, an empty prefix, and tokens
        outside of the vocabulary; then none is taken. `poll` raises UserError if the policy's logits are no
        distribution; all that is asked is forgotten then.
        """
        for i, request in enumerate(requests):
            _check(request, self._model.config.vocab_size, f"request {i}")
        return super().submit(requests)

    def _begin(self, entries: Mapping[int, StepRequest]) -> None:
        for ticket, request in entries.items():
            if len(request.prefix) >= self._config.context:
                self._finish(ticket, [Sample((), 0.0, "length")] * request.n)
            elif not request.n:
                self._finish(ticket, [])
            else:
                where = self._caches.replica(request.problem), min(request.n, self._config.rows)
                self._waiting.setdefault(where, deque()).append((ticket, request))

    def _work(self, block: bool) -> None:
        """Wait for the chunk under way that was started first, if there is one, and see to it that the device
        has work; whether it is enough to `block` for is for `poll` to say."""
        del block
        self.load()
        self._tell()
        started = [(where, b) for where, batches in self._batches.items() for b in batches if b.pending]
        with guarded():
            if started:
                where, batch = min(started, key=lambda found: found[1].started)
                self._turn(batch, self._waiting[where])
            for where, waiting in self._waiting.items():
                for batch in self._at(where):
                    if not batch.pending or batch.is_ready():
                        self._turn(batch, waiting)

    def load(self) -> None:
        """Lays the parameters out and makes the cache, unless leaves are being decoded."""
        if not self._busy:
            self._caches.load(self._model.params())

    def _turn(self, batch: Batch, waiting: Waiting) -> None:
        if batch.pending:
            batch.wait()
            self._tell()
            try:
                for ticket, samples in batch.harvest().items():
                    self._finish(ticket, samples)
            except UserError:  # what is not finite may lie in any of the caches
                self._open.clear()
                self._waiting.clear()
                self._batches.clear()
                self._caches.forget()
                self._tell()
                raise
            if self._on_progress:
                self._on_progress(self.stats)
        batch.admit(waiting)
        if batch.occupied:
            batch.start()
            self._tell()

    def _tell(self) -> None:
        """Tell how many chunks the device works at. One whose leaves were all cancelled is nobody's."""
        batches = (batch for batches in self._batches.values() for batch in batches) if self._open else ()
        self.stats.on_device(sum(batch.pending and not batch.is_ready() for batch in batches))

    @property
    def _busy(self) -> bool:
        return any(batch.occupied for batches in self._batches.values() for batch in batches)

    def _at(self, where: tuple[int, int]) -> list[Batch]:
        """The batches that requests of this cache and so many rows go to."""
        if where not in self._batches:
            (replica, N), c = where, self._config
            cache = self._caches.replicas[replica]
            self._batches[where] = [Batch(cache, c, self._rules, N, leaves) for leaves in c.batches]
        return self._batches[where]

    def programs(self, shortest: int = 1, candidates: Iterable[int] = ()) -> list[Callable[[], None]]:
        """Return functions that compile what requests may need, a program each (`stats.programs` names those
        that were not yet), but for the reading of long texts behind known ones. To be run while nothing is
        decoded, by several threads if that is wanted.

        shortest: tokens of the shortest prefix. candidates: how many a request may want; none: 1, and so many
        that its rows are full.
        """
        self.load()
        rows, wanted = [cache.catalogue for cache in self._caches.replicas], [*candidates]
        found = (program for each in rows for program in each.decoding(shortest, wanted))
        return [functools.partial(compile_ahead, self.stats, program) for program in found]

    @property
    def attention(self) -> str:
        """One line for a log: how candidates attend, by which kernels, and why not by others."""
        shape, c = self._caches.replicas[0].shape, self._config
        P, S = cache_bucket(c.context, c.context), suffix_bucket(min(c.max_step_tokens, c.context), c.context)
        return candidates.describe(shape.config, 1, P, S, shape.mesh, shape.kernels)

    def held(self) -> dict[str, int]:
        """Count what the cache holds now: pages, pages_mb, pages_used, tokens_held, tokens_evicted."""
        return self._caches.held()

    def _drop(self, tickets: set[int]) -> None:
        for where, waiting in self._waiting.items():
            self._waiting[where] = deque(entry for entry in waiting if entry[0] not in tickets)
        for batches in self._batches.values():
            for batch in batches:
                batch.cancel(tickets)
        self._tell()


def _as_array(bias: Mapping[int, float], V: int) -> jax.Array:
    return jnp.zeros(V).at[jnp.array(list(bias))].set(jnp.array(list(bias.values())))


def _check(request: StepRequest, vocab_size: int, where: str) -> None:
    if not isinstance(request.n, int | np.integer) or not 0 <= request.n <= MOST_CANDIDATES:
        raise UserError(f"{where}: n = {request.n} given, 0 to {MOST_CANDIDATES} candidates expected.")
    if not 0 <= request.temperature < HOTTEST:
        raise UserError(f"{where}: temperature {request.temperature} given, 0 (greedy) or more expected.")
    if any(not 0 <= part < 2**32 for part in request.name):
        raise UserError(f"{where}: name {request.name} given, integers in [0, 2**32) expected.")
    check_prefix(request.prefix, vocab_size, where)
