"""Routed experts: each token goes to a few of many small gated MLPs (arXiv 2405.04434, section 2.2).

Exact: no expert has a capacity, and no token is dropped. Tokens are sorted by expert and all experts' matmuls
are one grouped matmul. Not here: losses that balance the load (`losses.py` has none).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from rstar_jax.models.config import DecoderConfig, Experts
from rstar_jax.models.linear import grouped_matmul, matmul


def route(e: Experts, logits_RxE: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Each token's experts and their weights [R, active]: the most probable, of the best groups."""
    scores = jax.nn.softmax(logits_RxE, axis=-1)
    if e.groups > 1:
        best = jnp.max(scores.reshape(-1, e.groups, e.count // e.groups), axis=-1)
        _, groups = jax.lax.top_k(best, e.active_groups)
        kept = jnp.any(groups[..., None] == jnp.arange(e.groups), axis=1)
        scores = jnp.where(jnp.repeat(kept, e.count // e.groups, axis=1), scores, 0.0)
    weight, expert = jax.lax.top_k(scores, e.active)
    return expert, weight * e.scale


def routed(
    c: DecoderConfig,
    activation: Callable[[jax.Array], jax.Array],
    w: Mapping[str, jax.Array],
    h: jax.Array,
) -> jax.Array:
    """The experts' part of a layer for states [..., D], in their dtype."""
    e, dtype = c.experts, h.dtype
    assert e is not None
    x = h.reshape(-1, h.shape[-1])
    expert, weight = route(e, matmul("rd,de->re", x, w["router"], jnp.float32))
    flat = expert.reshape(-1)
    order = jnp.argsort(flat)
    rows = x[order // e.active]
    sizes = jnp.sum(flat[:, None] == jnp.arange(e.count), axis=0, dtype=jnp.int32)
    inner = activation(grouped_matmul(rows, w["experts_gate"], sizes, dtype).astype(dtype))
    inner = inner * grouped_matmul(rows, w["experts_up"], sizes, dtype).astype(dtype)
    out = grouped_matmul(inner, w["experts_down"], sizes, dtype)
    out = out[jnp.argsort(order)].reshape(*expert.shape, -1)  # back into the tokens' order
    return jnp.einsum("rkd,rk->rd", out, weight).astype(dtype).reshape(h.shape)
