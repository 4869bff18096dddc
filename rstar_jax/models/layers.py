"""One layer of a decoder: norms, attention (grouped heads or latent), gated MLP and experts.

Functions of a config, the layer's weights by name and activations [..., T, D]; what tokens see each other is
the affair of the `Attend` that is handed in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from rstar_jax import sharding
from rstar_jax.models import experts, rope
from rstar_jax.models.bfloat16 import rounded
from rstar_jax.models.config import DecoderConfig, Latent
from rstar_jax.models.linear import FusedWithGate, OutputMajor, matmul, output_major_product, product

Weights = Mapping[str, jax.Array]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
}


# Logical axes of states [B, T, D] or [B, N, T, D]: between attention and MLP, and inside of them.
STATES = ("batch", "sequence", None)
WHOLE = ("batch", "tokens", None)
LATENT_EPS = 1e-6  # of the norms of latents: DeepSeek-V2's code has this, whatever its config says


class Attend(Protocol):
    """Attention of queries to keys and values, and the cache afterwards.

    entry: what to keep of k and v; None: they themselves.
    """

    def __call__(
        self,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        cache: Any,
        entry: tuple[jax.Array, jax.Array] | None = None,
    ) -> tuple[jax.Array, Any]: ...


def block(
    c: DecoderConfig,
    w: Weights,
    x: jax.Array,
    tables: rope.Tables,
    attend: Attend,
    cache: Any,
    *,
    cached: bool,
    mesh: Mesh | None = None,
) -> tuple[jax.Array, Any]:
    """States after one layer, and the cache.

    tables: [..., T, 1, R/2], of the tokens' positions. cached: `attend` attends to what the cache holds of
    the past, too; else the tokens' own keys and values are all there is. mesh: where there is one, the
    parameters lie on it by `sharding.preset_for`.
    """
    h = gathered(rms_norm(c, x, w["attn_norm"]), mesh)
    if c.latent is None:
        out, cache = _grouped(c, w, h, tables, attend, cache)
    else:
        out, cache = _latent(c, c.latent, w, h, tables, attend, cache, cached)
    if c.post_norms:
        out = rms_norm(c, out, w["attn_post_norm"])
    x = x + product(scattered(out, mesh))
    h = gathered(rms_norm(c, x, w["mlp_norm"]), mesh)
    out = gated(c, h, w["gate"], w["up"], w["down"])
    if "router" in w:
        out = out + experts.routed(c, functools.partial(activated, c), w, h, mesh)
    if c.post_norms:
        out = rms_norm(c, out, w["mlp_post_norm"])
    return x + scattered(out, mesh), cache


def gathered(h: jax.Array, mesh: Mesh | None) -> jax.Array:
    """States whose sequence was split, whole. Both ends are said: their gradient then goes the way back."""
    return sharding.placed(sharding.placed(h, STATES, mesh), WHOLE, mesh)


def scattered(out: jax.Array, mesh: Mesh | None) -> jax.Array:
    """Split what attention or MLP adds to states along the sequence again."""
    return sharding.placed(sharding.placed(out, WHOLE, mesh), STATES, mesh)


def rms_norm(c: DecoderConfig, x: jax.Array, weight: jax.Array, eps: float | None = None) -> jax.Array:
    """x over its root mean square, times weight (or 1 + weight), computed in float32."""
    if x.ndim > 2 and x.shape[0] == 1:
        # XLA:CPU sums products of [1, T, D], as its gradient has them, twenty times as slowly as of [T, D].
        return rms_norm(c, x[0], weight, eps)[None]
    x32 = x.astype(jnp.float32)
    scaled = x32 * jax.lax.rsqrt(
        jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + (c.norm_eps if eps is None else eps)
    )
    weight = _as_wide(weight, x.ndim)
    return (scaled * (1 + weight if c.norm_offset else weight)).astype(x.dtype)


def gated(c: DecoderConfig, h: jax.Array, gate: jax.Array, up: jax.Array, down: jax.Array) -> jax.Array:
    """The gated MLP (arXiv 2002.05202)."""
    dtype = h.dtype
    if isinstance(gate, OutputMajor) and isinstance(up, FusedWithGate) and isinstance(down, OutputMajor):
        # Between its products all stays in the order in which they make it: [F, tokens].
        gate_and_up = rounded(output_major_product(gate, h.reshape(-1, h.shape[-1]), 1, dtype), dtype)
        inner = rounded(_activated(c, *jnp.split(gate_and_up, 2)), dtype)
        return output_major_product(down, inner, 0, dtype).T.reshape(h.shape).astype(dtype)
    inner = activated(c, *(matmul("...d,df->...f", h, w, dtype).astype(dtype) for w in (gate, up)))
    return matmul("...f,fd->...d", inner, down, dtype).astype(dtype)


def activated(c: DecoderConfig, gate: jax.Array, up: jax.Array) -> jax.Array:
    """activation(gate) * up, in float32 and rounded once; of its own its gradient keeps only the two."""
    work = jax.checkpoint(lambda gate, up: _activated(c, gate, up).astype(gate.dtype))
    return work(product(gate), product(up))


def _activated(c: DecoderConfig, gate: jax.Array, up: jax.Array) -> jax.Array:
    return ACTIVATIONS[c.activation](gate.astype(jnp.float32)) * up.astype(jnp.float32)


def _grouped(
    c: DecoderConfig, w: Weights, h: jax.Array, tables: rope.Tables, attend: Attend, cache: Any
) -> tuple[jax.Array, Any]:
    dtype = h.dtype
    q, k, v = (_project(c, w, h, name) for name in ("q", "k", "v"))
    if c.qk_norm:
        q, k = rms_norm(c, q, w["q_norm"]), rms_norm(c, k, w["k_norm"])
    scale = c.head_dim**-0.5 if c.query_scale is None else c.query_scale
    q = (rope.rotate(q, tables, interleaved=c.rope.interleaved) * scale).astype(dtype)
    k = rope.rotate(k, tables, interleaved=c.rope.interleaved).astype(dtype)
    q, k, v = product(q), product(k), product(v.astype(dtype))
    out, cache = attend(q, k, v, cache)
    out = matmul("...ha,had->...d", out, w["o"], dtype)
    if c.o_bias:
        out = out + _as_wide(w["o_bias"], out.ndim)
    return out.astype(dtype), cache


def _latent(
    c: DecoderConfig,
    a: Latent,
    w: Weights,
    h: jax.Array,
    tables: rope.Tables,
    attend: Attend,
    cache: Any,
    cached: bool,
) -> tuple[jax.Array, Any]:
    """Cached tokens are attended to in the latent space, as one head that all queries share.

    There the up-projections of keys and values act on queries and on the outcome instead (arXiv 2405.04434,
    section 2.1.2). Without a past, heads are made and attended to as usual, which takes fewer operations.
    """
    dtype = h.dtype
    if a.q_rank is not None:
        h_q = matmul("...d,dr->...r", h, w["q_down"], dtype).astype(dtype)
        h_q = rms_norm(c, h_q, w["q_down_norm"], LATENT_EPS)
    else:
        h_q = h
    q = matmul("...d,dha->...ha", h_q, w["q"], dtype)
    scale = (a.nope + a.rope) ** -0.5 if c.query_scale is None else c.query_scale
    q_nope = (q[..., : a.nope] * scale).astype(dtype)
    q_rope = (rope.rotate(q[..., a.nope :], tables, interleaved=c.rope.interleaved) * scale).astype(dtype)
    down = matmul("...d,dr->...r", h, w["kv_down"], dtype)
    latent = rms_norm(c, down[..., : a.kv_rank].astype(dtype), w["kv_norm"], LATENT_EPS)[..., None, :]
    k_rope = rope.rotate(down[..., None, a.kv_rank :], tables, interleaved=c.rope.interleaved).astype(dtype)
    entry = jnp.concatenate([latent, k_rope], axis=-1)
    up = w["kv_up"]
    k_up, v_up = up[..., : a.nope], up[..., a.nope :]
    if cached:
        q_latent = matmul("...ha,rha->...hr", q_nope, k_up, dtype).astype(dtype)
        out, cache = attend(jnp.concatenate([q_latent, q_rope], axis=-1), entry, entry, cache)
        out = matmul("...hr,rha->...ha", out[..., : a.kv_rank], v_up, dtype).astype(dtype)
    else:
        k = matmul("...r,rha->...ha", latent[..., 0, :], k_up, dtype).astype(dtype)
        v = matmul("...r,rha->...ha", latent[..., 0, :], v_up, dtype).astype(dtype)
        k = jnp.concatenate([k, jnp.broadcast_to(k_rope, (*k.shape[:-1], a.rope))], axis=-1)
        q, k, v = product(jnp.concatenate([q_nope, q_rope], axis=-1)), product(k), product(v)
        out, cache = attend(q, k, v, cache, (entry, entry))
    return matmul("...ha,had->...d", out, w["o"], dtype).astype(dtype), cache


def _project(c: DecoderConfig, w: Weights, h: jax.Array, name: str) -> jax.Array:
    out = matmul("...d,dha->...ha", h, w[name], h.dtype)
    return out + _as_wide(w[f"{name}_bias"], out.ndim) if c.qkv_bias else out


def _as_wide(weight: jax.Array, ndim: int) -> jax.Array:
    """A weight of the last dimensions in float32, with as many dimensions as what it meets."""
    return jnp.expand_dims(weight.astype(jnp.float32), range(ndim - weight.ndim))
