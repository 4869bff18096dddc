"""Leaf slots that are decoded together, from the host's side: who sits where, and what each has written.

One turn is: harvest what the last chunk gave, admit leaves that wait into free slots, start the next chunk.
Between turns the device works and the host is free.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import deque
from collections.abc import Container, Sequence
from typing import Any, cast

import jax
import numpy as np

from rstar_jax.compilations import DeviceProgram
from rstar_jax.engine import pool, programs, stops
from rstar_jax.engine.catalogue import COPIES, NAMES, Catalogue, misfit
from rstar_jax.engine.clock import compile_soon, dispatch, timed
from rstar_jax.engine.pages import BranchHandle, Writes
from rstar_jax.engine.prefixes import Prefix, PrefixCache
from rstar_jax.engine.requests import Cut, DecodeConfig, Sample, StepRequest
from rstar_jax.engine.seats import Seat, SeatedLeaf, shared_out
from rstar_jax.errors import UserError
from rstar_jax.models import KV
from rstar_jax.types import Finish


@dataclasses.dataclass(frozen=True)
class Rules:
    """Sampling rules that all leaves share. finish, cut: what each hit of the table means."""

    finish: Sequence[Finish]
    cut: Sequence[Cut]
    table: stops.Table
    bias: jax.Array | None  # [V] float32
    seed: jax.Array  # [2] uint32


class Batch:
    """Slots of N rows, over the pool of one model.

            admit()               harvest(): every candidate of its seat has ended; or cancel()
    free -----------> occupied ----------------------------------------------------------------> free

    The batch: start() hands the occupied slots to the device, `pending` until harvest(), which waits unless
    `is_ready`. A seat is a leaf's, or a share of its candidates: Leaf(n=8) in two slots of N=4 has the seats
    0 to 4 and 4 to 8. With the last slot free the device's caches are dropped (`_reset`).
    """

    def __init__(self, cache: PrefixCache, config: DecodeConfig, rules: Rules, N: int, leaves: int) -> None:
        self.cache, self.config, self.rules, self.N, self.leaves = cache, config, rules, N, leaves
        self._longest = min(config.max_step_tokens, config.context)
        self._seed = cache.shape.put(rules.seed, None)
        self._seats: list[Seat | None] = [None] * leaves  # by slot
        self._slots: programs.Slots | None = None  # and its columns; there while somebody sits in one
        self._P = self._S = 0
        self._begun = 0  # the most tokens that an unfinished candidate has
        self.started = 0.0  # when the last chunk was
        self._flight: programs.InFlight | None = None
        self._tokens = np.zeros((leaves, 0, self._longest), np.int32)
        self._logprobs, self._counts = np.zeros((leaves, 0)), np.zeros((leaves, 0), np.int64)
        self._hits = np.zeros((leaves, 0), np.int32)  # of the last token

    @property
    def occupied(self) -> int:
        """Slots that leaves sit in."""
        return sum(seat is not None for seat in self._seats)

    @property
    def pending(self) -> bool:
        """Return whether a chunk was started and not harvested."""
        return self._flight is not None

    def is_ready(self) -> bool:
        """Return whether what was started is done, so that harvesting does not wait."""
        return self._flight is not None and cast(Any, self._flight.steps).is_ready()

    def wait(self) -> None:
        """Wait for what was started, the results of which stay where they are."""
        if self._flight is not None:
            with timed(self.cache.stats):
                jax.block_until_ready(self._flight.steps)

    def admit(self, waiting: deque[tuple[int, StepRequest]]) -> None:
        """Takes as many of those that wait as there are free slots, and pages for their prefixes. If none is
        left waiting, slots that are still free take a share of their candidates."""
        free = [slot for slot, seat in enumerate(self._seats) if seat is None]
        asked = [waiting[i] for i in range(min(len(free), len(waiting)))]
        if not asked:
            return
        if self._slots is None:  # whoever reads the prefixes compiles, too
            self._prepare([request for _, request in asked])
        prefixes = [_prefix(request) for _, request in asked]
        later = itertools.islice(waiting, len(asked), len(asked) + 4 * self.cache.catalogue.rows)
        read = self.cache.read(prefixes, [_prefix(request) for _, request in later])
        if not read:
            return  # every page is held by leaves that sit; they end some time
        lines = iter({*range(self.leaves)} - {seat.leaf.line for seat in self._seats if seat})
        leaves = [
            SeatedLeaf(*waiting.popleft(), branch, self.cache.key(prefix), next(lines))
            for branch, prefix in zip(read, prefixes, strict=False)
        ]
        room = len(leaves) if waiting else len(free)
        seats = shared_out(leaves, self.N, room)
        for slot, seat in zip(free, seats, strict=False):
            self._seats[slot] = seat
            seat.leaf.slots += 1
        longest = max(len(seat.leaf.request.prefix) - 1 for seat in self._seats if seat)
        if misfit(self._P, P := self._rows.whole_pages(longest)):
            self._fit(P, self._S or self._rows.suffix(self.config.chunk))
        arrivals = self._arrivals(seats, free[: len(seats)], self._P)
        self._slots = self._run(self._rows.admit(*self._sizes), self._slots, self.cache.pool, arrivals)
        for leaf in leaves:
            if leaf.request.n > self._tokens.shape[1]:
                self._room(leaf.request.n)
            self._counts[leaf.line], self._logprobs[leaf.line] = 0, 0.0

    def _prepare(self, requests: Sequence[StepRequest]) -> None:
        """Start compiling what decoding these needs first."""
        rows, B, N = self._rows, self.leaves, self.N
        longest = max(len(request.prefix) - 1 for request in requests)
        copies = COPIES  # in the first chunk each candidate that is begun copies a page
        while copies < min(B * N, sum(request.n for request in requests)):
            copies *= 2
        sizes = B, N, rows.whole_pages(longest), rows.suffix(self.config.chunk)
        small = rows.keys(B, NAMES), rows.empty(*sizes), rows.admit(*sizes), rows.store_chunk(copies, B, N)
        compile_soon([rows.decode(*sizes), *small])

    def _arrivals(self, seats: list[Seat], into: list[int], P: int) -> programs.NewRequests:
        B, c, count = self.leaves, self.config, len(seats)
        requests = [seat.leaf.request for seat in seats]

        def column(values: list[Any], dtype: Any = np.int32) -> np.ndarray:
            return np.array(values + [0] * (B - count), dtype)

        names = programs.pad_names([r.name for r in requests], B)
        return programs.NewRequests(
            tables=self.cache.tables([seat.leaf.read for seat in seats], B, P),
            slot=column(into),
            count=np.int32(count),
            prefix_length=column([len(r.prefix) - 1 for r in requests]),
            last=column([r.prefix[-1] for r in requests]),
            first=column([seat.first for seat in seats]),
            n=column([seat.end for seat in seats]),
            opens=column([int(r.opens) for r in requests]),
            limit=column([min(c.max_step_tokens, c.context - len(r.prefix)) for r in requests]),
            temperature=column([r.temperature for r in requests], np.float32),
            key=self._run(self._rows.keys(*names[0].shape), self._seed, *names),
        )

    def start(self) -> None:
        """Starts a chunk; it ends sooner once an eighth of the slots got free, as trees or leaves wait."""
        self.started = time.monotonic()
        need = self._rows.suffix(min(self._begun + self.config.chunk, self._longest))
        if misfit(self._S, need):
            self._fit(self._P, need)
        enough = np.int32(max(1, self.leaves // 8))
        program, (table, bias) = self._rows.decode(*self._sizes), self.cache.rules
        found = self._run(program, self.cache.params, self._slots, bias, table, enough)
        self._slots, self._flight = found

    @property
    def _rows(self) -> Catalogue:
        return self.cache.catalogue

    @property
    def _sizes(self) -> tuple[int, int, int, int]:
        return self.leaves, self.N, self._P, self._S

    def _run(self, program: DeviceProgram, *arguments: Any) -> Any:
        return dispatch(self.cache.stats, program, *arguments)

    def harvest(self) -> dict[int, list[Sample]]:
        """Waits for the chunk; returns the samples, by ticket, of the leaves that are done. Their slots are
        free then.

        Raises UserError if a row's logits are no distribution; nothing of this batch can be used then.
        """
        assert self._flight is not None
        flight, self._flight = self._flight, None
        with timed(self.cache.stats):
            trace = jax.device_get(flight.trace)
            steps, candidate, start = jax.device_get((flight.steps, flight.candidate, flight.start))
        end = np.array([seat.end if seat else 0 for seat in self._seats])
        lines = np.array([seat.leaf.line if seat else 0 for seat in self._seats])
        live = trace.candidate[:steps] < end[:, None]
        step, slot, row = np.nonzero(live)
        which, at = trace.candidate[:steps][live], trace.position[:steps][live]
        for i in np.flatnonzero(np.isnan(trace.logprob[:steps][live])).tolist():
            seat = self._seats[slot[i]]
            assert seat is not None
            request = seat.leaf.request
            raise UserError(
                f"leaf {request.name}, candidate {which[i]}: the policy's logits after "
                f"{len(request.prefix) + at[i]} tokens are no distribution (NaN or infinite), finite "
                "numbers expected. Its weights are damaged, its training diverged, or its "
                "dtype is too narrow: train it again with a lower learning rate, or compute in float32."
            )
        line = lines[slot]
        self._tokens[line, which, at] = trace.token[:steps][live]
        np.add.at(self._logprobs, (line, which), trace.logprob[:steps][live])
        np.add.at(self._counts, (line, which), 1)
        self._hits[line, which] = trace.hit[:steps][live]  # the latest stays
        self._keep(flight.new, step, slot, row, which, at)
        self._begun = int(start.max())
        stats = self.cache.stats
        stats.steps += int(steps) * start.size
        stats.busy += len(slot)
        stats.generated += len(slot)
        left = dict[int, list[Sample]]()
        for slot in np.flatnonzero((candidate >= end[:, None]).all(axis=1)).tolist():
            seat, self._seats[slot] = self._seats[slot], None
            if seat is None:
                continue
            seat.leaf.slots -= 1
            if not seat.leaf.slots:
                left[seat.leaf.ticket] = self._samples(seat.leaf)
        if not self.occupied:
            self._reset()
        return left

    def _keep(self, new: KV, step: Any, slot: Any, row: Any, which: Any, at: Any) -> None:
        """Puts the chunk's keys and values into pages of the candidates that they belong to."""
        none = self.cache.pages * self.cache.page_size
        slots, copies = np.full(new[0].shape[1:4], none, np.int32), list[tuple[int, int]]()
        order = np.lexsort((at, which, slot))
        cuts = np.flatnonzero(np.diff(slot[order] * self._tokens.shape[1] + which[order])) + 1
        for run in np.split(order, cuts) if len(order) else []:
            b, k, first = int(slot[run[0]]), int(which[run[0]]), int(at[run[0]])
            writes = self._write(b, k, first, len(run))
            if writes is not None:
                slots[step[run], b, row[run]] = writes.slots
                copies += writes.copies
        room = COPIES
        while room < len(copies):
            room *= 2
        todo = pool.orders(copies, room, self.cache.pages, slots)
        self.cache.store(self._rows.store_chunk(room, self.leaves, self.N), new, todo)

    def _write(self, b: int, k: int, first: int, count: int) -> Writes | None:
        """Take pages for the tokens that candidate k of a slot was fed from position `first` on.

        A token's keys and values are made when it is fed, one position after it was sampled. With a prefix
        that ends in z, and chunks of two tokens:

            position        0  1 | 2
            sampled         a  b | c
            fed, stored     z  a | b      _write(first=0, count=2): a new branch; (first=2, count=1): appended
        """
        seat = self._seats[b]
        assert seat is not None
        leaf = seat.leaf
        tree, prefix = self.cache.tree, leaf.request.prefix
        written = self._tokens[leaf.line, k, max(first - 1, 0) : first + count - 1].tolist()
        fed = written if first else [int(prefix[-1]), *written]
        if not first:
            grown = tree.grow(leaf.key, leaf.read, len(prefix) - 1, fed)
            leaf.own[k], writes = grown if grown else (None, None)
            return writes
        branch = leaf.own[k]
        writes = tree.append(branch, fed) if branch else None
        if writes is None and branch:
            leaf.own[k] = None
            tree.release(branch)
            tree.drop(branch)
        return writes

    def _samples(self, leaf: SeatedLeaf) -> list[Sample]:
        """Return the samples of a leaf that is done."""
        tree, line = self.cache.tree, leaf.line
        if leaf.read is not None:
            tree.release(leaf.read)
        samples, handles = [], dict[tuple[int, ...], BranchHandle | None]()
        for k in range(leaf.request.n):
            tokens = tuple(self._tokens[line, k, : self._counts[line, k]].tolist())
            hit, branch = self._hits[line, k], leaf.own.get(k)
            finish: Finish = self.rules.finish[hit] if hit >= 0 else "length"
            cut: Cut = self.rules.cut[hit] if hit >= 0 else ""
            if branch is not None:
                tree.release(branch)
            if branch is not None and (finish == "length" or tokens in handles):
                tree.drop(branch)  # nobody goes on from here, or from here a second time
            kept = None if branch is None or finish == "length" else BranchHandle(tree, branch)
            handle = handles.setdefault(tokens, kept)
            samples.append(Sample(tokens, float(self._logprobs[line, k]), finish, cut, handle))
        return samples

    def cancel(self, tickets: Container[int]) -> None:
        """Takes leaves out of their slots; what the chunk under way gives for them is not looked at."""
        tree, gone = self.cache.tree, dict[int, SeatedLeaf]()
        for slot, seat in enumerate(self._seats):
            if seat is not None and seat.leaf.ticket in tickets:
                self._seats[slot] = None
                gone[seat.leaf.ticket] = seat.leaf
        for leaf in gone.values():
            for branch in (leaf.read, *leaf.own.values()):
                if branch is not None:
                    tree.release(branch)
            for branch in filter(None, leaf.own.values()):
                tree.drop(branch)
        if not self.occupied and not self.pending:
            self._reset()

    def _reset(self) -> None:
        """Drop the slots and their caches: no leaf is left."""
        self._slots, self._P, self._S, self._begun = None, 0, 0, 0

    def _fit(self, P: int, S: int) -> None:
        """Makes the caches P and S columns wide."""
        B, N, old_P, old_S = self._sizes
        self._P, self._S, slots = P, S, self._slots
        if slots is None:
            slots = self._run(self._rows.empty(*self._sizes), self.cache.rules[0])
            self._slots = programs.by_field(self.cache.shape.put, slots)
        elif old_P != P:
            prefix = self._run(self._rows.fit_prefix(B, old_P, P), slots.prefix)
            self._slots = slots._replace(prefix=prefix)
        else:
            suffix = self._run(self._rows.fit_suffix(B, N, old_S, S), slots.suffix)
            self._slots = slots._replace(suffix=suffix)

    def _room(self, K: int) -> None:
        """Room on the host for what K candidates of a leaf write; what is there stays."""
        more = K - self._tokens.shape[1]
        self._tokens = np.pad(self._tokens, ((0, 0), (0, more), (0, 0)))
        self._logprobs = np.pad(self._logprobs, ((0, 0), (0, more)))
        self._counts = np.pad(self._counts, ((0, 0), (0, more)))
        self._hits = np.pad(self._hits, ((0, 0), (0, more)))


def _prefix(request: StepRequest) -> Prefix:
    """Return the tokens to read before a request's candidates: all but the last token, which each of them is
    fed."""
    return Prefix(request.key, request.prefix[:-1].tolist(), request.after)
