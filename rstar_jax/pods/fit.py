"""A job held to given accelerators: on so many hosts, and with its meshes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.settings import nearest
from rstar_jax.topologies import Topology


def require_fit(job: str, options: Any, where: Topology) -> None:
    """Raise UserError where a job of these options cannot run there.

    job: its config's name. options: the dataclass of its options. A job runs on several hosts if it has
    options of how they find each other (`distributed`); its meshes must take all devices, and what decodes
    must divide those of a host, which searches by itself.
    """
    if where.hosts > 1 and not hasattr(options, "distributed"):
        one = Topology(where.chip, _one_host(where))
        raise UserError(
            f"--config.job={job} runs on one host, {where} has {where.hosts}. Did you mean "
            f"--config.topology={one}?"
        )
    for name, mesh in _groups(options, "MeshConfig"):
        _require_mesh(name, mesh, where)
    of_a_host = where.chips_per_host * where.chip.devices
    for name, decode in _groups(options, "DecodeConfig"):
        count = decode.devices or of_a_host
        if count > of_a_host:
            raise UserError(
                f"config.{name}.devices={decode.devices} of {job}: at most {of_a_host} expected, as many "
                f"as a host of {where} has, or 0 for all of them."
            )
        if count % decode.tensor:
            known = [str(n) for n in range(1, count + 1) if count % n == 0]
            raise UserError(
                f"config.{name}.tensor={decode.tensor} of {job}: a divisor of the {count} devices that "
                f"decode on a host of {where} expected. {nearest(str(decode.tensor), known)}"
            )


def _one_host(where: Topology) -> tuple[int, ...]:
    if not where.chip.is_tpu:
        return (where.chips_per_host,)
    return (2, 4) if len(where.shape) == 2 else (2, 2, 1)


def _require_mesh(name: str, mesh: Any, where: Topology) -> None:
    """As `sharding.make_mesh` does, of what is known without the model: 0 is what a training chooses."""
    slices = where.islands
    sizes = {f.name: getattr(mesh, f.name) for f in dataclasses.fields(mesh)}
    # The batch is split over slices; of a model that is too large for one, the parameters are.
    choices = (slices, 1) if sizes["data"] == 0 else (sizes["data"],)
    if any(_multiply({**sizes, "data": data}, where.devices, slices) for data in choices):
        return
    shown = " ".join(f"{axis}={size}" for axis, size in sizes.items())
    several = f", of {slices} slices that data, or data and fsdp, are multiples of" if slices > 1 else ""
    raise UserError(
        f"config.{name}: {shown} given, of {where} sizes expected that multiply to its {where.devices} "
        f"devices{several}. Give one of them as -1 to take what is left, such as --config.{name}.fsdp=-1."
    )


def _multiply(sizes: dict[str, int], devices: int, slices: int) -> bool:
    """Tell if sizes multiply to the devices, with at most one -1 for the rest, and slices go into data and
    fsdp."""
    known = {axis: size for axis, size in sizes.items() if size not in (-1, 0)}
    rest, left = divmod(devices, max(1, math.prod(known.values())))
    rests = [axis for axis, size in sizes.items() if size == -1]
    if min(known.values(), default=1) < 1 or left or len(rests) > 1:
        return False
    if sizes["tensor"] == 0:
        return sizes["fsdp"] != 0 and sizes["expert"] != 0
    found = {**sizes, **dict.fromkeys(rests, rest)}
    if 0 in found.values() or (not rests and rest != 1):
        return False
    in_data = math.gcd(found["data"], slices)
    return in_data * math.gcd(found["fsdp"], slices // in_data) == slices


def _groups(options: Any, kind: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the groups of options of a kind, with their dotted names."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            if type(value).__name__ == kind:
                yield f"{prefix}{field.name}", value
            else:
                yield from _groups(value, kind, f"{prefix}{field.name}.")
