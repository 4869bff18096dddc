"""The mesh of a training that is given no sizes: by devices, their memory, the model and a call's rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rstar_jax.errors import UserError
from rstar_jax.models.config import DecoderConfig
from rstar_jax.models.params import param_specs
from rstar_jax.sharding import MeshConfig
from rstar_jax.train.config import TrainConfig
from rstar_jax.train.optimizer import state_bytes

_TRAINED = 8  # bytes a parameter: itself and its sum of gradients, in float32
_SHARE = 0.5  # of a device's memory that the state may take; the rest is for activations and what is gathered
_TENSOR = (
    8  # most devices over which a layer is split: beyond that its traffic takes longer than its products
)


def mesh_sizes(
    given: MeshConfig,
    shape: DecoderConfig,
    config: TrainConfig,
    *,
    devices: int,
    slices: int = 1,
    memory: float | None = None,
) -> MeshConfig:
    """Sizes in the place of those that are 0.

    tensor: a power of 2, as small as leaves the batch no more parts than a call has rows: a part without a
    row would compute padding. data: the number of slices, so that parameters are gathered within a slice,
    and gradients alone go between them; 1 where the state of the training takes more than half of a slice's
    memory.

    memory: bytes of a device; None: not known. Raises UserError where all devices together are too small.
    """
    within = devices // slices // max(1, given.context)
    tensor = given.tensor or _tensor(shape, config, within, slices)
    specs = param_specs(shape)
    parameters = sum(math.prod(spec.shape) for spec in specs.values())
    size = 4 * parameters
    if not config.lora.rank:
        trained = {n: jax.ShapeDtypeStruct(spec.shape, jnp.float32) for n, spec in specs.items()}
        means = 4 if config.ema else 0
        size = (_TRAINED + means) * parameters + state_bytes(config, trained)
    if memory is not None and size / devices > memory:
        raise UserError(
            f"{parameters / 1e9:.1f} billion parameters in training take {size / 2**30:.0f} GiB, and the "
            f"{devices} devices have {devices * memory / 2**30:.0f} GiB. Take more of them, a "
            "smaller optimizer (train.policy.optimizer=adamw8bit, train.ppm.optimizer=adamw8bit), or train "
            "low-rank additions (train.policy.lora.rank=16, train.ppm.lora.rank=16)."
        )
    fits = memory is None or size / (devices // slices) <= _SHARE * memory
    return dataclasses.replace(given, data=given.data or (slices if fits else 1), tensor=tensor)


def _tensor(shape: DecoderConfig, config: TrainConfig, within: int, slices: int) -> int:
    tensor = 1
    while (
        within // tensor * slices > config.microbatch
        and 2 * tensor <= _TENSOR
        and within % (2 * tensor) == 0
        and shape.heads % (2 * tensor) == 0
    ):
        tensor *= 2
    return tensor


def device_memory(devices: Sequence[Any]) -> float | None:
    """Bytes of the first of these devices; None where it does not say, as a CPU."""
    stats = devices[0].memory_stats() if devices else None
    return stats.get("bytes_limit") if stats else None
