"""Options of a run on several hosts."""

from __future__ import annotations

import dataclasses
import re

from rstar_jax.settings import require


@dataclasses.dataclass(frozen=True)
class DistributedConfig:
    """The processes of a run, one a host. On GKE, TPU VMs and Slurm they are found without options.

    coordinator: HOST:PORT of process 0, where all of them meet; empty: found where that can be, else there is
    one process alone. processes: how many there are; 0: as found, 1: this one alone. process: which of them
    this one is, from 0 on; -1: as found. timeout_s: seconds that a process waits for the others to come up.
    """

    coordinator: str = ""
    processes: int = 0
    process: int = -1
    timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        given = self.coordinator
        found = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\s\[\]]+):(\d{1,5})", given)
        require(
            not given or (found and 0 < int(found[2]) < 2**16),
            "distributed.coordinator",
            given,
            "HOST:PORT, such as 10.0.0.2:8482,",
        )
        require(self.processes >= 0, "distributed.processes", self.processes, "a number of processes, or 0")
        require(self.process >= -1, "distributed.process", self.process, "a number from 0 on, or -1")
        require(
            not self.processes or self.process < self.processes,
            "distributed.process",
            self.process,
            f"a number below distributed.processes ({self.processes})",
        )
        within = 0 < self.timeout_s < 2**31
        require(within, "distributed.timeout_s", self.timeout_s, "seconds above 0 and below 2**31")
