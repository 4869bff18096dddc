"""The compiled programs of the engine: pure functions of slots, one compilation per static shape.

A slot is a leaf, or a share of one's candidates, with a few rows. Each row decodes one candidate; when that
is done it goes on with the next, so that rows of ragged candidates stay busy and n is not part of any shape.
The last token of a prefix is not prefilled but is the first one fed to every candidate: then each decode
step is the same program, the first included. Every row's arithmetic depends on its own leaf only, and cache
columns stand in the order of positions, so that results are equal bit for bit (on a CPU) whatever the other
slots hold, and whenever and in which row a candidate was decoded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rstar_jax.compilations import jit
from rstar_jax.engine import pool, sampling, stops
from rstar_jax.engine.shape import EngineModel
from rstar_jax.models import KV, RewardModel
from rstar_jax.models.bfloat16 import same_bits
from rstar_jax.models.cache import Suffix, by_layer, lay_out, whole


class Slots(NamedTuple):
    """The device state of B leaf slots with N rows each: prefix caches of P, suffix caches of S columns.

    last: the last token of the prefix. n: the first candidate that is not the slot's any more; next: the
    first that no row has begun. key: of the leaf. limit: tokens a candidate may have. opens: other than 0 if
    they must begin as told.
    candidate: which one each row decodes; n or more if the row is idle. start: its tokens so far, and the
    columns of its suffix cache that are written. pending: the token each row is to be fed next. seen: what
    may become a stop.
    """

    prefix: tuple[KV, ...]  # of P columns, as `cache.lay_out` has them
    prefix_length: jax.Array  # [B], without the last token
    suffix: Suffix  # of S columns, in a layout known to the model only
    last: jax.Array  # [B]
    n: jax.Array  # [B]
    next: jax.Array  # [B]
    limit: jax.Array  # [B]
    opens: jax.Array  # [B]
    temperature: jax.Array  # [B]
    key: jax.Array  # [B, 2]
    candidate: jax.Array  # [B, N]
    start: jax.Array  # [B, N]
    pending: jax.Array  # [B, N]
    seen: stops.State


class NewRequests(NamedTuple):
    """Leaves for the slots `into`, of which the first `count` mean something. first: of a slot's candidates.
    Other fields as in `Slots`."""

    tables: np.ndarray  # [B, Q] int32: the pages of their prefixes
    slot: np.ndarray  # [B]
    count: np.ndarray | np.integer  # []
    prefix_length: np.ndarray  # [B]
    last: np.ndarray  # [B]
    first: np.ndarray  # [B]
    n: np.ndarray  # [B]
    limit: np.ndarray  # [B]
    opens: np.ndarray  # [B]
    temperature: np.ndarray  # [B]
    key: jax.Array  # [B, 2]


class Trace(NamedTuple):
    """Record of each row at each of C steps: for which candidate it sampled which token, with its
    log-probability, and what it ended by that (`stops.step`)."""

    candidate: jax.Array  # [C, B, N]; n or more where the row was idle
    position: jax.Array  # [C, B, N]
    token: jax.Array  # [C, B, N]
    logprob: jax.Array  # [C, B, N]
    hit: jax.Array  # [C, B, N]


Carry = tuple[jax.Array, Slots, Trace, tuple[KV, ...]]


class InFlight(NamedTuple):
    """Results of a chunk besides the slots, which the next chunk consumes.

    steps: done; what lies beyond them in trace and new means nothing. candidate, start: as in the slots.
    new: keys and values of the token that each row was fed at each step, the one before the sampled one.
    """

    steps: jax.Array  # []
    candidate: jax.Array  # [B, N]
    start: jax.Array  # [B, N]
    trace: Trace
    new: KV  # [L, C, B, N, G, A], of the pool's dtype


@functools.partial(jit, static_argnames=("shape", "B", "N", "P", "S"))
def empty(table: stops.Table, *, shape: EngineModel, B: int, N: int, P: int, S: int) -> Slots:
    """Slots without leaves: every row is idle."""
    prefix, suffix = shape.empty_caches(B, N, P, S)

    def zeros(*size: int, dtype: Any = jnp.int32) -> jax.Array:
        return jnp.zeros(size, dtype)

    slots = Slots(
        prefix=prefix,
        prefix_length=zeros(B),
        suffix=suffix,
        last=zeros(B),
        n=zeros(B),
        next=zeros(B),
        limit=zeros(B),
        opens=zeros(B),
        temperature=zeros(B, dtype=jnp.float32),
        key=zeros(B, 2, dtype=jnp.uint32),
        candidate=zeros(B, N),
        start=zeros(B, N),
        pending=zeros(B, N),
        seen=stops.start(table, B, N),
    )
    return by_field(shape.pin, slots)


def by_field(place: Callable[[Any, int | None], Any], slots: Slots) -> Slots:
    """Slots of what `place` makes of each field: `EngineModel.pin`, or `pinned`."""
    heads = {"prefix": -3, "suffix": -3}  # where a cache has its heads; all else is whole on every device
    return Slots(**{name: place(value, heads.get(name)) for name, value in slots._asdict().items()})


@functools.partial(jit, static_argnames=("sizes", "shape"))
def fit(cache: Any, *, sizes: tuple[tuple[int, ...], ...], shape: EngineModel) -> Any:
    """A cache of prefixes or suffixes, every array cut or filled up with zeros, at the end of each axis, to
    its new size; what is cut off must be unused."""

    def one(a: jax.Array, size: tuple[int, ...]) -> jax.Array:
        a = a[tuple(slice(n) for n in size)]
        return jnp.pad(a, [(0, n - old) for n, old in zip(size, a.shape, strict=True)])

    leaves, tree = jax.tree.flatten(cache)
    fitted = [one(a, size) for a, size in zip(leaves, sizes, strict=True)]
    return shape.pin(jax.tree.unflatten(tree, fitted), -3)


@functools.partial(jit, static_argnames="shape", donate_argnums=0)
def admit(slots: Slots, pages: KV, arrivals: NewRequests, *, shape: EngineModel) -> Slots:
    """Puts leaves into slots: their prefixes are gathered from the pool, once for all their candidates."""
    named = [name for name in NewRequests._fields if name in Slots._fields]
    rows = jnp.arange(slots.start.shape[1])

    def one(i: jax.Array, slots: Slots) -> Slots:
        slot = arrivals.slot[i]

        def place(cache: jax.Array, new: jax.Array) -> jax.Array:
            at = [0] * cache.ndim
            at[cache.ndim - 4] = slot
            return jax.lax.dynamic_update_slice(cache, new, at)

        leaf = lay_out(pool.gather(pages, arrivals.tables[i][None], shape.compute_dtype))
        fresh = {name: getattr(arrivals, name)[i] for name in named}
        mine = arrivals.first[i] + rows
        fresh |= {"next": mine[-1] + 1, "candidate": mine, "start": 0, "pending": fresh["last"]}
        here = jnp.broadcast_to((jnp.arange(len(slots.n)) == slot)[:, None], slots.start.shape)
        # The suffix cache stays: an older candidate's columns lie where nobody looks until they are written.
        return slots._replace(
            prefix=jax.tree.map(place, slots.prefix, leaf),
            seen=stops.begin(slots.seen, here, slots.opens.at[slot].set(arrivals.opens[i])),
            **{name: getattr(slots, name).at[slot].set(value) for name, value in fresh.items()},
        )

    return by_field(shape.pin, jax.lax.fori_loop(0, arrivals.count, one, slots))


@functools.partial(jit, static_argnames=("shape", "S", "chunk", "top_k", "top_p", "min_p"), donate_argnums=1)
def advance(
    params: dict[str, jax.Array],
    slots: Slots,
    bias_V: jax.Array | None,
    table: stops.Table,
    enough: jax.Array | np.integer,
    *,
    shape: EngineModel,
    S: int,
    chunk: int,
    top_k: int,
    top_p: float,
    min_p: float,
) -> tuple[Slots, InFlight]:
    """Up to `chunk` decode steps; fewer once `enough` more slots are free (all rows idle), or all are.

    S: columns of the suffix caches. bias_V: added to the logits (-inf forbids a token). table: of what ends a
    candidate. top_k, top_p, min_p: as `sampling.draw` has them.
    """
    model, c = shape.build(params), shape.config
    B, N = slots.start.shape
    shared = model.share(slots.prefix, slots.prefix_length, S)
    put = jax.lax.dynamic_update_index_in_dim

    def free(s: Slots) -> jax.Array:
        return jnp.sum(jnp.all(s.candidate >= s.n[:, None], axis=1))

    # Counted here and not by the host: rows of leaves that were cancelled go on, their slots are not free.
    stop = jnp.minimum(free(slots) + enough, B)

    def going(carry: Carry) -> jax.Array:
        i, s, _, _ = carry
        return (i < chunk) & (free(s) < stop)

    def step(carry: Carry) -> Carry:
        i, s, trace, kept = carry

        def keep(all: jax.Array, now: jax.Array) -> jax.Array:
            return put(all, same_bits(jnp.squeeze(now, -3), all.dtype), i, -5)

        x, suffix, new = model.extend(s.pending[..., None], s.start, shared, s.prefix_length, s.suffix)
        logits = model.logits(x[:, :, 0]).reshape(B * N, -1)
        uniform = sampling.uniforms(
            jnp.repeat(s.key, N, axis=0), s.candidate.reshape(B * N), s.start.reshape(B * N)
        )
        token, logprob = sampling.draw(
            logits,
            uniform,
            jnp.repeat(s.temperature, N),
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            bias_V=bias_V,
        )
        token, logprob = token.reshape(B, N), logprob.reshape(B, N)
        seen, hit = stops.step(table, s.seen, token)
        did = Trace(s.candidate, s.start, token, logprob, hit)
        trace = jax.tree.map(lambda all, now: put(all, now, i, 0), trace, did)
        kept = jax.tree.map(keep, kept, new)
        live = s.candidate < s.n[:, None]
        # A row that is no distribution any more (`sampling.draw`) has nothing to go on with.
        ended = live & ((hit >= 0) | (s.start + 1 >= s.limit[:, None]) | jnp.isnan(logprob))
        begun = s.next[:, None] + jnp.cumsum(ended, axis=1) - 1  # the rows that ended go on in their order
        s = s._replace(
            suffix=suffix,
            next=s.next + jnp.sum(ended, axis=1),
            candidate=jnp.where(ended, begun, s.candidate),
            start=jnp.where(ended, 0, s.start + live),
            pending=jnp.where(ended, s.last[:, None], token),
            seen=stops.begin(seen, ended, s.opens),
        )
        return i + 1, s, trace, kept

    zero = jnp.zeros((chunk, B, N), jnp.int32)
    trace = Trace(zero, zero, zero, zero.astype(jnp.float32), zero)
    kept = jnp.zeros((c.layers, chunk, B, N, c.kv_heads, c.head_dim), shape.pool_dtype)
    start = jnp.int32(0), slots, trace, by_layer(shape.pin_pool((kept, kept)))
    steps, slots, trace, kept = jax.lax.while_loop(going, step, start)
    flight = InFlight(steps, slots.candidate, slots.start, trace, shape.pin_pool(whole(kept)))
    return by_field(shape.pin, slots), flight


@functools.partial(jit, static_argnames="shape")
def values(
    params: dict[str, jax.Array],
    pages: KV,
    tables_BxQ: jax.Array,
    prefix_length_B: jax.Array,
    tokens_BxNxT: jax.Array,
    last_BxN: jax.Array,
    *,
    shape: EngineModel,
) -> tuple[jax.Array, KV]:
    """Values before tanh, float32 [B, N], at token `last` of each suffix, and its keys and values
    [L, B, N, T, G, A].

    N suffixes follow each prefix, which lies in pages tables[b]. params: as `RewardModel.params`.
    """
    model = RewardModel.of(shape.build(params), params)
    B, N, T = tokens_BxNxT.shape
    prefix = lay_out(pool.gather(pages, tables_BxQ, shape.compute_dtype))
    shared = model.decoder.share(prefix, prefix_length_B, T)
    x, _, new = model.decoder.extend(
        tokens_BxNxT, jnp.int32(0), shared, prefix_length_B, model.decoder.empty_suffix(B, N, T)
    )
    at_last = jnp.take_along_axis(x, last_BxN[..., None, None], axis=2)[:, :, 0]
    return model.raw_of_hidden(at_last), shape.pin_pool(whole(new))


def pad_names(names: list[tuple[int, ...]], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Names as uint32 [rows, K] and their lengths [rows]; K is a multiple of 8."""
    K = -(-max((len(n) for n in names), default=1) // 8) * 8 or 8
    block, length = np.zeros((rows, K), np.uint32), np.zeros(rows, np.int32)
    for i, name in enumerate(names):
        block[i, : len(name)] = name
        length[i] = len(name)
    return block, length
