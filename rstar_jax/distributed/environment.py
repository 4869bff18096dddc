"""How many processes a run has, and which of them this one is."""

from __future__ import annotations

import dataclasses

from rstar_jax.distributed.config import DistributedConfig
from rstar_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Place:
    """A process among those of a run. coordinator: HOST:PORT of process 0. how: where that is known from."""

    coordinator: str
    count: int
    index: int
    how: str


def find(config: DistributedConfig) -> Place | None:
    """This process's place; None where it is alone. Raises UserError for options that do not suffice."""
    if not config.coordinator:
        return None
    if not config.processes or config.process < 0:
        raise UserError(
            f"config.distributed.coordinator: '{config.coordinator}' given, but not how many processes there "
            "are and which one this is. Give --config.distributed.processes and "
            "--config.distributed.process, too."
        )
    return Place(config.coordinator, config.processes, config.process, "options")
