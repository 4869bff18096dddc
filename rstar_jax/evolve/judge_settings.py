"""Options of a judgement of steps."""

from __future__ import annotations

import dataclasses
from typing import Literal

from rstar_jax.errors import UserError
from rstar_jax.evaluate.judge.figures import BENCHMARKS
from rstar_jax.settings import nearest, require
from rstar_jax.sharding import MeshConfig


@dataclasses.dataclass(frozen=True)
class JudgeSettings:
    """A PPM, and the benchmarks of steps that it judges.

    ppm: folder or hub id of a PPM, or of a reward model of others. ppm_value: what its
        training compared (`train.ppm.ppm_value` of its run).
    benchmarks: "processbench", "prmbench", "suite", "trees".
    data: the folder in which processbench.jsonl and prmbench.jsonl lie (or .json, .parquet); "hf:" reads them
        from the hub.
    predictions: a file of predictions, or a folder of such, as ProcessBench's or PRMBench's own code writes
        them: their figures are computed, and no PPM is asked.
    trees: for "trees", the folder of a finished search (RUN/round1/search).
    limit: so many erroneous and so many correct samples of each part of ProcessBench and PRMBench, the first
        ones, and trajectories of a tree; 0: all.
    problems: of the suite, held-out ones. seed: draws them, and the weights of the intervals.
    threshold: below which a step's value is taken for wrong, -1 to 1; empty: ProcessBench's is the one with
        the best F1 on its GSM8K subset, PRMBench's is 0, a probability of 1/2.
    dtype: the type of numbers that the model computes with. context: tokens of the longest text that is read;
        longer ones are counted and named. batch_tokens: tokens of a device call, padding included.
    block: samples in a file of scores; a killed run does one such again at most. mesh: over which devices the
        model and its batches are split.
    """

    job: str = "judge"
    ppm: str = ""
    ppm_value: Literal["tanh", "raw"] = "tanh"
    benchmarks: tuple[str, ...] = ("processbench", "prmbench", "suite")
    data: str = ""
    predictions: str = ""
    trees: str = ""
    limit: int = 0
    problems: int = 216
    seed: int = 0
    threshold: tuple[float, ...] = ()
    dtype: Literal["float32", "bfloat16"] = "float32"
    context: int = 4096
    batch_tokens: int = 8192
    block: int = 256
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)

    def __post_init__(self) -> None:
        # A single word on the command line may hold several: --config.benchmarks=suite,prmbench.
        names = tuple(dict.fromkeys(name for word in self.benchmarks for name in word.split(",") if name))
        object.__setattr__(self, "benchmarks", names)
        require(names, "benchmarks", self.benchmarks, "one of them at least")
        for name in names:
            hint = f"names of benchmarks of steps. {nearest(name, BENCHMARKS)} Each"
            require(name in BENCHMARKS, "benchmarks", name, hint)
        for name, least in (("limit", 0), ("problems", 1), ("context", 2), ("batch_tokens", 1), ("block", 1)):
            require(getattr(self, name) >= least, name, getattr(self, name), f"{least} or more")
        require(0 <= self.seed < 2**31, "seed", self.seed, "a whole number from 0 to below 2**31")
        require(len(self.threshold) <= 1, "threshold", self.threshold, "one number, or none,")
        for value in self.threshold:
            require(-1 <= value <= 1, "threshold", value, "a number from -1 to 1, as values are,")
        if "trees" in names and not self.trees:
            raise UserError(
                "config.trees: '' given, the folder of a finished search (RUN/round1/search) expected, as "
                "config.benchmarks has 'trees'."
            )
