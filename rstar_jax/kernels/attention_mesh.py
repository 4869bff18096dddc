"""Kernels on many devices: each gets the rows, heads and queries that it has, and keys of whole rows.

The compiler cannot split a kernel as it splits array operations, so the cutting is said here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh

from rstar_jax import sharding
from rstar_jax.kernels.attention_xla import Packed, Part, Sometimes, Window


def current_mesh() -> AbstractMesh | None:
    """The mesh of the `jax.set_mesh` that this is traced under."""
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh.empty else mesh


def platform(mesh: Mesh | AbstractMesh | None) -> str:
    """Platform of the mesh's devices, by default JAX's own: "tpu", "cuda", "rocm" or "cpu"."""
    if isinstance(mesh, AbstractMesh):
        name = mesh.abstract_device.platform if mesh.abstract_device else jax.default_backend()
    else:
        name = jax.default_backend() if mesh is None else mesh.devices.flat[0].platform
    if name != "gpu":
        return str(name)
    version = jax.devices()[0].client.platform_version if jax.default_backend() == "gpu" else "cuda"
    return "rocm" if "rocm" in version.lower() else "cuda"


def current_platform() -> str:
    """Platform of the current mesh, as `platform` has it."""
    return platform(current_mesh())


def splits_tokens(mesh: Mesh | AbstractMesh | None, T: int) -> bool:
    """Return whether rows of so many tokens are split over the mesh's context axis."""
    parts = 1 if mesh is None else mesh.shape.get("context", 1)
    return parts > 1 and T % parts == 0


def split(
    mesh: Mesh | AbstractMesh | None,
    kernel: Callable[..., jax.Array],
    q_BxTxHxA: jax.Array,
    k_BxTxGxA: jax.Array,
    v_BxTxGxC: jax.Array,
    packed: Packed,
    window: Window,
) -> jax.Array:
    """kernel(q, k, v, packed, window) on each device's share of batch and heads: [B, T, H, C].

    Where tokens are split, too, it is kernel(q, k, v, packed, window, part): q of some tokens, the `Part`
    that says which, k and v of whole rows, which are gathered for it.

    Key/value heads that are too few to be split lie on every device, which takes of them those that its
    query heads read.
    """
    if mesh is None or mesh.size == 1:
        return kernel(q_BxTxHxA, k_BxTxGxA, v_BxTxGxC, packed, window)
    mesh = cast(Mesh, mesh)  # an abstract one has all that is asked of it here
    preset = sharding.preset_for(mesh)
    H, G = q_BxTxHxA.shape[2], k_BxTxGxA.shape[2]

    def spec(shape: tuple[int, ...], *axes: str | None) -> Any:
        return sharding.sharding(mesh, axes, shape, preset).spec

    by_heads = spec(q_BxTxHxA.shape, "batch", "tokens", "heads", None)
    by_kv = [spec(x.shape, "batch", None, "kv_heads", None) for x in (k_BxTxGxA, v_BxTxGxC)]
    over, kv_over, over_tokens = by_heads[2], by_kv[0][2], by_heads[1]

    def local(q, k, v, packed, own, *applies):
        if over is not None and over != kv_over:
            local_H = q.shape[2]
            first = jax.lax.axis_index(over) * local_H
            heads = (first + jnp.arange(local_H)) // (H // G)
            if (H // G) % local_H == 0:
                heads = heads[:1]
            k, v = jnp.take(k, heads, axis=2), jnp.take(v, heads, axis=2)
        local_window = window._replace(applies=applies[0]) if isinstance(window, Sometimes) else window
        if over_tokens is None:
            return kernel(q, k, v, packed, local_window)
        part = Part(jax.lax.axis_index(over_tokens) * q.shape[1], own)
        return kernel(q, k, v, packed, local_window, part)

    by_rows = jax.tree.map(lambda x: spec(x.shape, "batch", None), packed)
    by_tokens = jax.tree.map(lambda x: spec(x.shape, "batch", "tokens"), packed)
    applies = (window.applies,) if isinstance(window, Sometimes) else ()
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(by_heads, *by_kv, by_rows, by_tokens, *(jax.sharding.PartitionSpec() for _ in applies)),
        out_specs=by_heads,
        check_vma=False,  # kernels do not say how what they return varies
    )(q_BxTxHxA, k_BxTxGxA, v_BxTxGxC, packed, packed, *applies)
