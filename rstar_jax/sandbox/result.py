"""Limits of a snippet, and its result."""

from __future__ import annotations

import dataclasses
from typing import Literal

from rstar_jax.errors import UserError

ExecStatus = Literal[
    "ok", "exception", "timeout_cpu", "timeout_wall", "memory", "output_limit", "signal", "exit"
]


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of one snippet.

    cpu_s: CPU seconds, as rusage counts them. wall_s: seconds on the clock, those aside in which the host
        stood still; four times as many for a snippet that has spent most of them running or waiting for a
        core.
    memory_mb: address space beyond what the interpreter itself has mapped. output_kb: printed to stdout.
    """

    cpu_s: float = 5.0
    wall_s: float = 10.0
    memory_mb: int = 1024
    output_kb: int = 64

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            most = 1e5 if field.name.endswith("_s") else 1e6
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < most:
                raise UserError(
                    f"sandbox limit {field.name}: {value!r} given, a number above 0 and below {most:,.0f} "
                    "expected."
                )


@dataclasses.dataclass(frozen=True)
class ExecResult:
    """Result of a snippet.

    status: ok; exception (it raised `exception`); timeout_cpu, timeout_wall; memory (MemoryError, or the
        kernel killed it); output_limit; signal (a crash); exit (it ended itself, as by sys.exit).
    stdout: what it printed, up to the limit; undecodable bytes replaced.
    exception: the type's name, "" if none. message: the exception's first 200 characters.
    cpu_s, wall_s: seconds used.
    lost: nothing was found out, as twice its zygote was lost (status signal), the host stalled until the
        wall limit (timeout_wall) or was out of memory (memory). It is no verdict on the snippet.
    """

    status: ExecStatus
    stdout: str = ""
    exception: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    message: str = ""
    lost: bool = False
