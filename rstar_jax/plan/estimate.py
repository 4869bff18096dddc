"""Estimates of what rounds need of a model: memory, tokens, hours.

Estimates from the models' shapes (cost.py, needs.py), the run's own prompts (texts.py) and what `Assumed`
says of the rest, which the report states. Running the candidates' code is not in the hours: it takes
the host's cores, not the devices. `announce.py` makes them for a run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from rstar_jax.plan import needs
from rstar_jax.plan.cost import USABLE, Device, Shape
from rstar_jax.plan.texts import FRESH, STEP, STEPS, Prompts, Solutions

GIB = 2**30
# Candidates of a problem's rollouts for each of its preference pairs, where there are few: a pair needs a
# right and a wrong one at a node. Quickstart's first two rounds had a pair for 14 and 16 on 24 problems.
PAIRED = 8


@dataclasses.dataclass(frozen=True)
class Assumed:
    """Assumed sizes of a problem. prompt: tokens of its prompt. step: tokens of a step. steps: how many a
    rollout's trajectory has; texts.FRESH of them are expanded for it. rows: SFT rows of a solved problem, at
    most; they are read as a tree, in which the prompt stands once. pairs: preference pairs of a problem, at
    most; they are read as a tree, in which a way to its middle stands once and the last step of each side
    apart. most: expansions of a problem, however many rollouts it gets, as in small suites whose ways are
    soon all there; 0: no end.
    """

    prompt: int = 200
    step: float = STEP
    steps: float = STEPS
    rows: float = 2
    pairs: int = 8
    most: float = 0

    @classmethod
    def of(cls, prompts: Prompts | None, context: int, known: Solutions | None = None) -> Assumed:
        """Return those of a run's own prompts; of its solutions, as far as some are known, else steps that a
        context of so many tokens leaves room for."""
        if prompts is None:
            return cls()
        if known is None:
            return cls(prompts.mean, prompts.solution(context) / STEPS)
        return cls(prompts.mean, known.step, known.steps, known.rows, most=known.most)

    @property
    def row(self) -> float:
        return self.prompt + self.steps * self.step

    def expansions(self, search: SearchLoad) -> float:
        """Expansions of a problem's tree."""
        fresh = search.rollouts * self.steps * FRESH
        return min(fresh, self.most) if self.most and search.candidates > 1 else fresh

    def policy_tokens(self, seq_len: int) -> float:
        """Tokens per solved problem of an epoch of the policy's training, in rows of so many."""
        return self.rows * self.solution_tokens(seq_len)

    def solution_tokens(self, seq_len: int) -> float:
        """Tokens that each of a problem's solutions adds to a step of the policy's training: a tree of them
        is in one row."""
        each = min(self.row, seq_len)
        shared = min(self.prompt, each - 1)
        together = min(self.rows, max(1.0, (seq_len - shared) // (each - shared)))
        return each - shared + shared / together

    def ppm_pairs(self, search: SearchLoad) -> float:
        """Pairs of a problem, of this search; one that is not solved has none."""
        rollouts = self.expansions(search) / (self.steps * FRESH)
        return min(self.pairs, rollouts * search.candidates / PAIRED)

    def ppm_tokens(self, search: SearchLoad, seq_len: int) -> float:
        """Tokens per problem of an epoch of the PPM's training, on pairs of this search."""
        pairs = self.ppm_pairs(search)
        return pairs * self.pair_tokens(pairs, seq_len)

    def pair_tokens(self, pairs: float, seq_len: int) -> float:
        """Tokens that each of a problem's pairs adds to a step of the PPM's training."""
        before = self.prompt + self.steps * self.step / 2
        return min(before / pairs + 2 * self.step, 2 * min(before, seq_len))


ASSUMED = Assumed()
Lora = tuple[int, tuple[str, ...]]
NO_LORA: Lora = (0, ())


@dataclasses.dataclass(frozen=True)
class SearchLoad:
    """One round's search. rollouts: per problem, on average. leaves: expanded in one call.

    context, max_step_tokens: room that the KV cache keeps for a prefix and for each candidate.
    size: bytes of a number (cache, and weights unless int8). int8: whether weights take a byte each (their
    scales are not counted). ppm: whether a PPM scores the candidates. rows: candidates of a leaf that are
    decoded at once.
    """

    rollouts: float = 16
    candidates: int = 8
    leaves: int = 32
    context: int = 4096
    max_step_tokens: int = 2048
    size: int = 2
    int8: bool = False
    ppm: bool = True
    rows: int = 4


@dataclasses.dataclass(frozen=True)
class TrainLoad:
    """One round's trainings. rows: packed sequences of seq_len tokens in one device call, at most. shapes:
    how many shapes calls have (`train.tree_rows.shapes`).

    optimizer: of both (`TrainConfig`). policy_lora, ppm_lora: rank and targets of low-rank additions; rank 0
    where all parameters train. policy_averaged, ppm_averaged: whether an average of what trains is kept.
    """

    policy_epochs: int = 2
    ppm_epochs: int = 1
    seq_len: int = 4096
    rows: int = 1
    shapes: int = 2
    size: int = 2
    remat: str = "full"
    optimizer: str = "adamw"
    policy_lora: Lora = NO_LORA
    ppm_lora: Lora = NO_LORA
    policy_averaged: bool = False
    ppm_averaged: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
    """Estimate of one round of a model on chips of one kind; sizes in GiB, over all chips.

    weights, cache: while searching (policy, and PPM where there is one). optimiser: parameters, gradients
    and AdamW's two moments in float32, an average that is kept, and frozen parameters; of the training that
    needs more. activations: of one call. tokens: that the policy writes.
    hours: on `chips`, None where the device is unknown.
    """

    parameters: int
    weights: float
    cache: float
    optimiser: float
    activations: float
    tokens: float
    chips: int
    search_hours: float | None
    train_hours: float | None

    @property
    def peak(self) -> float:
        """GiB, over all chips: searching or training, whichever needs more."""
        return max(self.weights + self.cache, self.optimiser + self.activations)

    @property
    def hours(self) -> float | None:
        if self.search_hours is None or self.train_hours is None:
            return None
        return self.search_hours + self.train_hours


def plan(
    model: Shape | Mapping[str, Any],
    search: SearchLoad,
    problems: int,
    train: TrainLoad,
    device: Device | None = None,
    assumed: Assumed = ASSUMED,
) -> Plan:
    """Memory and time of one round for a model, or that of a Hugging Face config.json.

    Raises KeyError naming a field that the config lacks.
    """
    shape = model if isinstance(model, Shape) else Shape.of(model)
    models = 2 if search.ppm else 1
    slots = search.leaves * (search.context + search.candidates * search.max_step_tokens)
    weights = models * shape.parameters * (1 if search.int8 else search.size) / GIB
    cache = slots * shape.kv_bytes(search.size) / GIB
    trainings = [
        needs.training(trained, train, lora, needs.Machine(), averaged=averaged)
        for trained, lora, averaged in (
            (shape, train.policy_lora, train.policy_averaged),
            (shape.reward, train.ppm_lora, train.ppm_averaged),
        )
    ]
    optimiser = max(parts["weights"] + parts["optimiser"] for parts in trainings) / GIB
    activations = shape.activation_bytes(train.rows, train.seq_len, train.size, train.remat) / GIB
    expansions = problems * assumed.expansions(search)
    step = min(assumed.step, search.max_step_tokens)
    tokens = expansions * search.candidates * step
    sized = Plan(
        shape.parameters, weights, cache, optimiser, activations, tokens,
        chips=1, search_hours=None, train_hours=None,
    )  # fmt: skip
    if device is None:
        return sized
    chips = max(1, math.ceil(sized.peak * GIB / (USABLE * device.memory)))
    prefix = min(assumed.prompt + assumed.steps * assumed.step / 2, search.context)
    call = shape.read_seconds(device, search.leaves, prefix, search.size)
    call += step * shape.decode_seconds(
        device, search.leaves, search.candidates, prefix, step / 2, search.size
    )
    if search.ppm:
        read = prefix + search.candidates * step
        call += shape.reward.read_seconds(device, search.leaves, read, search.size)
    learnt = sum(
        trained.train_seconds(device, problems * epochs * tokens, train.seq_len, train.remat)
        for trained, epochs, tokens in (
            (shape, train.policy_epochs, assumed.policy_tokens(train.seq_len)),
            (shape.reward, train.ppm_epochs, assumed.ppm_tokens(search, train.seq_len)),
        )
    )
    return dataclasses.replace(
        sized,
        chips=chips,
        search_hours=expansions / search.leaves * call / chips / 3600,
        train_hours=learnt / chips / 3600,
    )
