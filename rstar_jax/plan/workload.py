"""Work of rounds on a set of problems: rollouts with escalation, tokens written, scored and learnt; no jax.

Assumed of problems: `estimate.Assumed`. What of them is solved, and so ends, is the paper's unless given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rstar_jax.plan.estimate import Assumed, SearchLoad
from rstar_jax.plan.pace import Pace
from rstar_jax.plan.texts import FRESH

SOLVED = (0.6017, 0.6660, 0.7786, 0.9025)  # of 747,000 problems, by round (arXiv 2501.04519, table 2)
SHOWN = 16  # tokens that are read for each step: what an interpreter shows, and what stands around it
PADDED = 1.2  # columns of a scored step for each of its tokens (engine/buckets.py)


@dataclasses.dataclass(frozen=True)
class RoundWork:
    """One round. rollouts: of all problems. expansions: of leaves. programs: candidates that are run.

    written: tokens that the policy samples. policy_tokens, ppm_tokens: that the trainings read, all epochs.
    """

    number: int
    problems: int
    rollouts: float
    candidates: int
    ppm: bool
    expansions: float
    written: float
    policy_tokens: float
    ppm_tokens: float

    @property
    def programs(self) -> float:
        return self.expansions * self.candidates


def rollouts(base: int, totals: Sequence[int], trees: int, before: float, solved: float) -> float:
    """Rollouts of a problem, on average: `base`, then on to each total for those that are unsolved.

    before, solved: shares of the problems that the last round's policy solves, and that this round has solved
    in the end; in between as many are solved at each total. Whoever stays unsolved gets further trees.
    """
    found, done, steps = float(base), base, len(totals) + 1
    for i, total in enumerate(totals, 1):
        found += (1 - before - (solved - before) * i / steps) * (total - done)
        done = total
    return found + (trees - 1) * (1 - solved) * done


def round_work(
    number: int,
    problems: int,
    each: float,
    candidates: int,
    ppm: bool,
    solved: float,
    epochs: tuple[int, int],
    seq_len: int,
    assumed: Assumed,
) -> RoundWork:
    """each: rollouts of a problem. epochs: of policy and PPM."""
    expansions = problems * each * assumed.steps * FRESH
    pairs = assumed.ppm_tokens(SearchLoad(rollouts=round(each), candidates=candidates), seq_len)
    return RoundWork(
        number,
        problems,
        problems * each,
        candidates,
        ppm,
        expansions,
        expansions * candidates * assumed.step,
        epochs[0] * problems * solved * assumed.policy_tokens(seq_len),
        epochs[1] * problems * pairs,
    )


@dataclasses.dataclass(frozen=True)
class SearchShape:
    """Layout of a search on devices. leaves: of each group of `tensor` devices. rows: candidates of a leaf at
    a time. size: bytes of a weight. chunk: tokens between two looks of the host."""

    leaves: int
    rows: int
    tensor: int
    size: float
    chunk: int


@dataclasses.dataclass(frozen=True)
class Expanding:
    """Seconds of a group for one expansion of each of its leaves, by part."""

    decode: float
    prefill: float
    score: float

    @property
    def total(self) -> float:
        return self.decode + self.prefill + self.score


def expanding(pace: Pace, load: SearchShape, work: RoundWork, assumed: Assumed) -> Expanding:
    """Estimate by roofline; policy and PPM are one shape, and take turns on the devices."""
    prefix = assumed.prompt + assumed.steps * assumed.step / 2
    rows = min(load.rows, work.candidates)
    turns = assumed.step * work.candidates / rows / pace.assumed.filled
    token = pace.decode(
        load.leaves, rows, prefix, assumed.step / 2, tensor=load.tensor, size=load.size, looks=1 / load.chunk
    )
    # A prompt is read once a tree, by policy and PPM each.
    prompt = assumed.prompt * work.problems / work.expansions
    models = 2 if work.ppm else 1
    behind = load.leaves * (SHOWN + prompt) * models
    scored = load.leaves * work.candidates * assumed.step * PADDED if work.ppm else 0.0
    return Expanding(
        turns * token,
        pace.read(behind, prefix, tensor=load.tensor, size=load.size),
        pace.read(scored, prefix, tensor=load.tensor, size=load.size) if scored else 0.0,
    )


def search_hours(pace: Pace, load: SearchShape, work: RoundWork, devices: int, assumed: Assumed) -> float:
    """Hours on so many devices, in groups."""
    groups = devices // load.tensor
    return work.expansions / load.leaves / groups * expanding(pace, load, work, assumed).total / 3600
