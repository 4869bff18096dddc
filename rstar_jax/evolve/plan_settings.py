"""Options of a plan: which rounds, on which chips, and what is assumed of both."""

from __future__ import annotations

import dataclasses
from typing import Literal

from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.evolve.settings import SearchSettings, TrainSettings, at_round, paper_round
from rstar_jax.plan.estimate import Assumed
from rstar_jax.plan.pace import Efficiency
from rstar_jax.plan.workload import SOLVED, RoundWork, rollouts, round_work
from rstar_jax.settings import at_least, at_most, require
from rstar_jax.topologies import parse


@dataclasses.dataclass(frozen=True)
class PlanSettings:
    """A plan of rounds on chips that are not here.

    topology: chips and their shape, CHIP:SHAPE or CHIP:SHAPE*SLICES, such as v5p:4x4x4 or h200:8.
    model: a known model's name (`plan/known_models.py`), or a Hugging Face folder, of which config.json is
        read; policy and PPM are both of its shape.
    problems: how many the rounds search. rounds: which of them. solved: shares that are solved in the end, by
        round.
    fit: choose mesh, rows of a microbatch and remat of the trainings, leaves and devices a model of the
        search; False: take `train` and `decode` as they are, and refuse what does not fit.
    largest: also look for the largest microbatch that fits, though no batch fills it.
    compile: whether the programs are compiled for the chips: "auto": for TPUs, where libtpu is; "always"; or
        "never": by arithmetic alone, as GPUs always are.
    usd_hour: dollars for an hour of a chip; 0: as `topologies.py` has it. spot: its lowest spot price.
    search, train, decode: as of a run; those of the paper by default.
    assumed: of a problem's texts (`plan/estimate.py`). efficiency: of the chips (`plan/pace.py`).
    """

    job: str = "plan"
    topology: str = "v5p:4x4x4"
    model: str = "qwen2.5-math-7b"
    problems: int = 747_000
    rounds: tuple[int, ...] = (1, 2, 3, 4)
    solved: tuple[float, ...] = SOLVED
    fit: bool = True
    largest: bool = False
    compile: Literal["auto", "always", "never"] = "auto"
    usd_hour: float = 0.0
    spot: bool = False
    search: SearchSettings = dataclasses.field(default_factory=SearchSettings)
    train: TrainSettings = dataclasses.field(default_factory=lambda: paper_round(1).train)
    decode: DecodeConfig = DecodeConfig()
    assumed: Assumed = dataclasses.field(default_factory=Assumed)
    efficiency: Efficiency = dataclasses.field(default_factory=Efficiency)

    def __post_init__(self) -> None:
        at_least(self, "", problems=1, usd_hour=0)
        at_least(self.assumed, "assumed", prompt=1, step=1, steps=1, rows=1, pairs=1)
        at_least(self.efficiency, "efficiency", hidden=0, hop_s=0, look_s=0)
        at_most(self.efficiency, "efficiency", hidden=1)
        rising = self.rounds == tuple(sorted({r for r in self.rounds if r >= 1}))
        require(self.rounds and rising, "rounds", self.rounds, "rounds from 1 on, in order, such as (1, 2)")
        shares = self.solved and all(0 <= share <= 1 for share in self.solved)
        require(shares, "solved", self.solved, "a share from 0 to 1 for each round")
        for role, config in (("policy", self.train.policy), ("ppm", self.train.ppm)):
            rank = config.lora.rank
            require(rank == 0, f"train.{role}.lora.rank", rank, "0 (low-rank trainings are not planned)")
        try:
            parse(self.topology)
        except UserError as error:
            raise UserError(f"config.{error}") from None

    def work(self, number: int) -> RoundWork:
        """The work of a round."""
        s, before = self.search, at_round((0.0, *self.solved), number)
        solved = at_round(self.solved, number)
        trees, base = at_round(s.trees, number), at_round(s.rollouts, number)
        each = rollouts(base, s.totals(number), trees, before, max(before, solved))
        epochs = self.train.policy.epochs, self.train.ppm.epochs
        candidates, ppm = at_round(s.candidates, number), at_round(s.ppm, number)
        seq_len = self.train.policy.seq_len
        return round_work(number, self.problems, each, candidates, ppm, solved, epochs, seq_len, self.assumed)
