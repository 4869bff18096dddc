"""Contents of evaluation.json: figures of benchmarks with their intervals, and where they come from.

Fractions are 0 to 1, times are seconds, what was not measured is None.
"""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A share of problems, or a mean over them, and its 95 percent interval by resampling problems."""

    value: float
    low: float
    high: float
    problems: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One benchmark.

    name: its row in `benchmarks.BENCHMARKS`. source: the specification that its problems were read from.
    fingerprint: of the problems. protocol: all that the figures depend on but the models, by option.
    figures: by metric, such as "pass@1", "maj@8", "search". by_level: the protocol's figure of each level.
    tool, no_tool: the protocol's figure over the problems whose chosen answer a program gave, and the others.
    counts: samples by what is wrong with them ("ungraded", "truncated", "timed_out", "no_answer", ...).
    costs: means over problems ("tokens", "ppm_tokens", "steps", "seconds", "device_seconds").
    disagreements: samples that the two gradings judge differently.
    """

    name: str
    source: str
    problems: int
    fingerprint: str
    protocol: dict[str, Any]
    figures: dict[str, Figure]
    by_level: dict[str, Figure] = dataclasses.field(default_factory=dict)
    tool: Figure | None = None
    no_tool: Figure | None = None
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    costs: dict[str, float] = dataclasses.field(default_factory=dict)
    disagreements: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model, or a policy and a PPM, on some benchmarks.

    models: name and checksum of each, by kind ("policy", "ppm"). code: version of this package, and the
    commit where it is known. config: all options. benchmarks: those that are done.
    """

    models: dict[str, dict[str, str]]
    code: dict[str, str]
    seed: int
    config: dict[str, Any]
    benchmarks: tuple[Measured, ...] = ()
