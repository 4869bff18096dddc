"""Layout of a decoder's keys and values: by layer where layers are unrolled, stacked where they are
scanned."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from rstar_jax.kernels import attention_mesh
from rstar_jax.models import attention, rope
from rstar_jax.models.config import DecoderConfig

KV = attention.KV  # a prefix's keys and values, each [L, B, P, G, A]


class ByToken(NamedTuple):
    """A pair whose keys lie as its values do: [..., S, A] and [..., S, A'], both whole vectors.

    The layout of suffixes on a TPU, where a step then writes one tile of rows, not a lane of many tiles, and
    on an NVIDIA GPU, where a step by columns reads and writes the whole cache twice (docs/LOG.md).
    """

    k: jax.Array
    v: jax.Array


# The candidates' own keys [B, N, G, A, S] and values [B, N, G, S, A'] (A' as attention.widen has it), or both
# `ByToken`: a pair per layer where layers are unrolled, else one pair stacked along a leading L.
# `empty_suffix` makes it.
Suffix = tuple[KV | ByToken, ...]

BY_TOKEN = ("tpu", "cuda")  # platforms on which suffixes are

# So few layers are unrolled wherever they are run, and keep a cache each. In a loop over tokens XLA then
# slices the weights once, and updates the caches in place; a stacked cache is copied several times per token
# on a CPU.
UNROLL_UP_TO = 12
# In decoding more are, by platform: a loop over layers copies each one's weights before it multiplies by
# them, at every token (docs/LOG.md). Not any number, as each takes a part of a second to compile: Qwen2.5
# 72B has 80.
UNROLL_DECODING_UP_TO = {"cpu": 80, "cuda": 80}
# And in whole texts and their gradients, which on a CPU take three halves of the time in a loop: it cuts the
# stacks and puts gradients into them, and what it keeps for the backward pass goes through memory.
UNROLL_TEXTS_UP_TO = {"cpu": 32}


class Shared(NamedTuple):
    """Arrays of the leaves' prefixes that `extend` needs at every token.

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
    return by_layer((k, attention.widen(v, vector(attention_mesh.current_platform()))))


def empty_suffix(c: DecoderConfig, dtype: Any, B: int, N: int, S: int) -> Suffix:
    """A zero cache, in the layout of `Decoder.extend`, for N candidates of S tokens at each of B leaves."""
    platform, lead = attention_mesh.current_platform(), (c.layers, B, N, c.kv_heads)
    v = attention.widen(jnp.zeros((*lead, S, c.head_dim), dtype), vector(platform))
    if platform in BY_TOKEN:
        return by_layer(ByToken(jnp.zeros_like(v), v))
    return by_layer((jnp.zeros((*lead, c.head_dim, S), dtype), v))


def vector(platform: str) -> int:
    """Lane width that value vectors are padded to: the lanes of a TPU's registers."""
    return 128 if platform == "tpu" else 16


def unrolled(layers: int, platform: str) -> bool:
    """Return whether decoding on a platform runs so many layers one by one, not in a scan."""
    return layers <= UNROLL_DECODING_UP_TO.get(platform, UNROLL_UP_TO)


def texts_unrolled(layers: int, platform: str) -> bool:
    """Return whether whole texts on a platform run through so many layers one by one, not in a scan."""
    return layers <= UNROLL_TEXTS_UP_TO.get(platform, UNROLL_UP_TO)


def by_layer(stacked: KV | ByToken) -> Suffix:
    """A stacked pair [L, ...] in the form that so many layers are run in."""
    layers = stacked[0].shape[0]
    if layers <= 1 or not unrolled(layers, attention_mesh.current_platform()):
        return (stacked,)
    return tuple(jax.tree.map(lambda a, layer=layer: a[layer], stacked) for layer in range(layers))


def get(cache: Suffix, layer: jax.Array | int) -> KV | ByToken:
    """A layer's pair from pairs by layer (a Python int then), or from one stacked pair."""
    if len(cache) == 1:
        return jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, layer, keepdims=False), cache[0])
    return cache[cast(int, layer)]


def put(cache: Suffix, new: KV | ByToken, layer: jax.Array | int) -> Suffix:
    """The cache with a layer's pair replaced; arguments as for `get`."""
    if len(cache) == 1:
        update = jax.lax.dynamic_update_index_in_dim
        return (jax.tree.map(lambda a, pair: update(a, pair, layer, 0), cache[0], new),)
    layer = cast(int, layer)
    return *cache[:layer], new, *cache[layer + 1 :]


def whole(cache: Suffix) -> KV:
    """Undo `by_layer`: one pair with a leading axis of layers."""
    return cache[0] if len(cache) == 1 else jax.tree.map(lambda *layers: jnp.stack(layers), *cache)


def stacked(cache: Suffix, layer: jax.Array | int) -> tuple[KV | ByToken, jax.Array | int]:
    """A pair with a leading axis of layers, and the layer's place in it: no copy, unlike `get`."""
    if len(cache) == 1:
        return cache[0], layer
    return jax.tree.map(lambda a: a[None], cache[cast(int, layer)]), 0


def replaced(cache: Suffix, new: KV | ByToken, layer: jax.Array | int) -> Suffix:
    """The cache with what `stacked` gave replaced."""
    if len(cache) == 1:
        return (new,)
    return put(cache, jax.tree.map(lambda a: a[0], new), layer)
