"""The devices of a host that a search decodes on. Each host searches for itself, on its own devices."""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import Mesh

from rstar_jax import kept_programs, sharding
from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError


def mesh(decode: DecodeConfig, local: list[Any] | None = None) -> Mesh | None:
    """The mesh of `decode.devices` and `decode.tensor`; None for a single device.

    local: this host's devices, by default those that JAX finds. Raises UserError if there are fewer, or if
    they do not make whole groups of `tensor`.
    """
    local = jax.local_devices() if local is None else local
    count = decode.devices or (1 if local[0].platform == "cpu" else len(local))
    if count > len(local):
        raise UserError(
            f"decode.devices: {count} given, but this host has {len(local)} ({local[0].platform}). Give at "
            "most so many, or 0 for all of its accelerators."
        )
    if count % decode.tensor:
        raise UserError(
            f"decode.tensor: {decode.tensor} given, which does not divide the {count} devices that decode "
            f"(decode.devices: {decode.devices}{'' if decode.devices else ', all accelerators or one CPU'}). "
            "Give a divisor, or another decode.devices."
        )
    if local[0].platform == "tpu" and (count > decode.tensor or jax.process_index()):
        # A program that was kept for chips without the first of them stops the chips when it is loaded, also
        # on the very chips that it was compiled for (jax issue 38004). Those of trainings have all chips.
        why = "loaded from disk, those of chips without the first one stop the chips (jax issue 38004)"
        kept_programs.forgo_without(min(one.id for one in jax.devices()), why)
    if count == 1:
        return None
    return sharding.make_mesh(data=count // decode.tensor, tensor=decode.tensor, devices=local[:count])


def require(decode: DecodeConfig) -> None:
    """Refuse options of the engine that this host's devices do not suit."""
    try:
        mesh(decode)
    except UserError as error:
        raise UserError(f"config.{error}") from error
