"""Routed experts: each token goes to a few of many small gated MLPs (arXiv 2405.04434, section 2.2).

Exact: no expert has a capacity, and no token is dropped. Tokens are sorted by expert and all experts' matmuls
are one grouped matmul. Not here: losses that balance the load (`losses.py` has none).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from rstar_jax import sharding
from rstar_jax.models.config import DecoderConfig, Experts
from rstar_jax.models.linear import grouped_matmul


def route(e: Experts, logits_RxE: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Each token's experts and their weights [R, active]: the most probable, of the best groups."""
    scores = jax.nn.softmax(logits_RxE, axis=-1)
    if e.groups > 1:
        best = jnp.max(scores.reshape(-1, e.groups, e.count // e.groups), axis=-1)
        _, groups = jax.lax.top_k(best, e.active_groups)
        kept = jnp.any(groups[..., None] == jnp.arange(e.groups)[None, None], axis=1)
        scores = jnp.where(jnp.repeat(kept, e.count // e.groups, axis=1), scores, 0.0)
    weight, expert = jax.lax.top_k(scores, e.active)
    return expert, weight * e.scale


def routed(
    c: DecoderConfig,
    activated: Callable[[jax.Array, jax.Array], jax.Array],
    w: Mapping[str, jax.Array],
    h: jax.Array,
    mesh: Mesh | None = None,
) -> jax.Array:
    """The experts' part of a layer for states [B, ..., D], in their dtype.

    On a mesh each device routes the tokens of its own part of the batch, to those experts that it holds; what
    the experts of the others have to add is summed up after. Else tokens would be sorted over all devices.
    """
    assert c.experts is not None
    weights = {name: w[name] for name in ("router", "experts_gate", "experts_up", "experts_down")}
    work = functools.partial(_routed, c.experts, activated)
    # Weights that are no arrays (transformed ones) go where the compiler sees fit.
    if mesh is None or mesh.size == 1 or not all(isinstance(x, jax.Array) for x in weights.values()):
        return work(weights, h, 0, c.experts.count)

    def spec(axes: tuple[str | None, ...], shape: tuple[int, ...]) -> PartitionSpec:
        return sharding.sharding(mesh, axes, shape, sharding.preset_for(mesh)).spec

    rows = spec(("routed", *(None,) * (h.ndim - 1)), h.shape)
    into = spec(("experts", None, "mlp"), w["experts_gate"].shape)
    out = spec(("experts", "mlp", None), w["experts_down"].shape)
    count = c.experts.count // (mesh.shape[into[0]] if into[0] else 1)

    def local(weights: Mapping[str, jax.Array], h: jax.Array) -> jax.Array:
        summed = tuple(axis for axis in (into[0], into[2]) if axis)
        # Said outright: the gather of rows by an order that varies leaves it out of the gradient else.
        h = jax.lax.pcast(h, summed, to="varying") if summed else h
        part = work(weights, h, jax.lax.axis_index(into[0]) * count if into[0] else 0, count)
        return jax.lax.psum(part, summed) if summed else part

    specs = {"router": PartitionSpec(), "experts_gate": into, "experts_up": into, "experts_down": out}
    return jax.shard_map(local, mesh=mesh, in_specs=(specs, rows), out_specs=rows)(weights, h)


def _routed(
    e: Experts,
    activated: Callable[[jax.Array, jax.Array], jax.Array],
    w: Mapping[str, jax.Array],
    h: jax.Array,
    first: jax.Array | int,
    count: int,
) -> jax.Array:
    """Compute what the experts first … first + count - 1, whose weights w has, add to states [..., D]."""
    dtype, x = h.dtype, h.reshape(-1, h.shape[-1])
    logits = jnp.einsum("rd,de->re", x.astype(jnp.float32), w["router"].astype(jnp.float32))
    expert, weight = route(e, logits)
    flat = expert.reshape(-1) - first
    flat = jnp.where((flat >= 0) & (flat < count), flat, count)  # those of other devices come last
    order = jnp.argsort(flat)
    rows = x[order // e.active]
    sizes = jnp.sum(flat[:, None] == jnp.arange(count)[None], axis=0, dtype=jnp.int32)
    gate = grouped_matmul(rows, w["experts_gate"], sizes, dtype).astype(dtype)
    up = grouped_matmul(rows, w["experts_up"], sizes, dtype).astype(dtype)
    out = grouped_matmul(activated(gate, up), w["experts_down"], sizes, dtype)
    if count < e.count:  # rows of no group are not promised to be zero
        out = jnp.where((jnp.arange(len(out)) < jnp.sum(sizes))[:, None], out, 0.0)
    out = out[jnp.argsort(order)].reshape(*expert.shape, -1)  # back into the tokens' order
    return jnp.einsum("rkd,rk->rd", out, weight).astype(dtype).reshape(h.shape)
