"""Static facts of a model that decodes, and the placement of its arrays."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from rstar_jax import sharding
from rstar_jax.kernels import attention_mesh
from rstar_jax.models import KV, Decoder, DecoderConfig, cache, candidates, scalar_head
from rstar_jax.models.linear import Unstacked
from rstar_jax.models.params import param_specs
from rstar_jax.transforms.decode_layout import for_decode, kept_apart, unstack_layers

Caches = tuple[tuple[KV, ...], cache.Suffix]  # of prefixes and suffixes


@dataclasses.dataclass(frozen=True)
class EngineModel:
    """Hashable: models of one shape share compiled programs.

    mesh: of the devices that decode together, split over its tensor axis; None: one device. kernels: as
    the option.
    """

    config: DecoderConfig
    compute_dtype: Any
    mesh: Mesh | None = None
    kernels: candidates.When = "auto"

    @classmethod
    def of(cls, model: Decoder, kernels: candidates.When = "auto") -> EngineModel:
        return cls(model.config, model.compute_dtype, kernels=kernels)

    def over(self, mesh: Mesh | None) -> list[EngineModel]:
        """One for each group of devices that decodes for itself: a mesh's tensor and expert axes hold a
        model together, the others are so many groups."""
        if mesh is None:
            return [self]
        groups = mesh.devices.reshape(-1, *mesh.devices.shape[2:])
        tensor, expert = mesh.shape["tensor"], mesh.shape["expert"]
        meshes = [sharding.make_mesh(tensor=tensor, expert=expert, devices=list(g.flat)) for g in groups]
        return [dataclasses.replace(self, mesh=m) for m in meshes]

    def build(self, params: dict[str, jax.Array]) -> Decoder:
        """The decoder of parameters, among which the head of a reward model may be."""
        own = {name: value for name, value in params.items() if name not in scalar_head.HEAD}
        dtype, when = self.compute_dtype, self.kernels
        return Decoder(self.config, own, compute_dtype=dtype, mesh=self.mesh, kernels=when)

    def place(self, params: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Parameters, a reward model's head among them or not, on the mesh; for one CPU laid out anew, for
        NVIDIA GPUs layer by layer.

        What is laid out anew is a copy, and whoever owns the parameters has them still: the weights are there
        twice. A GPU is spared that if the model was split before (`decode_layout.keep_apart`).
        """
        mesh, specs = self.mesh, param_specs(self.config)
        platform = attention_mesh.platform(mesh)
        if mesh is None and platform == "cpu":
            return for_decode(params, self.config)
        split = kept_apart(self.config, platform)

        def axes(name: str, value: Any) -> tuple[str | None, ...]:
            return specs[name].axes if name in specs else (None,) * value.ndim

        def laid_out(name: str, value: Any) -> Any:
            return unstack_layers(value) if split and axes(name, value)[:1] == ("layers",) else value

        if mesh is None:
            return {name: laid_out(name, value) for name, value in params.items()}
        preset = sharding.preset_for(mesh)

        def put(name: str, value: Any) -> Any:
            own = axes(name, value)[isinstance(value, Unstacked) :]  # of one layer
            # An int8 weight is two arrays, with as many dimensions.
            return jax.tree.map(
                lambda a: jax.device_put(a, sharding.sharding(mesh, own, a.shape, preset)), value
            )

        return {name: put(name, laid_out(name, value)) for name, value in params.items()}

    def empty_pool(self, pages: int, page_size: int) -> KV:
        """Zeros [L, pages, page_size, G, A] for keys and values."""
        c = self.config
        size = (c.layers, pages, page_size, c.kv_heads, c.head_dim)
        where = self._by_heads(size, -2)
        k, v = (jnp.zeros(size, self.pool_dtype, device=where) for _ in range(2))
        return k, v

    def empty_caches(self, B: int, N: int, P: int, S: int) -> Caches:
        """Zeros for B prefixes of P columns and B * N suffixes of S, in the layout of `Decoder.extend`."""
        return _empty_caches(self, B, N, P, S)

    def pin_pool(self, pool: KV) -> KV:
        """A pool, told to stay split as it was made. For use under jit."""
        return jax.tree.map(lambda a: self._pinned(a, -2), pool)

    def pin(self, caches: Caches) -> Caches:
        """Caches, likewise."""
        return jax.tree.map(lambda a: self._pinned(a, -3), caches)

    def long(self, tokens: int) -> bool:
        """Return whether a text of so many tokens needs the long ones of two sets of rotary factors: its
        cache is another one then."""
        rope = self.config.rope
        return rope.kind == "longrope" and tokens > cast(int, rope.original_max_position_embeddings)

    @property
    def pool_dtype(self) -> Any:
        """Dtype of a pool: the compute dtype, on a CPU the bits of bfloat16: to write a few rows of bfloat16
        XLA:CPU would make all of it float32 and back."""
        on_cpu = attention_mesh.platform(self.mesh) == "cpu"
        return jnp.uint16 if on_cpu and self.compute_dtype == jnp.bfloat16 else self.compute_dtype

    @property
    def token_bytes(self) -> int:
        """Size of one token's keys and values."""
        c = self.config
        return 2 * c.layers * c.kv_heads * c.head_dim * jnp.dtype(self.compute_dtype).itemsize

    @property
    def token_bytes_a_device(self) -> int:
        """Those of them that lie on each device of the mesh."""
        size = 1, self.config.kv_heads, self.config.head_dim
        where = self._by_heads(size, -2)
        mine = size if where is None else where.shard_shape(size)
        return self.token_bytes * math.prod(mine) // math.prod(size)

    def _pinned(self, x: jax.Array, heads: int) -> jax.Array:
        where = self._by_heads(x.shape, heads)
        return x if where is None else jax.lax.with_sharding_constraint(x, where)

    def _by_heads(self, size: tuple[int, ...], heads: int) -> Any:
        """Split along the axis of the key/value heads, if they are enough."""
        if self.mesh is None:
            return None
        axes: list[str | None] = [None] * len(size)
        axes[heads] = "kv_heads"
        return sharding.sharding(self.mesh, axes, size, sharding.preset_for(self.mesh))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _empty_caches(shape: EngineModel, B: int, N: int, P: int, S: int) -> Caches:
    c, dtype = shape.config, shape.compute_dtype
    zeros = jnp.zeros((c.layers, B, P, c.kv_heads, c.head_dim), dtype)
    return shape.pin((cache.lay_out((zeros, zeros)), cache.empty_suffix(c, dtype, B, N, S)))
