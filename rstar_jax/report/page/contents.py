"""Contents of a page: all that was found in a working directory, read and typed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rstar_jax.evaluate.scaling import Cut
from rstar_jax.report.sections import Report


@dataclasses.dataclass(frozen=True)
class StageState:
    """Where a stage stands. detail: how far it is, or how long it took."""

    name: str
    state: Literal["done", "begun", "to come"]
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Training:
    """Metrics of a training by step, thinned where there are many: name -> [(step, value)]."""

    name: str
    metrics: Mapping[str, list[tuple[float, float]]]


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Test-time scaling of a round. vote: that by which the run takes its answers. alone: of the policy."""

    round: int
    vote: str
    search: list[Cut]
    alone: list[Cut]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """A working directory. job: what made it.

    report, raw: as in report.json, typed and as JSON takes it. evaluation, judge: contents of these files, by
    name. versions: of what was installed where the page is made. faults: what could not be read, and why.
    """

    root: Path
    job: str
    report: Report
    raw: Mapping[str, Any]
    stages: tuple[StageState, ...] = ()
    trainings: tuple[Training, ...] = ()
    scaling: tuple[Scaling, ...] = ()
    evaluation: Mapping[str, Any] | None = None
    judge: Mapping[str, Any] | None = None
    suspects: tuple[Mapping[str, Any], ...] = ()
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    faults: tuple[str, ...] = ()
