"""Attention of a layer's candidates to the prefix they share and to themselves: plainly, or by kernels.

The one door to `attention.shared_prefix` and `attention.write_suffix` for whoever has a cache of many layers:
kernels take that whole, as a slice of a layer that XLA would fuse into its own products is a copy before a
kernel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh

from rstar_jax import sharding
from rstar_jax.kernels import attention_mesh, prefix_gpu, prefix_tpu, suffix_tpu
from rstar_jax.kernels.attention_xla import MASKED, Window, bound
from rstar_jax.models import attention
from rstar_jax.models import cache as caches
from rstar_jax.models.cache import KV, ByToken, Suffix
from rstar_jax.models.config import DecoderConfig

Place = Mesh | AbstractMesh | None


class Choice(NamedTuple):
    """prefix, suffix: how either is attended to: "plain" or as the kernel is compiled, "mosaic" (a TPU's) or
    "triton" (a GPU's). why: not the kernels, or ""."""

    prefix: str
    suffix: str
    why: str


PLAIN = Choice("plain", "plain", "")
KERNELS = {"tpu": "mosaic", "cuda": "triton"}
# Whether to use them: "auto": where `SHORTEST` says so, "on": wherever they can, "off".
When = Literal["auto", "on", "off"]
# The shortest prefix cache that does on "auto", by platform. On a TPU this is no measurement but what the
# compiled programs say (docs/LOG.md): the kernel never moves more than plain operations do. On a GPU it is
# still to be measured (benchmarks/gpu_decode.py).
SHORTEST = {"tpu": prefix_tpu.LANES}


def choose(
    platform: str,
    T: int,
    A: int,
    C: int,
    P: int,
    S: int,
    *,
    by_token: bool,
    own_heads: bool = True,
    when: When = "auto",
) -> Choice:
    """Choose how T tokens per candidate attend to prefix caches of P columns and suffix caches of S slots.

    platform: as `attention_mesh.platform` has it. A, C: numbers of a key, and of a value as cached.
    by_token: the layout of suffixes. own_heads: whether a device holds just the kv heads that its queries
    read; else it holds all of them, and a suffix kernel that writes would write but its own.
    """
    kernel = KERNELS.get(platform)
    if kernel is None:
        return PLAIN._replace(why=f"no kernel for {platform}")
    if when == "off":
        return PLAIN._replace(why="kernels are off")
    if when == "auto" and platform not in SHORTEST:
        return PLAIN._replace(why=f"kernels were not timed on {platform}, they must be turned on")
    no_prefix = (prefix_tpu if kernel == "mosaic" else prefix_gpu).missing(P, A, C)
    if when == "auto" and not no_prefix and SHORTEST[platform] > P:
        no_prefix = f"prefixes of {P} columns are short"
    wide = -(-A // prefix_tpu.LANES) * prefix_tpu.LANES
    no_suffix = suffix_tpu.missing(S, wide, C) if kernel == "mosaic" else prefix_gpu.missing(S, A, C)
    if T > 1:
        no_suffix = f"{T} tokens at once"
    elif not by_token:
        no_suffix = "suffixes that do not lie by token"
    elif kernel == "mosaic" and not own_heads:
        no_suffix = "kv heads that are not split as the queries' are"
    reasons = [f"{part}: {why}" for part, why in (("prefix", no_prefix), ("suffix", no_suffix)) if why]
    return Choice("plain" if no_prefix else kernel, "plain" if no_suffix else kernel, "; ".join(reasons))


def describe(c: DecoderConfig, T: int, P: int, S: int, mesh: Place = None, when: When = "auto") -> str:
    """One line for a log: how candidates of this decoder attend to prefixes and to themselves."""
    platform = attention_mesh.platform(mesh)
    by_token, tensor = platform in caches.BY_TOKEN, mesh.shape.get("tensor", 1) if mesh else 1
    C = c.head_dim + -c.head_dim % caches.vector(platform)
    heads = _heads(c.heads, c.kv_heads, tensor)
    choice = PLAIN._replace(why=f"{c.heads} heads of {c.kv_heads} kv heads over {tensor} devices")
    if heads is not None:
        choice = choose(platform, T, c.head_dim, C, P, S, by_token=by_token, own_heads=heads[1], when=when)
    why = f" ({choice.why})" if choice.why else ""
    parts = f"prefix {choice.prefix}, suffix {choice.suffix}{why}"
    return f"candidates of {T} tokens after {P} on {platform}: {parts}"


def attend(
    q_BxNxTxHxA: jax.Array,
    new: KV,
    prefix: Suffix,
    prefix_length_B: jax.Array,
    suffix: Suffix,
    layer: jax.Array | int,
    start: jax.Array,
    window: Window = None,
    cap: float | None = None,
    *,
    mesh: Place = None,
    when: When = "auto",
    choice: Choice | None = None,
    interpret: bool = False,
) -> tuple[jax.Array, Suffix]:
    """One layer of `attention.shared_prefix`, from caches of all layers: [B, N, T, H, A], and the suffixes.

    new: keys and values [B, N, T, G, A] of the tokens, which are written to slots start … start + T - 1.
    mesh: over which leaves and heads are split; by default that of `jax.set_mesh`, else one device; its
    platform decides. when: as for `choose`. choice: a result of it; None: what it says. interpret: kernels
    anywhere, slowly.
    """
    mesh = attention_mesh.current_mesh() if mesh is None else mesh
    B, N, T, H, A = q_BxNxTxHxA.shape
    (k, v), own = prefix[0], suffix[0]
    G, P, C, S = k.shape[-3], k.shape[-1], v.shape[-1], own[1].shape[-2]
    tensor = 1 if mesh is None else mesh.shape.get("tensor", 1)
    heads = _heads(H, G, tensor)
    if choice is None:
        platform, by_token = attention_mesh.platform(mesh), isinstance(own, ByToken)
        choice = PLAIN
        if heads is not None:
            choice = choose(platform, T, A, C, P, S, by_token=by_token, own_heads=heads[1], when=when)
    if choice.prefix == choice.suffix == "plain":
        return _plain(q_BxNxTxHxA, new, prefix, prefix_length_B, suffix, layer, start, window, cap)
    if choice.suffix != "plain" or start.ndim:
        start = jnp.broadcast_to(attention.per_row(start), (B, N))
    step = functools.partial(_by_kernels, cap=cap, choice=choice, interpret=interpret)
    if mesh is None or mesh.size == 1:
        return step(q_BxNxTxHxA, new, prefix, prefix_length_B, suffix, layer, start, bound(window), 0, G)
    assert heads is not None
    return _split(
        cast(Mesh, mesh), step, heads, q_BxNxTxHxA, new, prefix, prefix_length_B, suffix, layer, start, window
    )


def _heads(H: int, G: int, devices: int) -> tuple[int, bool] | None:
    """Count the kv heads that the queries of one device read, and whether it holds those only; None:
    neither."""
    if H % devices == 0 and G % devices == 0:
        return G // devices, True
    if H % devices == 0 and (H // G) % (H // devices) == 0:
        return 1, False
    return (G, True) if H % devices else None  # heads that cannot be split lie on every device


def _split(
    mesh: Mesh,
    step: Any,
    heads: tuple[int, bool],
    q: jax.Array,
    new: KV,
    prefix: Suffix,
    prefix_length: jax.Array,
    suffix: Suffix,
    layer: jax.Array | int,
    start: jax.Array,
    window: Window,
) -> tuple[jax.Array, Suffix]:
    """`step` on each device's share of leaves and heads."""
    preset = sharding.preset_for(mesh)
    H, G = q.shape[3], new[0].shape[3]

    def spec(a: jax.Array, *axes: str | None) -> Any:
        axes = (None,) * (a.ndim - len(axes)) + axes
        return sharding.sharding(mesh, axes, a.shape, preset).spec

    by_heads = spec(q, "batch", None, None, "heads", None)
    specs = (
        by_heads,
        jax.tree.map(lambda a: spec(a, "batch", None, None, "kv_heads", None), new),
        jax.tree.map(lambda a: spec(a, "batch", "kv_heads", None, None), prefix),
        spec(prefix_length, "batch"),
        jax.tree.map(lambda a: spec(a, "batch", None, "kv_heads", None, None), suffix),
        jax.P(),
        spec(start, "batch", None) if start.ndim else jax.P(),
        jax.P(),
    )
    count, own = heads

    def local(q, new, prefix, prefix_length, suffix, at, start, width):
        at = layer if at is None else at
        first = 0 if own else jax.lax.axis_index(by_heads[3]) * q.shape[3] // (H // G)
        return step(q, new, prefix, prefix_length, suffix, at, start, width, first, count)

    scanned = None if len(suffix) > 1 else jnp.asarray(layer, jnp.int32)  # which of a tuple is no array
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=specs,
        out_specs=(by_heads, specs[4]),
        check_vma=False,  # kernels do not say how what they return varies
    )(q, new, prefix, prefix_length, suffix, scanned, start, bound(window))


def _plain(
    q: jax.Array,
    new: KV,
    prefix: Suffix,
    prefix_length: jax.Array,
    suffix: Suffix,
    layer: jax.Array | int,
    start: jax.Array,
    window: Window,
    cap: float | None,
    head: jax.Array | int = 0,
    count: int = 0,
    attend_prefix: attention.AttendPart | None = None,
    attend_suffix: Callable[..., tuple[jax.Array, jax.Array, jax.Array]] | None = None,
) -> tuple[jax.Array, Suffix]:
    """Attend by plain operations, but for what `attend_prefix` and, given the suffixes and a layer too,
    `attend_suffix` do.

    The queries read `count` kv heads (0: all) from `head` on.
    """
    if isinstance(suffix[0], ByToken):
        pair, place = caches.stacked(suffix, layer)
        suffix = caches.replaced(suffix, _write(cast(ByToken, pair), new, place, start), layer)
        k, v = caches.get(suffix, layer)
        own = jnp.swapaxes(k[..., : q.shape[-1]], 3, 4), v
    else:
        own = attention.write_suffix(*caches.get(suffix, layer), new, start)
        suffix = caches.put(suffix, own, layer)
    shared = caches.get(prefix, layer)
    if 0 < count < own[0].shape[2]:
        own, shared = (
            jax.tree.map(lambda a, axis=axis: jax.lax.dynamic_slice_in_dim(a, head, count, axis), pair)
            for pair, axis in ((own, 2), (tuple(shared), 1))
        )
    C = max(own[1].shape[-1], shared[1].shape[-1])
    own, shared = ((pair[0], _fit(pair[1], C)) for pair in (own, shared))
    attend_own = functools.partial(attend_suffix, *caches.stacked(suffix, layer)) if attend_suffix else None
    parts = attend_prefix, attend_own
    return attention.shared_prefix(q, shared, prefix_length, own, start, window, cap, *parts), suffix


def _by_kernels(
    q: jax.Array,
    new: KV,
    prefix: Suffix,
    prefix_length: jax.Array,
    suffix: Suffix,
    layer: jax.Array | int,
    start: jax.Array,
    width: jax.Array | int | None,
    head: jax.Array | int,
    count: int,
    *,
    cap: float | None,
    choice: Choice,
    interpret: bool,
) -> tuple[jax.Array, Suffix]:
    """On one device: arguments as for `attend`, width and heads as for the kernels."""
    B, N, T, H, A = q.shape
    M = H // count
    (k, v), at = caches.stacked(prefix, layer)
    P = k.shape[-1]

    def attend_prefix(q_BxGxRxA: jax.Array, query_heads: int = M) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The prefix's part for queries in the order of candidates, tokens and `query_heads`."""
        first = None
        if width is not None:
            place = attention.per_row(start)[..., None] + jnp.arange(T)[None, None]
            first = jnp.broadcast_to(prefix_length[:, None, None] + place - width + 1, (B, N, T))
            first = jnp.repeat(first.reshape(B, N * T), query_heads, axis=1)
        if choice.prefix != "plain":
            kernel = prefix_tpu.part if choice.prefix == "mosaic" else prefix_gpu.part
            return kernel(q_BxGxRxA, k, v, at, prefix_length, first, cap, head=head, interpret=interpret)
        columns = jnp.arange(P)[None, None]
        seen = columns < prefix_length[:, None, None]
        seen = seen if first is None else seen & (columns >= first[..., None])
        return attention.part(q_BxGxRxA, *caches.get(prefix, layer), seen[:, None], cap)

    def attend_suffix(
        pair: ByToken, at: Any, q_BxNxGxRxA: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The own tokens' part: each candidate is to the kernel a leaf of its own."""
        own = q_BxNxGxRxA.reshape(B * N, *q_BxNxGxRxA.shape[2:])
        k, v = (a.reshape(a.shape[0], B * N, *a.shape[3:]) for a in pair)
        place, first = start.reshape(B * N), None
        if width is not None:
            first = jnp.broadcast_to((place - width + 1)[:, None], (B * N, own.shape[2]))
        out, top, total = prefix_gpu.part(
            own, k, v, at, place + 1, first, cap, head=head, by_token=True, interpret=interpret
        )
        out, top, total = (a.reshape(B, N, *a.shape[1:]) for a in (out, top, total))
        return out, top, total

    if choice.suffix != "mosaic":
        args = q, new, prefix, prefix_length, suffix, layer, start, width, cap, head, count
        by_kernel = None if choice.prefix == "plain" else attend_prefix
        return _plain(*args, by_kernel, attend_suffix if choice.suffix == "triton" else None)
    pair, place = caches.stacked(suffix, layer)
    short = -M % suffix_tpu.HEADS
    q = jnp.transpose(q[:, :, 0].reshape(B, N, count, M, A), (0, 2, 1, 3, 4))
    q = jnp.pad(q, ((0, 0), (0, 0), (0, 0), (0, short), (0, 0)))
    rows = N * (M + short)
    wide, C = pair[0].shape[-1], pair[1].shape[-1]
    prefix_part = (
        jnp.zeros((B, count, rows, C), jnp.float32),
        jnp.full((B, count, rows, 1), MASKED, jnp.float32),
        jnp.zeros((B, count, rows, 1), jnp.float32),
    )
    if P:
        sums, *stats = attend_prefix(q.reshape(B, count, rows, A), M + short)
        prefix_part = _fit(sums, C), *stats
    new_k, new_v = _fit(new[0][:, :, 0], wide), _fit(new[1][:, :, 0], C)
    out, *written = suffix_tpu.attend(
        _fit(q, wide), new_k, new_v, *pair, place, start, prefix_part, width, cap, interpret=interpret
    )
    out = jnp.transpose(out[:, :, :, :M, :A], (0, 2, 1, 3, 4)).reshape(B, N, 1, H, A)
    return out, caches.replaced(suffix, ByToken(*written), layer)


def _write(pair: ByToken, new: KV, layer: jax.Array | int, start: jax.Array) -> ByToken:
    """New keys and values [B, N, T, G, A] put straight into the caches of all layers [L, B, N, G, S, A].

    To take a layer out, change it and put it back would move it three times (docs/LOG.md).
    """

    def put(cache: jax.Array, new: jax.Array) -> jax.Array:
        new = _fit(new, cache.shape[-1]).astype(cache.dtype)
        if start.ndim == 0:
            update = jnp.swapaxes(new, 2, 3)[None]
            return jax.lax.dynamic_update_slice(cache, update, (layer, 0, 0, 0, start, 0))
        B, N, T, G, _ = new.shape
        b, n, t, g = jnp.ogrid[:B, :N, :T, :G]
        slots = attention.per_row(start)[..., None, None] + t
        return cache.at[layer, b, n, g, slots].set(new, mode="drop")

    return ByToken(*(put(cache, each) for cache, each in zip(pair, new, strict=True)))


def _fit(a: jax.Array, size: int) -> jax.Array:
    """Cut, or filled up with zeros, to a last axis of this size."""
    a = a[..., :size]
    return jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, size - a.shape[-1])])
