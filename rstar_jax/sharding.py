"""Placement of arrays on many devices: one table from logical axis names to mesh axes, per preset.

Parameters carry the logical names of their axes (`axes` in their metadata); a preset's rules say which
mesh axis each name is split over. A new parallelism is a new row in `PRESETS`. Without a mesh nothing here
is needed: parameters are plain arrays.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
from flax import nnx
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rstar_jax.errors import UserError

MESH_AXES = ("data", "fsdp", "tensor", "expert", "context")
Rules = Mapping[str, tuple[str, ...]]

# Logical names: vocab embed heads kv_heads mlp experts layers (parameters), batch vocab (activations),
# tokens (of a row; keys and values are whole), sequence (tokens of the states between attention and MLP,
# arXiv 2205.05198; inside of them each device of the tensor axis has all), routed (the batch while tokens are
# with the experts). A name that a preset leaves out is replicated.
_TENSOR: Rules = {
    "vocab": ("tensor",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "mlp": ("tensor",),
    "sequence": ("tensor",),
}
_FSDP: Rules = {"batch": ("data", "fsdp"), "routed": ("data", "fsdp"), "embed": ("fsdp",)}
PRESETS: dict[str, Rules] = {
    "single": {},
    "fsdp": _FSDP,
    "fsdp_tensor": {**_FSDP, **_TENSOR},
    # Outside of the experts, the devices of the expert axis are so many more for the batch.
    "fsdp_tensor_expert": {
        **_FSDP,
        **_TENSOR,
        "batch": ("data", "fsdp", "expert"),
        "experts": ("expert",),
    },
    # Rows in parts, for rows that are long: each device attends from its part to the keys of the whole row.
    "fsdp_tensor_context": {
        **_FSDP,
        **_TENSOR,
        "embed": ("fsdp", "context"),
        "tokens": ("context",),
        "sequence": ("context", "tensor"),
    },
}


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Sizes of the axes of a mesh, in devices. Slices of a pod, and hosts of GPUs, are taken by data before
    fsdp, and by no other axis.

    data: over so many a batch is split; 0: the number of slices, in trainings of models too large for a slice
    1; -1: as many as the other axes leave.
    fsdp: over so many parameters and batch are split; -1: as many as the other axes leave. tensor: over so
    many heads, MLP and vocabulary are split, and states along the sequence; -1: as many as the other axes
    leave; 0, in trainings: as few as leave the batch no more parts than a call has rows, if heads divide.
    expert: over so many the experts of a model are split; -1: as many as the other axes leave. context: over
    so many the tokens of a row are split, and parameters as over fsdp: for rows that are long; -1: as many as
    the other axes leave.
    """

    data: int = 0
    fsdp: int = -1
    tensor: int = 1
    expert: int = 1
    context: int = 1


def make_mesh(
    data: int = 1,
    fsdp: int = 1,
    tensor: int = 1,
    expert: int = 1,
    context: int = 1,
    devices: Sequence[Any] | None = None,
) -> Mesh:
    """A mesh with axes (data, fsdp, tensor, expert, context) over `devices` (default: all, of all processes).

    Devices of several slices (of GPUs: hosts) are ordered so that only data, and what it leaves of them
    fsdp, reaches across them: the others' traffic keeps to the network within a slice. data may be 0: as many
    as there are slices. One size may be -1: the rest. Raises UserError if the sizes do not multiply to the
    number of devices, the slices do not go into data and fsdp, or both expert and context are above 1.
    """
    devices = jax.devices() if devices is None else list(devices)
    slices = slice_count(devices)
    sizes = [data or slices, fsdp, tensor, expert, context]
    given = f"mesh data={data} fsdp={fsdp} tensor={tensor} expert={expert} context={context}"
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = len(devices) // math.prod(s for s in sizes if s != -1)
    if min(sizes) < 1 or math.prod(sizes) != len(devices):
        raise UserError(
            f"{given}: the sizes must be positive and multiply to the {len(devices)} devices present. "
            "Change them, or give one as -1 to take what is left."
        )
    if sizes[3] > 1 and sizes[4] > 1:
        raise UserError(
            f"{given}: experts and the tokens of a row cannot both be split. Give expert=1 or context=1."
        )
    auto = (jax.sharding.AxisType.Auto,) * len(MESH_AXES)
    if slices == 1:
        # jax.make_mesh splits no side of a slice, so that 8 x 8 chips would make no mesh of 16 by 4.
        found = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
        return Mesh(found, MESH_AXES, axis_types=auto)
    across = [math.gcd(sizes[0], slices)]
    across += [math.gcd(sizes[1], slices // across[0]), 1, 1, 1]
    if math.prod(across) != slices:
        raise UserError(
            f"{given}: the {len(devices)} devices are of {slices} slices, which data, or data and fsdp, must "
            f"be multiples of: the other axes stay within a slice. Give data={slices} or, where a slice is "
            "too small for the model, data=1, and fsdp=-1."
        )
    within = [size // part for size, part in zip(sizes, across, strict=True)]
    found = mesh_utils.create_hybrid_device_mesh(within, across, devices, allow_split_physical_axes=True)
    return Mesh(found, MESH_AXES, axis_types=auto)


def slice_count(devices: Sequence[Any]) -> int:
    """The number of slices (of GPUs: hosts, or what NVLink joins of them) that the devices are of."""
    return len({getattr(device, "slice_index", 0) for device in devices})


def sharding(mesh: Mesh, axes: Sequence[str | None], shape: Sequence[int], preset: str) -> NamedSharding:
    """Return the sharding of an array with these logical axes on the mesh under a preset's rules.

    A dimension that its mesh axes do not divide is replicated (fewer kv heads than the tensor axis has
    devices, an odd vocabulary), or split over the first of them only if these do; a mesh axis is used by one
    dimension only, the first that asks for it.
    """
    if preset not in PRESETS:
        raise UserError(f"sharding preset '{preset}': no such preset. Known: {', '.join(sorted(PRESETS))}.")
    rules, used, spec = PRESETS[preset], set[str](), []
    for name, size in zip(axes, shape, strict=True):
        wanted = tuple(a for a in rules.get(name or "", ()) if a in mesh.shape and a not in used)
        while wanted and size % math.prod(mesh.shape[a] for a in wanted):
            wanted = wanted[:-1]
        if wanted:
            used.update(wanted)
            spec.append(wanted[0] if len(wanted) == 1 else wanted)
        else:
            spec.append(None)
    return NamedSharding(mesh, PartitionSpec(*spec))


def placed(x: jax.Array, axes: Sequence[str | None], mesh: Mesh | None) -> jax.Array:
    """x, told to lie on the mesh as its logical axes say by `preset_for`; without a mesh x itself.

    Dimensions between the first and the last ones, if `axes` names fewer than x has, are not split.
    """
    if mesh is None:
        return x
    axes = (axes[0], *(None,) * (x.ndim - len(axes)), *axes[1:])
    return jax.lax.with_sharding_constraint(x, sharding(mesh, axes, x.shape, preset_for(mesh)))


def on_mesh(axes: Sequence[str | None], shape: Sequence[int], mesh: Mesh | None) -> NamedSharding | None:
    """Return the sharding of an array with these logical axes by `preset_for`; None without a mesh."""
    return mesh and sharding(mesh, axes, shape, preset_for(mesh))


def preset_for(mesh: Mesh) -> str:
    """The preset that uses every axis of this mesh that has more than one device."""
    if mesh.shape.get("context", 1) > 1:
        return "fsdp_tensor_context"
    if mesh.shape.get("expert", 1) > 1:
        return "fsdp_tensor_expert"
    if mesh.shape.get("tensor", 1) > 1:
        return "fsdp_tensor"
    return "fsdp" if mesh.size > 1 else "single"


def batch_parts(mesh: Mesh) -> int:
    """Into how many parts a batch is split on this mesh."""
    return math.prod(mesh.shape[axis] for axis in PRESETS[preset_for(mesh)].get("batch", ()))


def shard_module(module: nnx.Module, mesh: Mesh, preset: str | None = None) -> None:
    """Move every parameter of a module onto the mesh, in place, by its `axes` metadata.

    Modules in it that have an attribute `mesh` are told of it, so that activations stay split, too.
    """
    preset = preset or preset_for(mesh)
    for _, node in list(nnx.iter_graph(module)):
        if isinstance(node, nnx.Module) and hasattr(node, "mesh"):
            cast(Any, node).mesh = mesh
        if isinstance(node, nnx.Param):
            value = node[...]
            axes = node.get_metadata().get("axes", (None,) * value.ndim)
            node[...] = jax.device_put(value, sharding(mesh, axes, value.shape, preset))
