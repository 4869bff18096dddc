"""How a decoder keeps keys and values: by layer where layers are unrolled, stacked where they are scanned."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from rstar_jax.models import attention, rope
from rstar_jax.models.config import DecoderConfig

KV = attention.KV  # a prefix's keys and values, each [L, B, P, G, A]
# The candidates' own keys [B, N, G, A, S] and values [B, N, G, S, A'] (A' as attention.widen has it): a pair
# per layer where layers are unrolled, else one pair stacked along a leading L. `empty_suffix` makes it.
Suffix = tuple[KV, ...]

# So few layers are unrolled, and keep a cache each. In a loop over tokens XLA then slices the weights once,
# and updates the caches in place; a stacked cache is copied several times per token on a CPU.
UNROLL_UP_TO = 12


class Shared(NamedTuple):
    """What `extend` needs of the leaves' prefixes, whatever token it is at.

    layers: keys [B, G, A, P] and values [B, G, P, A'], in pairs as for Suffix.
    tables: rotary tables of the suffix slots, [B, S, R/2] float32.
    """

    layers: tuple[KV, ...]
    tables: tuple[rope.Tables, ...]


def lay_out(prefix: KV) -> tuple[KV, ...]:
    """A prefix cache [L, B, P, G, A] as `Decoder.extend` reads it: keys [B, G, A, P], values [B, G, P, A'].

    Done once for a prefix: in a loop over tokens XLA would transpose it for every token.
    """
    k, v = jnp.transpose(prefix[0], (0, 1, 3, 4, 2)), jnp.transpose(prefix[1], (0, 1, 3, 2, 4))
    return by_layer((k, attention.widen(v)))


def empty_suffix(c: DecoderConfig, dtype: Any, B: int, N: int, S: int) -> Suffix:
    """A zero cache, in the layout of `Decoder.extend`, for N candidates of S tokens at each of B leaves."""
    k = jnp.zeros((c.layers, B, N, c.kv_heads, c.head_dim, S), dtype)
    v = attention.widen(jnp.zeros((c.layers, B, N, c.kv_heads, S, c.head_dim), dtype))
    return by_layer((k, v))


def by_layer(stacked: KV) -> tuple[KV, ...]:
    """A stacked pair [L, ...] in the form that so many layers are run in."""
    layers = stacked[0].shape[0]
    if not 1 < layers <= UNROLL_UP_TO:
        return (stacked,)
    return tuple((stacked[0][layer], stacked[1][layer]) for layer in range(layers))


def get(cache: tuple[KV, ...], layer: jax.Array | int) -> KV:
    """A layer's pair from pairs by layer (a Python int then), or from one stacked pair."""
    if len(cache) == 1:
        k, v = (jax.lax.dynamic_index_in_dim(a, layer, keepdims=False) for a in cache[0])
        return k, v
    return cache[cast(int, layer)]


def put(cache: tuple[KV, ...], new: KV, layer: jax.Array | int) -> tuple[KV, ...]:
    """The cache with a layer's pair replaced; arguments as for `get`."""
    if len(cache) == 1:
        update = jax.lax.dynamic_update_index_in_dim
        return ((update(cache[0][0], new[0], layer, 0), update(cache[0][1], new[1], layer, 0)),)
    layer = cast(int, layer)
    return *cache[:layer], new, *cache[layer + 1 :]
