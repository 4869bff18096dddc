"""Drawing tokens on the device: keys by name, and one uniform number per row.

The inverse of the cumulative distribution costs one random number per row where Gumbel noise costs one per
vocabulary entry. It is inverted in two levels (sums over blocks, then inside one block), so no scan runs over
the whole vocabulary; nothing is sorted.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rstar_jax.engine import cuts

_IMPL = "threefry2x32"
_LARGE = 8192  # entries from which a batch of rows outgrows the cache of a core


def seed_key(seed: int) -> jax.Array:
    """Key data uint32 [2] of a seed, whatever generator the process has as its default."""
    return jax.random.key_data(jax.random.key(seed, impl=_IMPL))


@jax.jit
def leaf_keys(seed_2: jax.Array, names_BxK: jax.Array, length_B: jax.Array) -> jax.Array:
    """Key data uint32 [B, 2]: the seed, folded in turn with the first `length` ints of a leaf's name."""

    def leaf(name_K: jax.Array, length: jax.Array) -> jax.Array:
        seed = jax.random.wrap_key_data(seed_2, impl=_IMPL)
        key = jax.lax.fori_loop(0, length, lambda i, key: jax.random.fold_in(key, name_K[i]), seed)
        return jax.random.key_data(key)

    return jax.vmap(leaf)(names_BxK, length_B)


def uniforms(keys_Bx2: jax.Array, candidate_B: jax.Array, position_B: jax.Array) -> jax.Array:
    """A float32 in [0, 1) per row: of the leaf's key folded with the candidate, then the position."""

    def one(data: jax.Array, candidate: jax.Array, position: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.wrap_key_data(data, impl=_IMPL), candidate)
        return jax.random.uniform(jax.random.fold_in(key, position))

    return jax.vmap(one)(keys_Bx2, candidate_B, position_B)


def draw(
    logits_BxV: jax.Array,
    uniform_B: jax.Array,
    temperature_B: jax.Array,
    *,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    bias_V: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Tokens int32 [B] and their log-probabilities float32 [B] (as `Sample.logprob` defines them).

    logits_BxV: of any float dtype; the arithmetic is float32. bias_V: added to them; -inf forbids a token.
    temperature 0: the first of the largest logits. Cut as in transformers: by top-k (0: all), then among what
    is left the fewest tokens whose probabilities sum to top_p (1: all), then those at least min_p (0: all)
    times as likely as the likeliest. Tokens tied with the last one kept by top-k or top-p are kept too.
    A row that is no distribution (NaN or inf in it, or -inf throughout) gives token 0, log-probability NaN.
    """

    V = logits_BxV.shape[-1]
    width = 32 if V <= 4096 else 256
    cut = _Cut(bias_V, top_k, top_p, min_p, width)
    if V < _LARGE:
        return cut.draw(logits_BxV, uniform_B, temperature_B, cut.read)
    by_rows = 0 < top_k < V or top_p < 1
    return jax.lax.platform_dependent(
        logits_BxV,
        uniform_B,
        temperature_B,
        cpu=functools.partial(cut.draw, read=cut.read_row_by_row if by_rows else cut.read_columns),
        default=functools.partial(cut.draw, read=cut.read),
    )


class _Read(NamedTuple):
    """All that needs the whole vocabulary. sums: of the weights that are kept, by block."""

    top: jax.Array  # [B], the largest logit
    heat: jax.Array  # [B], the temperature; 1 where greedy
    least: jax.Array  # [B], the least log-weight kept
    total: jax.Array  # [B], of all weights, before they are cut
    sums: jax.Array  # [B, V / width]


@dataclasses.dataclass(frozen=True)
class _Cut:
    """Cuts of distributions, and the ways to read them."""

    bias_V: jax.Array | None
    top_k: int
    top_p: float
    min_p: float
    width: int

    def draw(
        self, logits: jax.Array, uniform: jax.Array, temperature: jax.Array, read: Callable[..., _Read]
    ) -> tuple[jax.Array, jax.Array]:
        found = read(logits, temperature)
        uniform = jnp.where(_greedy(temperature), 0.0, uniform)
        block_B, below_B = _first_above(found.sums, uniform * jnp.sum(found.sums, axis=-1))
        index = block_B[:, None] * self.width + jnp.arange(self.width)[None]
        if read == self.read_columns:
            picked = jnp.take_along_axis(logits.T, index.T, axis=0, mode="fill", fill_value=-jnp.inf).T
        else:
            picked = jnp.take_along_axis(logits, index, axis=-1, mode="fill", fill_value=-jnp.inf)
        picked = picked.astype(jnp.float32)
        if self.bias_V is not None:
            picked = picked + self.bias_V.at[index].get(mode="fill", fill_value=-jnp.inf)
        scaled = (picked - found.top[:, None]) / found.heat[:, None]
        weights = _weights(scaled, found.least[:, None])
        weights = jnp.where(_greedy(temperature)[:, None], picked == found.top[:, None], weights)
        at_B, _ = _first_above(weights, below_B)
        scaled_B = jnp.take_along_axis(scaled, at_B[:, None], axis=-1)[:, 0]
        broken_B = jnp.isnan(found.total)
        token_B = jnp.where(broken_B, 0, block_B * self.width + at_B)
        return token_B.astype(jnp.int32), jnp.where(broken_B, jnp.nan, scaled_B - jnp.log(found.total))

    def read(self, logits: jax.Array, temperature: jax.Array, *, by_rows: bool = False) -> _Read:
        greedy = _greedy(temperature)
        heat = jnp.where(greedy, 1.0, temperature)
        logits = logits.astype(jnp.float32)
        if self.bias_V is not None:
            logits = logits + self.bias_V[None]
        top = jnp.max(logits, axis=-1)
        scaled = (logits - top[:, None]) / heat[:, None]
        least = cuts.least_kept(scaled, top_k=self.top_k, top_p=self.top_p, min_p=self.min_p, select=by_rows)
        # With all the weight on the largest and u = 0 the same inversion is the argmax. The largest is found
        # by comparing: where logits end in a factor (int8's scales, a soft cap), it and the subtraction may
        # become one operation that rounds once, and the largest less itself is then not 0.
        weights = jnp.where(greedy[:, None], logits == top[:, None], _weights(scaled, least[:, None]))
        sums = _block_sums(weights, self.width)
        return _Read(top, heat, least, jnp.sum(jnp.exp(scaled), axis=-1), sums)

    def read_row_by_row(self, logits: jax.Array, temperature: jax.Array) -> _Read:
        """A row stays in the cache of a core for all that is done to it."""
        rows = logits[:, None], temperature[:, None]
        read = jax.lax.map(lambda row: self.read(*row, by_rows=True), rows)
        return jax.tree.map(lambda a: a[:, 0], read)

    def read_columns(self, logits: jax.Array, temperature: jax.Array) -> _Read:
        """Without top-k and top-p, in the order in which a CPU's head has made them: a token's logits in all
        rows side by side."""
        greedy = _greedy(temperature)
        heat = jnp.where(greedy, 1.0, temperature)
        columns = logits.T.astype(jnp.float32)
        if self.bias_V is not None:
            columns = columns + self.bias_V[:, None]
        short = -len(columns) % self.width
        blocks = jnp.pad(columns, ((0, short), (0, 0)), constant_values=-jnp.inf)
        blocks = blocks.reshape(-1, self.width, len(logits))
        # The barriers keep XLA from reading everything once more for the largest, and for the sum, of all.
        tops = jax.lax.optimization_barrier(jnp.max(blocks, axis=1))
        top = jnp.max(tops, axis=0)
        scaled = (blocks - top[None, None]) / heat[None, None]
        sums = jax.lax.optimization_barrier(jnp.sum(jnp.exp(scaled), axis=1))
        total, least = jnp.sum(sums, axis=0), jnp.full(len(logits), -jnp.inf)
        if self.min_p > 0:
            least = jnp.full(len(logits), jnp.log(jnp.float32(self.min_p)))
            sums = jnp.sum(_weights(scaled, least), axis=1)
        sums = jnp.where(greedy[None], (tops == top[None]).astype(jnp.float32), sums)
        return _Read(top, heat, least, total, sums.T)


def _greedy(temperature: jax.Array) -> jax.Array:
    return temperature < jnp.finfo(jnp.float32).tiny


def _weights(scaled: jax.Array, least: jax.Array) -> jax.Array:
    return jnp.where(scaled >= least, jnp.exp(scaled), 0.0)


def _block_sums(weights_BxV: jax.Array, width: int) -> jax.Array:
    """The sums of each `width` columns, the last ones of what is left."""
    B, V = weights_BxV.shape
    return jnp.sum(jnp.pad(weights_BxV, ((0, 0), (0, -V % width))).reshape(B, -1, width), axis=-1)


def _first_above(weights_BxM: jax.Array, target_B: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first index of positive weight whose cumulative sum exceeds the target (rounding may leave none:
    then the last of positive weight), and how much of the target lies beyond what comes before it."""
    M = weights_BxM.shape[-1]
    cumulative = jnp.cumsum(weights_BxM, axis=-1)
    possible = weights_BxM > 0
    index = jnp.arange(M)
    first = jnp.min(jnp.where(possible & (cumulative > target_B[:, None]), index, M), axis=-1)
    last = jnp.max(jnp.where(possible, index, 0), axis=-1)
    at = jnp.where(first < M, first, last)[:, None]
    before = jnp.take_along_axis(cumulative, at, axis=-1) - jnp.take_along_axis(weights_BxM, at, axis=-1)
    return at[:, 0], target_B - before[:, 0]
