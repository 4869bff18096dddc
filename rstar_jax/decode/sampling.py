"""Drawing tokens on the device: keys by name, and one uniform number per row.

The inverse of the cumulative distribution costs one random number per row where Gumbel noise costs one per
vocabulary entry. It is inverted in two levels (sums over blocks, then inside one block), so no scan runs over
the whole vocabulary; nothing is sorted.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rstar_jax.decode import cuts

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

    def scaled_of(logits: jax.Array, bias: jax.Array | None, top: jax.Array, heat: jax.Array) -> jax.Array:
        logits = logits.astype(jnp.float32)
        return ((logits if bias is None else logits + bias) - top[:, None]) / heat[:, None]

    def weights_of(scaled: jax.Array, least: jax.Array) -> jax.Array:
        return jnp.where(scaled >= least[:, None], jnp.exp(scaled), 0.0)

    def read(logits: jax.Array, temperature: jax.Array, by_rows: bool = False) -> tuple[jax.Array, ...]:
        """All that needs the whole vocabulary: per row top, heat, least, total and the sums of blocks."""
        greedy = temperature < jnp.finfo(jnp.float32).tiny
        heat = jnp.where(greedy, 1.0, temperature)
        top = jnp.max(logits.astype(jnp.float32) + (0.0 if bias_V is None else bias_V), axis=-1)
        scaled = scaled_of(logits, bias_V, top, heat)
        least = cuts.least_kept(scaled, top_k=top_k, top_p=top_p, min_p=min_p, select=by_rows)
        # With all the weight on the largest and u = 0 the same inversion is the argmax.
        least = jnp.where(greedy, 0.0, least)
        sums = _block_sums(weights_of(scaled, least), width)
        return top, heat, least, jnp.sum(jnp.exp(scaled), axis=-1), sums

    def row_by_row(logits: jax.Array, temperature: jax.Array) -> tuple[jax.Array, ...]:
        """The same. A row stays in the cache of a core for all that is done to it."""
        rows = logits[:, None], temperature[:, None]
        return jax.tree.map(lambda a: a[:, 0], jax.lax.map(lambda row: read(*row, by_rows=True), rows))

    V = logits_BxV.shape[-1]
    width = 32 if V <= 4096 else 256
    if V < _LARGE:
        top_B, heat_B, least_B, total_B, sums = read(logits_BxV, temperature_B)
    else:
        top_B, heat_B, least_B, total_B, sums = jax.lax.platform_dependent(
            logits_BxV, temperature_B, cpu=row_by_row, default=read
        )
    uniform_B = jnp.where(temperature_B < jnp.finfo(jnp.float32).tiny, 0.0, uniform_B)
    block_B, below_B = _first_above(sums, uniform_B * jnp.sum(sums, axis=-1))
    index = block_B[:, None] * width + jnp.arange(width)
    logits = jnp.take_along_axis(logits_BxV, index, axis=-1, mode="fill", fill_value=-jnp.inf)
    bias = None if bias_V is None else bias_V.at[index].get(mode="fill", fill_value=-jnp.inf)
    scaled = scaled_of(logits, bias, top_B, heat_B)
    at_B, _ = _first_above(weights_of(scaled, least_B), below_B)
    picked_B = jnp.take_along_axis(scaled, at_B[:, None], axis=-1)[:, 0]
    broken_B = jnp.isnan(total_B)
    token_B = jnp.where(broken_B, 0, block_B * width + at_B)
    return token_B.astype(jnp.int32), jnp.where(broken_B, jnp.nan, picked_B - jnp.log(total_B))


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
