"""Weights that stay on the devices from one stage to the next, in the place of reading again what was saved.

    a training ends      leave: as they were trained, on its mesh
    the next training    take: the very arrays, where dtype and placement are what it wants
    before a search      settle: in the search's dtype, from the mesh to each process's own device
    the search           take

`settle` moves data between processes, over their own network, so all of them call it at the same point, as
they do where a training takes; a search takes what its process holds, by itself. Files are the truth: weights
count while the folder that they were saved in is as it was, and whoever is given none reads the folder.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from rstar_jax import distributed, sharding
from rstar_jax.models.params import ParamSpec

Params = dict[str, jax.Array]


class Handover:
    """Weights by the folder that they were saved in."""

    def __init__(self) -> None:
        self._held: dict[Path, tuple[Any, Params]] = {}

    def leave(self, folder: Path, params: Mapping[str, jax.Array]) -> None:
        """Hold the parameters that were just saved in a folder, if several devices share them: alone, a
        device has better uses for its memory."""
        if any(len(value.sharding.device_set) > 1 for value in params.values()):
            self._held[folder.resolve()] = _state(folder), dict(params)

    def narrow(self, dtype: Any) -> None:
        """Hold all in this dtype: as a search wants them, with less memory meanwhile."""
        for _, params in self._held.values():
            for name, value in params.items():
                params[name] = _cast(value.sharding, jnp.dtype(dtype))(value)

    def settle(self, dtype: Any) -> None:
        """Move all to this process's first device, in this dtype, one parameter at a time. Every process of
        the mesh calls this alike."""
        for _, params in self._held.values():
            for name in list(params):
                params[name] = _settled(params.pop(name), jnp.dtype(dtype))

    def take(
        self, folder: Path, specs: Mapping[str, ParamSpec], dtype: Any, mesh: Mesh | None
    ) -> Params | None:
        """The parameters of a folder, which are then the caller's alone; None where there are none of its, or
        none of this dtype at these places."""
        state, params = self._held.pop(folder.resolve(), (None, {}))
        if state is None or params.keys() != specs.keys():
            return None
        for name, spec in specs.items():
            where = sharding.on_mesh(spec.axes, spec.shape, mesh) or _own()
            value = params[name]
            fits = value.shape == tuple(spec.shape) and value.dtype == jnp.dtype(dtype)
            if not fits or not value.sharding.is_equivalent_to(where, value.ndim):
                return None
        same = state == _state(folder)
        if not all(value.is_fully_addressable for value in params.values()):
            same = all(distributed.gathered(same))  # none reads a model that the others have
        return {name: params[name] for name in specs} if same else None

    def clear(self) -> None:
        """Hold nothing: a training needs the memory."""
        self._held.clear()


def _state(folder: Path) -> Any:
    """Tell what changes where a folder's weights are written anew."""
    found = sorted(folder.glob("*.safetensors"))
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in found]


def _own() -> SingleDeviceSharding:
    return SingleDeviceSharding(jax.local_devices()[0])


def _settled(value: jax.Array, dtype: jnp.dtype) -> jax.Array:
    own = jax.local_devices()[0]
    if value.is_fully_addressable:
        return jax.device_put(_cast(value.sharding, dtype)(value), own)
    everywhere = NamedSharding(value.sharding.mesh, PartitionSpec())  # type: ignore[attr-defined]
    whole = _cast(everywhere, dtype)(value)
    return next(shard.data for shard in whole.addressable_shards if shard.device == own)


@functools.lru_cache(maxsize=64)
def _cast(where: Any, dtype: jnp.dtype) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(lambda value: value.astype(dtype), out_shardings=where)
