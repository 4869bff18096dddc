"""The prefixes that one model has read: what of one is in the pool is found there, the rest is run, once.

    read([Q + a, Q + a + b, Q + c])      Q: a prompt of 90 tokens; a, b, c: steps. Nothing is known yet.
        level 0: Q + a from its start                              pool.read, in a row of 90 + |a| tokens
        level 1: b behind Q + a, c behind the 90 tokens of Q       pool.read_on, two rows of one call

A prefix whose beginning another of the same call reads must wait for it: its level is one more.
"""

from __future__ import annotations

import collections
import itertools
import operator
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from rstar_jax.compilations import DeviceProgram
from rstar_jax.engine import memory, pool
from rstar_jax.engine.buckets import score_bucket
from rstar_jax.engine.catalogue import ROWS_ON, Catalogue
from rstar_jax.engine.clock import dispatch
from rstar_jax.engine.pages import Branch, BranchHandle, PageTree
from rstar_jax.engine.requests import DecodeConfig, Stats
from rstar_jax.engine.shape import EngineModel
from rstar_jax.errors import UserError
from rstar_jax.models import KV
from rstar_jax.types import Handle


class Prefix(NamedTuple):
    """Tokens whose keys and values are to be in the pool. key: under which they are cached. after: where they
    lie in part, as `Sample.handle`."""

    key: Hashable
    tokens: list[int]
    after: Handle | None = None


class _Unread(NamedTuple):
    """The last tokens of a prefix, which are to be run. known: how many stand before them in the pool."""

    branch: Branch
    known: int
    tokens: list[int]
    slots: list[int]
    copies: list[tuple[int, int]]


class PrefixCache:
    """The pool of one model on its devices, and what lies where in it.

    A token's keys and values are made once, by the program that ran it first: with the whole prompt, after a
    prefix, or as it was sampled. Which one that is changes roundings, and nothing else.
    """

    def __init__(
        self, shape: EngineModel, config: DecodeConfig, stats: Stats, demand: int = 0, *rules: Any
    ) -> None:
        """demand: tokens of the texts that will be gone back to, as far as somebody knows. rules: a decoder's
        table of stops and bias, as arguments of `Catalogue`.

        Raises UserError if `cache_mb` does not hold one text of the longest.
        """
        self.shape, self.page_size, self.stats = shape, config.page_size, stats
        self._config, self._demand = config, demand
        self.rules = shape.put(rules, None)
        # What is free is known when all models are there, which is when one is first used.
        self.pages = pages_for(shape, config, demand) if config.cache_mb else 0
        self.tree = PageTree(self.pages, self.page_size)
        self.params: dict[str, jax.Array] = {}
        self._given: list[jax.Array] = []

    def load(self, params: dict[str, jax.Array]) -> None:
        """Takes these parameters; where they are not those of before, every text is forgotten.

        Raises UserError if the memory that is free does not hold one text of the longest.
        """
        arrays = jax.tree.leaves(params)
        if len(arrays) == len(self._given) and all(map(operator.is_, arrays, self._given)):
            return
        self._given, self.params = [], {}
        vars(self).pop("pool", None)  # there must not be two of either
        self.params = self.shape.place(params)
        self.pages = self.pages or pages_for(self.shape, self._config, self._demand)
        self.tree = PageTree(self.pages, self.page_size)
        self.pool: KV = self.shape.empty_pool(self.pages, self.page_size)
        self.catalogue = Catalogue(self.shape, self._config, self.pages, self.params, *self.rules)
        self._given = arrays  # at last: what failed until here is tried again

    def forget(self) -> None:
        """Forgets every text, when the parameters are next given."""
        self._given = []

    def read(self, prefixes: Sequence[Prefix], later: Sequence[Prefix] = ()) -> list[Branch | None]:
        """Return branches that hold the prefixes, each held once; None for one without tokens.

        May return a shorter list: as many leading ones as fit in the pages that are not held. later: those
        that will be asked for; they are read where they fill rows that would be idle, if there is room.
        """
        found: list[Branch | None] = []
        level_of: dict[Branch, int] = {}
        levels: list[list[_Unread]] = []
        for prefix in prefixes:
            tokens = prefix.tokens
            if not tokens:
                found.append(None)
                continue
            key = self.key(prefix)
            branch, known = self.tree.match(key, tokens, self._handled(prefix.after))
            if known == len(tokens):
                assert branch is not None
                self.stats.reused += known
                self.tree.hold(branch)
                found.append(branch)
                continue
            grown = self.tree.grow(key, branch, known, tokens[known:])
            if grown is None and branch is not None:
                # What it would share, and all before that, is not given away for its own sake: read it anew.
                branch, known = None, 0
                grown = self.tree.grow(key, None, 0, tokens)
            if grown is None:
                break
            self.stats.reused += known
            self.stats.reread += self.tree.found_again(key, len(tokens) - known)
            new, writes = grown
            level_of[new] = level = level_of.get(branch, -1) + 1 if branch else 0
            if level == len(levels):
                levels.append([])
            levels[level].append(_Unread(new, known, tokens[known:], writes.slots, writes.copies))
            found.append(new)
        prefetched = self._prefetch(levels[0], later) if levels else []
        for i, level in enumerate(levels):
            self._run(level if i else level + prefetched)
        for unread in prefetched:
            self.tree.release(unread.branch)
        return found

    def _handled(self, after: Handle | None) -> Branch | None:
        """Return the branch of a handle, None where it is not of this cache as it is now."""
        return after.branch if isinstance(after, BranchHandle) and after.tree is self.tree else None

    def _prefetch(self, started: list[_Unread], later: Sequence[Prefix]) -> list[_Unread]:
        """New prefixes, held, for the idle rows of the blocks that these will be read in."""
        lengths = (len(unread.tokens) for unread in started if not unread.known)
        filled = collections.Counter(map(self.catalogue.prefill, lengths))
        idle = {bucket: -count % self.catalogue.rows for bucket, count in filled.items()}
        found = []
        for prefix in later:
            tokens = prefix.tokens
            bucket = self.catalogue.prefill(len(tokens))
            if not idle.get(bucket) or self.tree.free * self.page_size < 2 * len(tokens):
                continue
            key = self.key(prefix)
            known = self.tree.match(key, tokens, self._handled(prefix.after))[1]
            if known or not (grown := self.tree.grow(key, None, 0, tokens)):
                continue
            idle[bucket] -= 1
            found.append(_Unread(grown[0], 0, tokens, grown[1].slots, grown[1].copies))
        return found

    def key(self, prefix: Prefix) -> Hashable:
        """Under which a prefix lies in the tree."""
        return prefix.key, self.shape.long(len(prefix.tokens) + 1)

    def tables(self, branches: Sequence[Branch | None], rows: int, columns: int) -> np.ndarray:
        """Their pages [rows, Q] int32: as many as hold the first `columns` tokens."""
        table = np.zeros((rows, -(-columns // self.page_size)), np.int32)
        for row, branch in zip(table, branches, strict=False):
            if branch is not None:
                pages = branch.table[: len(row)]
                row[: len(pages)] = pages
        return table

    def store(self, program: DeviceProgram, new: KV, todo: pool.PageWrites) -> None:
        """Copies pages, and writes tokens' keys and values [L, ..., G, A]."""
        self.pool = dispatch(self.stats, program, self.pool, new, todo)

    def _run(self, level: list[_Unread]) -> None:
        groups: dict[tuple[int, int], list[_Unread]] = {}
        for unread in level:
            size = (0, self.catalogue.prefill(len(unread.tokens)))
            if unread.known:
                size = self.catalogue.columns(unread.known), score_bucket(len(unread.tokens))
            groups.setdefault(size, []).append(unread)
        for (P, T), members in sorted(groups.items(), key=lambda group: group[0]):
            rows = ROWS_ON if P else self.catalogue.rows
            for at in range(0, len(members), rows):
                self._run_block(members[at : at + rows], P, T)

    def _run_block(self, block: list[_Unread], P: int, T: int) -> None:
        rows = self.catalogue
        R, none = ROWS_ON if P else rows.rows, self.pages * self.page_size
        tokens, slots = np.zeros((R, T), np.int32), np.full((R, T), none, np.int32)
        known, length = np.zeros(R, np.int32), np.zeros(R, np.int32)
        for r, unread in enumerate(block):
            count = len(unread.tokens)
            tokens[r, :count], slots[r, :count] = unread.tokens, unread.slots
            known[r], length[r] = unread.known, unread.known + count
            self.stats.prefilled += count
        if P:
            arguments = self.tables([unread.branch.parent for unread in block], R, P), known, tokens, length
            new = dispatch(self.stats, rows.read_on(P, T), self.params, self.pool, *arguments)
        else:
            new = dispatch(self.stats, rows.read(T), self.params, tokens, length)
        todo = pool.orders([pair for unread in block for pair in unread.copies], R, self.pages, slots)
        self.store(rows.store(R, *new[0].shape[1:-2]), new, todo)


class PrefixCaches:
    """The caches of a model that several groups of devices hold, each for itself (`EngineModel.over`)."""

    def __init__(
        self,
        shape: EngineModel,
        mesh: Mesh | None,
        config: DecodeConfig,
        stats: Stats,
        demand: int = 0,
        *rules: Any,
    ) -> None:
        shapes = shape.over(mesh)
        self.replicas = [PrefixCache(one, config, stats, -(-demand // len(shapes)), *rules) for one in shapes]
        self._replica_of: dict[Hashable, int] = {}
        self._alone = itertools.count()

    def replica(self, problem: Hashable) -> int:
        """Return the index of the replica with a problem's texts; new problems, and texts of none, go round
        robin."""
        if problem is None:
            return next(self._alone) % len(self.replicas)
        return self._replica_of.setdefault(problem, len(self._replica_of) % len(self.replicas))

    def held(self) -> dict[str, int]:
        """Pages that there are, their MiB, those in use, the tokens in them, and those that had to go."""
        trees = [cache.tree for cache in self.replicas]
        pages = sum(tree.pages for tree in trees)
        page = self.replicas[0].page_size * self.replicas[0].shape.token_bytes
        return {
            "pages": pages,
            "pages_mb": pages * page // 2**20,
            "pages_used": sum(tree.pages - tree.free for tree in trees),
            "tokens_held": sum(tree.tokens for tree in trees),
            "tokens_evicted": sum(tree.evicted for tree in trees),
        }

    def load(self, params: dict[str, jax.Array]) -> None:
        """`PrefixCache.load` of each."""
        for cache in self.replicas:
            cache.load(params)

    def forget(self) -> None:
        """`PrefixCache.forget` of each."""
        for cache in self.replicas:
            cache.forget()


def pages_for(shape: EngineModel, config: DecodeConfig, demand: int) -> int:
    """Size a pool in pages: that of `cache_mb`, or one that holds `demand` tokens if the memory is free now.

    Raises UserError if they do not hold one text of the longest.
    """
    page = config.page_size * shape.token_bytes
    least, most = -(-config.context // config.page_size) + 1, 2**31 // config.page_size - 1
    device = jax.local_devices()[0] if shape.mesh is None else shape.mesh.devices.flat[0]
    free = memory.free_bytes() if device.platform == "cpu" else _free_on(device)
    if config.cache_mb:
        pages = config.cache_mb * 2**20 // page
        if free is not None and device.platform == "cpu" and min(pages, most) * page > free:
            raise UserError(
                f"decode.cache_mb: {config.cache_mb:,} given, but {free // 2**20:,} MB of memory are free. "
                "Give less, or 0 for what a search has use for within a quarter of that."
            )
    elif free is not None and device.platform != "cpu":
        pages = free // 2 // (config.page_size * shape.token_bytes_a_device)
    else:
        pages = memory.pool_pages(page, least, demand * shape.token_bytes, free)
    if pages < least:
        given = f"{float(config.cache_mb)} MB"
        if not config.cache_mb:
            given = f"0 given, and {pages * page / 2**20:.1f} MB of the free memory may be used"
        raise UserError(
            f"decode.cache_mb: {given}, but one text of decode.context = {config.context} tokens has"
            f" {least * page / 2**20:.1f} MB of keys and values in this model. Give more memory "
            "or a shorter context."
        )
    return int(min(pages, most))


def _free_on(device: Any) -> int | None:
    """Bytes that are free on an accelerator, None where it does not tell."""
    stats = device.memory_stats()
    return stats["bytes_limit"] - stats["bytes_in_use"] if stats and "bytes_limit" in stats else None
