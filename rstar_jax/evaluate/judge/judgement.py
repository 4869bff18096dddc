"""Contents of judge.json: figures of a PPM as a judge, and where they come from.

In the spirit of evaluation.json (`evaluate/outcome.py`): shares are 0 to 1, what was not measured is absent.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from rstar_jax.evaluate.judge.discrimination import Bin
from rstar_jax.evaluate.outcome import Figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgedBenchmark:
    """A benchmark of steps.

    name: "processbench", "prmbench", "suite" or "trees". source: where its samples were read from.
    samples, problems: that the figures rest on. fingerprint: of the samples.
    threshold: below which a step is taken for wrong; None where none is used. chosen: how it was found, or
        that it was given.
    figures: by name, with intervals by resampling problems. areas, correlations: without intervals.
    calibration: the reliability table; ece: the expected calibration error.
    counts: of samples and steps, and of what is wrong with some.
    too_long: ids of samples that were longer than the context, the first ones.
    """

    name: str
    samples: int
    problems: int
    source: str = ""
    fingerprint: str = ""
    threshold: float | None = None
    chosen: str = ""
    figures: dict[str, Figure] = dataclasses.field(default_factory=dict)
    areas: dict[str, float] = dataclasses.field(default_factory=dict)
    correlations: dict[str, float] = dataclasses.field(default_factory=dict)
    calibration: tuple[Bin, ...] = ()
    ece: float | None = None
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    too_long: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """A PPM on some benchmarks of steps, or predictions of somebody else's model.

    models: name and checksum by kind ("ppm"); of predictions the file and its checksum ("predictions").
    code: version of this package, and the commit where it is known. config: all options.
    """

    models: dict[str, dict[str, str]]
    code: dict[str, str]
    seed: int
    config: dict[str, Any]
    benchmarks: tuple[JudgedBenchmark, ...] = ()
