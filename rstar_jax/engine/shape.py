"""Static facts of a model that decodes, and the placement of its arrays."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
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

        def put(name: str, value: Any) -> Any:
            return jax.tree.map(lambda a: jax.device_put(a, self._where(name, value, a.shape)), value)

        return {name: put(name, value) for name, value in self._laid_out(params)}

    def abstract_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The same of abstract parameters."""

        def there(name: str, value: Any) -> Any:
            return jax.tree.map(lambda a: _abstract(a, self._where(name, value, a.shape)), value)

        laid_out = jax.eval_shape(lambda given: dict(self._laid_out(given)), dict(params))
        return {name: there(name, value) for name, value in laid_out.items()}

    def _laid_out(self, params: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield the parameters as they lie on a device; one by one, as each may be a copy."""
        platform = attention_mesh.platform(self.mesh)
        if self.mesh is None and platform == "cpu":
            yield from for_decode(params, self.config).items()
            return
        split = kept_apart(self.config, platform)
        for name, value in params.items():
            yield (
                name,
                unstack_layers(value) if split and self._axes(name, value)[:1] == ("layers",) else value,
            )

    def _axes(self, name: str, value: Any) -> tuple[str | None, ...]:
        specs = param_specs(self.config)
        return specs[name].axes if name in specs else (None,) * value.ndim

    def _where(self, name: str, value: Any, size: tuple[int, ...]) -> Any:
        """Sharding of an array of a parameter: an int8 weight is two, with as many dimensions."""
        if self.mesh is None:
            return self._alone
        own = self._axes(name, value)[isinstance(value, Unstacked) :]  # of one layer
        return sharding.sharding(self.mesh, own, size, sharding.preset_for(self.mesh))

    def empty_pool(self, pages: int, page_size: int) -> KV:
        """Zeros [L, pages, page_size, G, A] for keys and values."""
        k, v = (jnp.zeros(a.shape, a.dtype, device=a.sharding) for a in self.abstract_pool(pages, page_size))
        return k, v

    def abstract_pool(self, *lead: int, dtype: Any = None) -> KV:
        """Abstract keys and values [L, *lead, G, A], by default of a pool's dtype."""
        c = self.config
        size = (c.layers, *lead, c.kv_heads, c.head_dim)
        one: Any = jax.ShapeDtypeStruct(size, dtype or self.pool_dtype, sharding=self._by_heads(size, -2))
        return one, one

    def empty_caches(self, B: int, N: int, P: int, S: int) -> Caches:
        """Zeros for B prefixes of P columns and B * N suffixes of S, in the layout of `Decoder.extend`. For
        use under jit."""
        c, dtype = self.config, self.compute_dtype
        zeros = jnp.zeros((c.layers, B, P, c.kv_heads, c.head_dim), dtype)
        return cache.lay_out((zeros, zeros)), cache.empty_suffix(c, dtype, B, N, S)

    def pin(self, arrays: Any, heads: int | None) -> Any:
        """Arrays, told to stay split along the axis of their heads, or whole on every device (None). For use
        under jit."""
        if self.mesh is None:
            return arrays
        pinned = jax.lax.with_sharding_constraint
        return jax.tree.map(lambda a: pinned(a, self._by_heads(a.shape, heads)), arrays)

    def put(self, arrays: Any, heads: int | None) -> Any:
        """The same now, of arrays that lie elsewhere or nowhere in particular, so that no call has to send
        them there."""
        return jax.tree.map(lambda a: jax.device_put(a, self._by_heads(a.shape, heads)), arrays)

    def pinned(self, arrays: Any, heads: int | None) -> Any:
        """What `put` makes of arrays, abstract; on a mesh also what `pin` makes of them."""
        return jax.tree.map(lambda a: _abstract(a, self._by_heads(a.shape, heads)), arrays)

    def pin_pool(self, pool: KV) -> KV:
        """A pool, or keys and values for it, told to stay split as a pool is made. For use under jit."""
        return self.pin(pool, -2)

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
        mine = self._by_heads(size, -2).shard_shape(size)
        return self.token_bytes * math.prod(mine) // math.prod(size)

    def _by_heads(self, size: tuple[int, ...], heads: int | None) -> Any:
        """Split along the axis of the key/value heads, if they are enough."""
        if self.mesh is None:
            return self._alone
        axes: list[str | None] = [None] * len(size)
        if heads is not None:
            axes[heads] = "kv_heads"
        return sharding.sharding(self.mesh, axes, size, sharding.preset_for(self.mesh))

    @property
    def _alone(self) -> Any:
        """Of this host's first device, said of every array: JAX would compile anew for those that are not
        committed to it. Without a mesh weights that lie elsewhere are brought there."""
        return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


def _abstract(array: Any, where: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where)
